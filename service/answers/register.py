"""The answers in progress. Each is written by its own task and outlives its readers: a reader that disconnects may
resume it, here or, through the database, at another process. If none does, the answer is stopped.

`Answers` is the register of one process. Twice a second, its `run` task checkpoints all texts in the database, handles
requests from other processes, sends heartbeats, and closes the turns of dead processes.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from uuid import UUID

from service.answers import pace
from service.answers.answer import Answer
from service.answers.elsewhere import Elsewhere, Mirror
from service.answers.writing import Checkpoints, Writing, log_answer, used_by
from service.errors import Overloaded, Restarting, ServiceError, TooManyAnswers
from service.metrics import Metrics
from service.store.records import StoreUnavailable, Turn, UsageRow
from service.store.store import Store
from service.upstream.call import Call
from service.upstream.stream import Finish

log = logging.getLogger("chatbot")


class Answers:
    """The answers that this process writes, at most `max_streams` at a time, or follows.

    `resume_seconds`: how long an answer continues without a reader.
    """

    def __init__(self, store: Store, metrics: Metrics, *, max_streams: int, resume_seconds: float) -> None:
        self.draining = False
        self._store = store
        self._metrics = metrics
        self._max_streams = max_streams
        self._resume_seconds = resume_seconds
        self._starting = 0
        self._none_starting = asyncio.Event()
        self._none_starting.set()
        self._writings: dict[UUID, Writing] = {}
        self._checkpoints = Checkpoints(store)
        self._elsewhere = Elsewhere(store, metrics)

    def __len__(self) -> int:
        return len(self._writings)

    @contextmanager
    def reserved_slot(self) -> Iterator[None]:
        """Reserve a slot for an answer that is about to start. Raises Restarting or Overloaded if there is none."""
        if self.draining:
            raise Restarting("draining", retry_after=1)
        if len(self._writings) + self._starting >= self._max_streams:
            raise Overloaded(f"{self._max_streams} answers are in progress", retry_after=2)
        self._starting += 1
        self._none_starting.clear()
        try:
            yield
        finally:
            self._starting -= 1
            if not self._starting:
                self._none_starting.set()

    def find_text(self, message_id: UUID) -> str | None:
        """The text so far of an answer that this process is writing."""
        writing = self._writings.get(message_id)
        return writing.answer.text() if writing else None

    def start(
        self, answer: Answer, call: Call, turn: int, writer: str, usage: UsageRow, tenant: str, began: float
    ) -> None:
        """Write `answer` with `call`. `turn`: its number. `began`: when the question arrived, as `time.monotonic()`.

        `usage` is recorded with the outcome before readers get the last event.
        """
        writing = self._writings[answer.message_id] = Writing(answer, call, turn, writer, usage, tenant, began)
        self._metrics.open_answers.set(len(self._writings))
        writing.task = asyncio.create_task(self._write(writing), name=f"answer {answer.message_id}")

    async def was_withdrawn(self, message_id: UUID) -> bool:
        """Whether a question was abandoned here before it was sent; if so, wait until the database has discarded it.

        Raises StoreUnavailable if that takes too long.
        """
        writing = self._writings.get(message_id)
        if writing is None or writing.call.phase == "connecting" or not writing.is_withdrawn:
            return False
        await _ended(_tasks_of([writing]), pace.STORING_SECONDS)
        if self._writings.get(message_id) is writing:
            raise StoreUnavailable("a question is still being discarded")
        return True

    def answer_of(self, turn: Turn) -> Answer:
        """The answer of an existing turn: in progress here or elsewhere, or ended.

        Raises Restarting if it is in progress elsewhere and this process has drained.
        """
        if writing := self._writings.get(turn.id):
            self._metrics.resumes.labels("here").inc()
            return writing.answer
        self._metrics.resumes.labels("elsewhere" if turn.status == "running" else "stored").inc()
        return self._elsewhere.answer_of(turn)

    def join(self, answer: Answer, most: int) -> None:
        """Add a reader; each `join` needs one `leave`. Raises TooManyAnswers if the answer has `most` readers."""
        reading = self._reading(answer)
        if reading is not None:
            if reading.readers >= most:
                raise TooManyAnswers("the readers of one answer", retry_after=1)
            reading.readers += 1
        self._metrics.readers.inc()
        if not isinstance(reading, Writing):
            return
        if reading.deadline is not None:
            reading.deadline.cancel()
            reading.deadline = None
        reading.resume()

    def leave(self, answer: Answer) -> None:
        """Remove a reader. Without readers the answer stops: later, or at once if its question was not sent yet."""
        self._metrics.readers.dec()
        reading = self._reading(answer)
        if reading is not None:
            reading.readers -= 1
        if isinstance(reading, Writing) and reading.readers == 0 and answer.ending is None:
            self._stop_later(reading, self._resume_seconds if reading.call.sent else 0)

    def _reading(self, answer: Answer) -> Writing | Mirror | None:
        """The entry that counts an answer's readers, while it is in progress."""
        found = (self._writings.get(answer.message_id), self._elsewhere.find(answer.message_id))
        return next((reading for reading in found if reading is not None and reading.answer is answer), None)

    def _stop_later(self, writing: Writing, seconds: float) -> None:
        if seconds:
            loop = asyncio.get_running_loop()
            writing.deadline = loop.call_later(seconds, self._stop_unless_followed, writing)
        else:
            self._stop_unless_followed(writing)

    def _stop_unless_followed(self, writing: Writing) -> None:
        if time.monotonic() - writing.followed_at < pace.FOLLOWED_SECONDS:
            self._stop_later(writing, pace.FOLLOWED_SECONDS)
        else:
            if writing.phase == "open":
                writing.phase = "abandoned"
            writing.call.stop()

    async def stop(self, message_id: UUID) -> None:
        """End an answer as cancelled, whichever process writes it. An answer that has ended stays as it is."""
        writing = self._writings.get(message_id)
        if writing is None:
            await self._store.ask_to_stop(message_id)
        else:
            self._stop_here(writing)

    def _stop_here(self, writing: Writing) -> None:
        writing.call.stop()
        if writing.call.phase == "connecting":  # it ends once connected; readers need not wait for that
            writing.answer.end(Finish("cancelled"))

    async def forget(self, conversation_id: UUID) -> None:
        """Stop the answers of a deleted conversation, and wait until they have ended."""
        writings = [writing for writing in self._writings.values() if writing.answer.conversation_id == conversation_id]
        for writing in writings:
            self._stop_here(writing)
        await _ended(_tasks_of(writings), pace.STORING_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Start no more answers, let those in progress finish for this long, then end the rest as `restarting`."""
        self.draining = True
        ends = time.monotonic() + seconds
        with suppress(TimeoutError):  # anything that starts even later is cut off with the process
            await asyncio.wait_for(self._none_starting.wait(), max(seconds, pace.LAST_WRITES_SECONDS))
        await _ended(self._tasks(), max(ends - time.monotonic(), 0))
        unfinished = [writing for writing in self._writings.values() if writing.cut is None]
        for writing in unfinished:
            writing.cut = Restarting("the service was shut down", retry_after=1)
            writing.call.stop_at_once()
        self._elsewhere.end_all(Restarting("the service was shut down", retry_after=1))
        await _ended(self._tasks(), pace.LAST_WRITES_SECONDS)
        cut = [writing for writing in unfinished if isinstance(writing.answer.ending, Restarting)]
        if cut:  # the others have ended on their own meanwhile
            await self._checkpoints.close_cut(cut)

    def _tasks(self) -> list[asyncio.Task[None]]:
        """The tasks that write or follow answers."""
        return [*_tasks_of(self._writings.values()), *self._elsewhere.tasks()]

    # Writing

    async def _write(self, writing: Writing) -> None:
        ending: Finish | ServiceError
        try:
            ending = await writing.call.run()
        except asyncio.CancelledError:
            ending = writing.cut or Finish("cancelled", writing.call.usage)
        except ServiceError as error:
            ending = error
        except Exception:
            log.exception("an answer failed", extra={"request_id": writing.usage.request_id})
            ending = ServiceError("unexpected")
        try:
            await self._end(writing, ending)
        finally:
            if self._writings.get(writing.answer.message_id) is writing:
                del self._writings[writing.answer.message_id]
            self._metrics.open_answers.set(len(self._writings))

    async def _end(self, writing: Writing, ending: Finish | ServiceError) -> None:
        """Count and store the answer, and end it for its readers."""
        writing.usage = used_by(writing, ending)
        call = writing.call
        self._metrics.count_answer(writing.usage, call.status, writing.answer.hidden, call.retries)
        if writing.phase == "abandoned":
            self._metrics.abandoned.inc()
        log_answer(writing, ending)
        if ending is writing.cut:  # `drain` stores it with all others
            writing.answer.end(ending)
            return
        with ExitStack() as unstored:

            def stop_waiting() -> None:
                writing.answer.end(ending)
                unstored.enter_context(self._metrics.unstored.track_inprogress())

            timer = asyncio.get_running_loop().call_later(pace.STORING_SECONDS, stop_waiting)
            unstored.callback(timer.cancel)
            await self._checkpoints.close(writing, ending)
        writing.answer.end(ending)

    # Maintenance

    async def run(self, closing: asyncio.Event) -> None:
        """Checkpoint and monitor the answers until `closing` is set."""
        while not closing.is_set():
            try:
                await self.tick()
            except StoreUnavailable as error:
                log.warning("answers in progress cannot be checkpointed", extra={"reason": str(error)})
            except Exception:
                log.exception("answers in progress cannot be checkpointed")
            try:
                async with asyncio.timeout(pace.TICK_SECONDS):
                    await closing.wait()
            except TimeoutError:
                continue

    async def tick(self) -> None:
        """Checkpoint and monitor the answers once."""
        if self._writings:
            await self._handle_requests()
        if await self._checkpoints.write(list(self._writings.values())):
            await self._elsewhere.close_gone(self._writings.keys())

    async def _handle_requests(self) -> None:
        """Stop or resume answers at the request of other processes."""
        writings = dict(self._writings)
        requests = await self._store.requests_for(list(writings))
        for message_id, writing in writings.items():
            asked = requests.get(message_id)
            if asked is None:
                continue
            if asked.stop_asked:
                self._stop_here(writing)
            elif asked.followed != writing.followed:
                writing.followed, writing.followed_at = asked.followed, time.monotonic()
                if writing.resume():
                    self._stop_later(writing, pace.FOLLOWED_SECONDS)

    async def close_lost(self) -> None:
        """Close the turns of processes that are certainly dead, including this process's predecessor."""
        await self._elsewhere.close_lost()


def _tasks_of(writings: Iterable[Writing]) -> list[asyncio.Task[None]]:
    return [writing.task for writing in writings if writing.task is not None]


async def _ended(tasks: Sequence[asyncio.Task[None]], seconds: float) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
