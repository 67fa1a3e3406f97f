"""The answers under way. Each is written by a task of its own and outlives its readers: one that drops may come back
and read on, here or, through the database, in another process. When nobody does, the answer is stopped.

`Answers` is the register of one process. Its `keep` task looks after all of them twice a second: it keeps the text of
answers without a reader here in the database, hears what other processes want, shows that this one lives, and closes
the turns of processes that do not.
"""

import asyncio
import logging
import time
import uuid
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID

from errors import Interrupted, Overloaded, Restarting, ServiceError, every_error
from metrics import Metrics
from store import Status as TurnStatus
from store import Store, StoreError, StoreUnavailable, Turn, UsageRow
from upstream import Call, Finish, TokenCount

log = logging.getLogger("chatbot")

TICK_SECONDS = 0.5  # how often texts are kept for readers elsewhere, and readers elsewhere look
BEAT_SECONDS = 5.0  # how often a process shows that it lives
ABANDONED_SECONDS = 20.0  # without a beat: its process is gone
FOLLOWED_SECONDS = 3.0  # how long a look from elsewhere counts as a reader
STORING_SECONDS = 2.0  # how long a reader waits for the database before it hears of the end
STORE_AGAIN_SECONDS = 1.0
LAST_WRITES_SECONDS = 1.5  # what the database gets to take the last answers when the process leaves


class Answer:
    """The text of one answer as far as it is known, and its ending.

    Positions are counted in characters (Unicode code points) from the answer's beginning.
    """

    def __init__(self, conversation_id: UUID, message_id: UUID) -> None:
        self.conversation_id = conversation_id
        self.message_id = message_id
        self.opened = asyncio.Event()  # the upstream has accepted the question, or the answer has ended without that
        self.accepted = False
        self.ending: Finish | ServiceError | None = None
        self.first_text_at: float | None = None  # time.monotonic()
        self._pieces: list[str] = []
        self._ends: list[int] = []  # the position after each piece
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def length(self) -> int:
        """Characters so far."""
        return self._ends[-1] if self._ends else 0

    def text(self, after: int = 0) -> str:
        """The text after a position; empty when the position is at the end or beyond."""
        first = bisect_right(self._ends, after)
        pieces = self._pieces[first:]
        if pieces and first > 0:
            after -= self._ends[first - 1]
        return "".join(pieces)[after:]

    def accept(self) -> None:
        self.accepted = True
        self.opened.set()

    def append(self, piece: str) -> None:
        if self.first_text_at is None:
            self.first_text_at = time.monotonic()
        self._pieces.append(piece)
        self._ends.append(self.length + len(piece))
        self._wake()

    def end(self, ending: Finish | ServiceError) -> None:
        """The first ending counts."""
        self.ending = self.ending or ending
        self.opened.set()
        self._wake()

    async def more(self, seconds: float) -> bool:
        """Wait until there is more text or an ending. False when the seconds passed first."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            return False
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        return True

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


@dataclass(slots=True)
class Writing:
    """An answer that this process writes: the call, what is recorded of it, and who reads it."""

    answer: Answer
    call: Call
    usage: UsageRow
    began: float  # time.monotonic()
    task: asyncio.Task[None] | None = None
    readers: int = 0
    cut: ServiceError | None = None  # why the service itself ended it
    unread: bool = False  # whether it was stopped because nobody reads it
    deadline: asyncio.TimerHandle | None = None  # when it is, unless a reader comes back
    followed: int = 0  # how often readers elsewhere have looked
    followed_at: float = float("-inf")  # when that was last seen to grow
    kept: int = 0  # characters that the database has


@dataclass(slots=True)
class Mirror:
    """An answer that another process writes, as readers here follow it."""

    answer: Answer
    task: asyncio.Task[None] | None = None
    readers: int = 0


@dataclass(slots=True)
class Pulse:
    """A running turn's beat, and when this process first saw it."""

    beat: int
    since: float = field(default_factory=time.monotonic)

    @property
    def is_gone(self) -> bool:
        return time.monotonic() - self.since > ABANDONED_SECONDS


class Answers:
    """The answers that this process writes or follows: at most `max_streams` written at a time.

    `resume_seconds`: how long an answer goes on without a reader.
    """

    def __init__(self, store: Store, metrics: Metrics, *, max_streams: int, resume_seconds: float) -> None:
        self.owner = uuid.uuid4().hex  # this process, in the database
        self.draining = False
        self._store = store
        self._metrics = metrics
        self._max_streams = max_streams
        self._resume_seconds = resume_seconds
        self._beginning = 0
        self._writings: dict[UUID, Writing] = {}
        self._mirrors: dict[UUID, Mirror] = {}
        self._pulses: dict[UUID, Pulse] = {}
        self._beat_at = float("-inf")

    def __len__(self) -> int:
        return len(self._writings)

    @contextmanager
    def room(self) -> Iterator[None]:
        """Room for one answer to begin. Raises Restarting or Overloaded when there is none."""
        if self.draining:
            raise Restarting("draining", retry_after=1)
        if len(self._writings) + self._beginning >= self._max_streams:
            raise Overloaded(f"{self._max_streams} answers are under way", retry_after=2)
        self._beginning += 1
        try:
            yield
        finally:
            self._beginning -= 1

    def find(self, message_id: UUID) -> Answer | None:
        """An answer that this process writes."""
        writing = self._writings.get(message_id)
        return writing.answer if writing else None

    def start(self, answer: Answer, call: Call, usage: UsageRow) -> None:
        """Write `answer` by `call`. `usage` is recorded with its outcome before the readers hear of the end."""
        writing = self._writings[answer.message_id] = Writing(answer, call, usage, time.monotonic())
        writing.task = asyncio.create_task(self._write(writing), name=f"answer {answer.message_id}")

    def follow(self, turn: Turn) -> Answer:
        """The answer of a turn that is there already: under way here, under way elsewhere, or ended."""
        if writing := self._writings.get(turn.id):
            return writing.answer
        if mirror := self._mirrors.get(turn.id):
            return mirror.answer
        answer = Answer(turn.conversation_id, turn.id)
        answer.accept()
        if turn.answer:
            answer.append(turn.answer)
        if turn.status != "running":
            answer.end(ending_of(turn))
        else:
            mirror = self._mirrors[turn.id] = Mirror(answer)
            mirror.task = asyncio.create_task(self._mirror(mirror, turn.beat), name=f"mirror {turn.id}")
        return answer

    def join(self, answer: Answer) -> None:
        """Count a reader in. Each `join` is followed by one `leave`."""
        writing = self._writings.get(answer.message_id)
        reading = writing or self._mirrors.get(answer.message_id)
        if reading is not None:
            reading.readers += 1
        if writing is not None and writing.deadline is not None:
            writing.deadline.cancel()
            writing.deadline = None

    def leave(self, answer: Answer) -> None:
        """Count a reader out; without readers the answer is stopped, at once if it was not even asked for yet."""
        writing = self._writings.get(answer.message_id)
        reading = writing or self._mirrors.get(answer.message_id)
        if reading is not None:
            reading.readers -= 1
        if writing is not None and writing.readers == 0 and answer.ending is None:
            self._wait_for_readers(writing, self._resume_seconds if writing.call.sent else 0)

    def _wait_for_readers(self, writing: Writing, seconds: float) -> None:
        if seconds:
            loop = asyncio.get_running_loop()
            writing.deadline = loop.call_later(seconds, self._stop_unless_followed, writing)
        else:
            self._stop_unless_followed(writing)

    def _stop_unless_followed(self, writing: Writing) -> None:
        if time.monotonic() - writing.followed_at < FOLLOWED_SECONDS:
            self._wait_for_readers(writing, FOLLOWED_SECONDS)
        else:
            writing.unread = True
            writing.call.stop()

    async def stop(self, message_id: UUID) -> None:
        """End an answer as cancelled, whichever process writes it. One that has ended stays as it is."""
        writing = self._writings.get(message_id)
        if writing is None:
            await self._store.ask_to_stop(message_id)
        else:
            self._stop_here(writing)

    def _stop_here(self, writing: Writing) -> None:
        writing.call.stop()
        if writing.call.connecting:  # it ends when it is connected; the readers need not wait for that
            writing.answer.end(Finish("cancelled"))

    async def drain(self, seconds: float) -> None:
        """Begin no more answers, give those under way their time, then end what is left as `restarting`."""
        self.draining = True
        await self._ended(seconds)
        for writing in self._writings.values():
            writing.cut = Restarting("the service was shut down")
            writing.call.stop()
        await self._ended(LAST_WRITES_SECONDS)
        for message_id in self._writings:
            log.error("an answer is not stored: the database did not take it", extra={"message_id": str(message_id)})

    async def _ended(self, seconds: float) -> None:
        tasks = [writing.task for writing in self._writings.values() if writing.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    # Writing

    async def _write(self, writing: Writing) -> None:
        ending: Finish | ServiceError
        try:
            ending = await writing.call.run()
        except asyncio.CancelledError:
            ending = writing.cut or Finish("cancelled")
        except ServiceError as error:
            ending = error
        except Exception:
            log.exception("an answer failed", extra={"request_id": writing.usage.request_id})
            ending = ServiceError("unexpected")
        recording = asyncio.create_task(self._record(writing, ending))
        try:
            await asyncio.wait([recording], timeout=STORING_SECONDS)
            writing.answer.end(ending)
            await recording
        finally:
            del self._writings[writing.answer.message_id]

    async def _record(self, writing: Writing, ending: Finish | ServiceError) -> None:
        """Count the answer and close its turn in the database; while that is away, try again."""
        answer = writing.answer
        tokens = ending.usage if isinstance(ending, Finish) else None
        status: TurnStatus = ending.status if isinstance(ending, Finish) else "error"
        code = ending.code if isinstance(ending, ServiceError) else None
        first_text = answer.first_text_at - writing.began if answer.first_text_at is not None else None
        usage = replace(
            writing.usage,
            outcome=code or status,
            prompt_tokens=tokens.prompt_tokens if tokens else None,
            completion_tokens=tokens.completion_tokens if tokens else None,
            first_text_ms=None if first_text is None else round(first_text * 1000),
            duration_ms=round((time.monotonic() - writing.began) * 1000),
        )
        self._metrics.count_answer(usage.outcome, first_text, tokens)
        _log_answer(usage, answer, ending)
        while True:
            try:
                if writing.unread and not writing.call.sent:
                    await self._store.discard_turn(answer.message_id, usage)
                else:
                    await self._store.finish_turn(answer.message_id, answer.text(), status, code, usage)
                return
            except StoreUnavailable as error:
                log.warning("an answer is not stored yet", extra={"request_id": usage.request_id, "reason": str(error)})
            except StoreError:
                log.exception("an answer was not stored", extra={"request_id": usage.request_id})
                return
            await asyncio.sleep(STORE_AGAIN_SECONDS)

    # Other processes

    async def _mirror(self, mirror: Mirror, beat: int) -> None:
        """Follow an answer that another process writes, by what it keeps in the database."""
        answer, pulse = mirror.answer, Pulse(beat)
        try:
            while True:
                await asyncio.sleep(TICK_SECONDS)
                if mirror.readers == 0:
                    return
                try:
                    turn = await self._store.follow(answer.message_id)
                    if turn is not None and turn.status == "running" and turn.beat == pulse.beat and pulse.is_gone:
                        await self._store.abandon(turn.id, turn.beat)
                        continue
                except StoreUnavailable as error:
                    log.warning("an answer elsewhere cannot be followed", extra={"reason": str(error)})
                    continue
                if turn is None:
                    answer.end(Interrupted("the turn was deleted"))
                    return
                if turn.beat != pulse.beat:
                    pulse = Pulse(turn.beat)
                if len(turn.answer) > answer.length:
                    answer.append(turn.answer[answer.length :])
                if turn.status != "running":
                    answer.end(ending_of(turn))
                    return
        finally:
            del self._mirrors[answer.message_id]

    async def keep(self, closing: asyncio.Event) -> None:
        """Look after the answers until `closing` is set."""
        while not closing.is_set():
            try:
                if self._writings:
                    await self._hear_wishes()
                await self._checkpoint()
            except StoreError as error:
                log.warning("answers under way are not kept", extra={"reason": str(error)})
            try:
                await asyncio.wait_for(closing.wait(), TICK_SECONDS)
            except TimeoutError:
                continue

    async def _hear_wishes(self) -> None:
        for message_id, wishes in (await self._store.wishes(self.owner)).items():
            writing = self._writings.get(message_id)
            if writing is None:
                continue
            if wishes.stop_asked:
                self._stop_here(writing)
            if wishes.followed != writing.followed:
                writing.followed, writing.followed_at = wishes.followed, time.monotonic()

    async def _checkpoint(self) -> None:
        now = time.monotonic()
        texts = {}
        for writing in self._writings.values():
            needed = writing.readers == 0 or now - writing.followed_at < FOLLOWED_SECONDS
            if needed and writing.answer.length > writing.kept:
                texts[writing.answer.message_id] = writing.answer.text()
                writing.kept = writing.answer.length
        beat_is_due = now - self._beat_at > BEAT_SECONDS
        if texts or (self._writings and beat_is_due):
            await self._store.checkpoint(list(self._writings), texts)
        if beat_is_due:
            self._beat_at = now
            await self._close_abandoned()

    async def _close_abandoned(self) -> None:
        """Close the turns whose beat has stood still for too long. No clock is compared with another's."""
        beats = await self._store.beats()
        self._pulses = {
            message_id: known if (known := self._pulses.get(message_id)) and known.beat == beat else Pulse(beat)
            for message_id, beat in beats.items()
            if message_id not in self._writings
        }
        for message_id, pulse in self._pulses.items():
            if pulse.is_gone and await self._store.abandon(message_id, pulse.beat):
                log.warning("an answer was interrupted: its process is gone", extra={"message_id": str(message_id)})


def ending_of(turn: Turn) -> Finish | ServiceError:
    """How a turn ended that is not running."""
    if turn.status == "running" or turn.status == "error":
        return every_error().get(turn.code or "", ServiceError)()
    counted = turn.prompt_tokens is not None and turn.completion_tokens is not None
    return Finish(turn.status, TokenCount(turn.prompt_tokens or 0, turn.completion_tokens or 0) if counted else None)


def _log_answer(usage: UsageRow, answer: Answer, ending: Finish | ServiceError) -> None:
    broke = isinstance(ending, ServiceError)
    log.log(
        logging.WARNING if broke else logging.INFO,
        "answer",
        extra={
            "request_id": usage.request_id,
            "message_id": str(answer.message_id),
            "outcome": usage.outcome,
            "reason": str(ending) if broke else None,
            "first_text_ms": usage.first_text_ms,
            "duration_ms": usage.duration_ms,
            "characters": answer.length,
        },
    )
