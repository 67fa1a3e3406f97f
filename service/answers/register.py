"""The answers under way. Each is written by a task of its own and outlives its readers: one that drops may come back
and read on, here or, through the database, in another process. When nobody does, the answer is stopped.

`Answers` is the register of one process. Its `run` task looks after all of them twice a second: it keeps their text in
the database, hears what other processes ask, shows that this one lives, and closes the turns of processes that do not.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from uuid import UUID

from service.answers.answer import Answer, status_of
from service.errors import Interrupted, MessageUnknown, Overloaded, Restarting, ServiceError, TooManyAnswers
from service.metrics import Metrics
from service.store.records import Conflict, CutTurn, Piece, Status, StoreError, StoreUnavailable, Turn, UsageRow
from service.store.store import Store
from service.upstream.call import Call
from service.upstream.charge import Size
from service.upstream.stream import Finish

log = logging.getLogger("chatbot")

TICK_SECONDS = 0.5  # how often texts are kept for readers elsewhere, and readers elsewhere look
KEEP_SECONDS = 1.0  # how often all texts are kept
HEARTBEAT_SECONDS = 5.0  # how often a process shows that it lives
ABANDONED_SECONDS = 20.0  # of heartbeats that stand still: its process is gone
FOLLOWED_SECONDS = 3.0  # how long a look from elsewhere counts as a reader
STORING_SECONDS = 2.0  # how long a reader waits for the database before it hears of the end
STORE_AGAIN_SECONDS = 1.0
LAST_WRITES_SECONDS = 1.5  # what the database gets to take the last answers when the process leaves


@dataclass(slots=True)
class Writing:
    """An answer that this process writes: the call, what is recorded of it, and who reads it."""

    answer: Answer
    call: Call
    turn: int  # its number
    writer: str  # who it is to the database
    usage: UsageRow
    began: float  # time.monotonic()
    task: asyncio.Task[None] | None = None
    readers: int = 0
    cut: ServiceError | None = None  # why the service itself ended it
    given_up: bool = False  # whether it was stopped because nobody reads it
    deadline: asyncio.TimerHandle | None = None  # when it is, unless a reader comes back
    followed: int = 0  # how often readers elsewhere have looked
    followed_at: float = float("-inf")  # when that was last seen to grow
    kept: Size = Size()  # of the text that the database has
    kept_tokens: int = 0  # that it knows to be received, thoughts included
    closing: bool = False  # whether its end is being stored: no more is kept

    @property
    def is_unasked(self) -> bool:
        """Nobody waits for it, and the upstream has not seen it: as if it had never been."""
        return self.given_up and not self.call.sent

    def next_piece(self) -> Piece | None:
        """What the database does not have yet."""
        text = self.answer.text(self.kept.characters)
        received = (self.kept + Size.of(text)).tokens + self.answer.hidden.tokens
        if not text and received == self.kept_tokens:
            return None
        return Piece(self.turn, self.kept.characters, text, received)

    def note_kept(self, piece: Piece) -> None:
        self.kept += Size.of(piece.text)
        self.kept_tokens = piece.received

    def wanted_again(self) -> bool:
        """Take back that nobody reads it, if it is not too late. True where that changed anything."""
        if not self.given_up or not self.call.resume():
            return False
        self.given_up = False
        return True


@dataclass(slots=True)
class Mirror:
    """An answer that another process writes, as readers here follow it."""

    answer: Answer
    task: asyncio.Task[None] | None = None
    readers: int = 0
    piece: int = 0  # where the last piece begins that was read


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A running turn's `beat`, and how often this process has seen it so: while nobody could write, none could grow."""

    beat: int
    seen: int = 1

    @property
    def is_gone(self) -> bool:
        return self.seen * HEARTBEAT_SECONDS > ABANDONED_SECONDS


class Answers:
    """The answers that this process writes or follows: at most `max_streams` written at a time.

    `resume_seconds`: how long an answer goes on without a reader.
    """

    def __init__(self, store: Store, metrics: Metrics, *, max_streams: int, resume_seconds: float) -> None:
        self.draining = False
        self._store = store
        self._metrics = metrics
        self._max_streams = max_streams
        self._resume_seconds = resume_seconds
        self._beginning = 0
        self._none_begins = asyncio.Event()
        self._none_begins.set()
        self._writings: dict[UUID, Writing] = {}
        self._mirrors: dict[UUID, Mirror] = {}
        self._heartbeats: dict[UUID, Heartbeat] = {}
        self._heartbeat_at = float("-inf")
        self._kept_at = float("-inf")
        self._keeping = asyncio.Lock()

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
        self._none_begins.clear()
        try:
            yield
        finally:
            self._beginning -= 1
            if not self._beginning:
                self._none_begins.set()

    def find_text(self, message_id: UUID) -> str | None:
        """The text so far of an answer that this process writes."""
        writing = self._writings.get(message_id)
        return writing.answer.text() if writing else None

    def start(self, answer: Answer, call: Call, turn: int, writer: str, usage: UsageRow) -> None:
        """Write `answer`, that of the turn of this number, by `call`.

        `usage` is recorded with its outcome before the readers hear of the end.
        """
        writing = self._writings[answer.message_id] = Writing(answer, call, turn, writer, usage, time.monotonic())
        writing.task = asyncio.create_task(self._write(writing), name=f"answer {answer.message_id}")

    async def wait_if_dropped(self, message_id: UUID) -> bool:
        """Whether a question was given up here before it was asked; if so, wait until the database has forgotten it.

        Raises StoreUnavailable when that takes too long.
        """
        writing = self._writings.get(message_id)
        if writing is None or writing.call.connecting or not writing.is_unasked:
            return False
        await _ended([writing], STORING_SECONDS)
        if self._writings.get(message_id) is writing:
            raise StoreUnavailable("a question is still being forgotten")
        return True

    def answer_of(self, turn: Turn) -> Answer:
        """The answer of a turn that is there already: under way here, under way elsewhere, or ended."""
        if writing := self._writings.get(turn.id):
            return writing.answer
        if mirror := self._mirrors.get(turn.id):
            return mirror.answer
        answer = Answer.of(turn)
        if answer.ending is None:
            mirror = self._mirrors[turn.id] = Mirror(answer)
            mirror.task = asyncio.create_task(self._mirror(mirror), name=f"mirror {turn.id}")
        return answer

    def join(self, answer: Answer, most: int) -> None:
        """Count a reader in; each `join` is followed by one `leave`. Raises TooManyAnswers where `most` read it."""
        reading = self._reading(answer)
        if reading is not None:
            if reading.readers >= most:
                raise TooManyAnswers("the readers of one answer", retry_after=1)
            reading.readers += 1
        if not isinstance(reading, Writing):
            return
        if reading.deadline is not None:
            reading.deadline.cancel()
            reading.deadline = None
        reading.wanted_again()

    def leave(self, answer: Answer) -> None:
        """Count a reader out; without readers the answer is stopped, at once if it was not even asked for yet."""
        reading = self._reading(answer)
        if reading is not None:
            reading.readers -= 1
        if isinstance(reading, Writing) and reading.readers == 0 and answer.ending is None:
            self._stop_later(reading, self._resume_seconds if reading.call.sent else 0)

    def _reading(self, answer: Answer) -> Writing | Mirror | None:
        """Where the readers of an answer are counted, as long as it is under way."""
        found = (self._writings.get(answer.message_id), self._mirrors.get(answer.message_id))
        return next((reading for reading in found if reading is not None and reading.answer is answer), None)

    def _stop_later(self, writing: Writing, seconds: float) -> None:
        if seconds:
            loop = asyncio.get_running_loop()
            writing.deadline = loop.call_later(seconds, self._stop_unless_followed, writing)
        else:
            self._stop_unless_followed(writing)

    def _stop_unless_followed(self, writing: Writing) -> None:
        if time.monotonic() - writing.followed_at < FOLLOWED_SECONDS:
            self._stop_later(writing, FOLLOWED_SECONDS)
        else:
            writing.given_up = True
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

    async def forget(self, conversation_id: UUID) -> None:
        """Stop what is being written in a conversation that was deleted, and wait until it has ended."""
        writings = [writing for writing in self._writings.values() if writing.answer.conversation_id == conversation_id]
        for writing in writings:
            self._stop_here(writing)
        await _ended(writings, STORING_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Begin no more answers, give those under way their time, then end what is left as `restarting`."""
        self.draining = True
        ends = time.monotonic() + seconds
        with suppress(TimeoutError):  # what begins later still is cut off with the process
            await asyncio.wait_for(self._none_begins.wait(), max(seconds, LAST_WRITES_SECONDS))
        await _ended([*self._writings.values(), *self._mirrors.values()], max(ends - time.monotonic(), 0))
        left = [writing for writing in self._writings.values() if writing.cut is None]
        mirrors = list(self._mirrors.values())
        for writing in left:
            writing.cut = Restarting("the service was shut down", retry_after=1)
            writing.call.stop()
        for mirror in mirrors:
            mirror.answer.end(Restarting("the service was shut down", retry_after=1))
        await _ended([*left, *mirrors], LAST_WRITES_SECONDS)
        if left:
            await self._store_cut(left)

    async def _store_cut(self, writings: list[Writing]) -> None:
        """All at once: one by one would take too long."""
        cut = [writing for writing in writings if isinstance(writing.answer.ending, Restarting)]
        if not cut:
            return  # all ended by themselves meanwhile
        turns = [
            CutTurn(each.answer.message_id, each.writer, each.answer.text(), each.usage, each.answer.sources or None)
            for each in cut
        ]
        try:
            async with asyncio.timeout(LAST_WRITES_SECONDS):
                await self._keep_no_more(cut)
                await self._store.cut_turns(Restarting.code, turns)
        except (StoreError, TimeoutError) as error:
            log.error("answers are not stored", extra={"answers": len(turns), "reason": str(error)})

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
        try:
            await self._end(writing, ending)
        finally:
            if self._writings.get(writing.answer.message_id) is writing:
                del self._writings[writing.answer.message_id]

    async def _end(self, writing: Writing, ending: Finish | ServiceError) -> None:
        """Count and store the answer, and tell its readers."""
        status, code = status_of(ending)
        writing.usage = self._count(writing, ending)
        if ending is writing.cut:  # `drain` stores it, with all the others
            writing.answer.end(ending)
            return
        storing = asyncio.create_task(self._store_turn(writing, status, code))
        await asyncio.wait([storing], timeout=STORING_SECONDS)
        writing.answer.end(ending)
        await storing

    def _count(self, writing: Writing, ending: Finish | ServiceError) -> UsageRow:
        """Count and log an ended answer, and fill in its usage row."""
        answer = writing.answer
        tokens = ending.usage if isinstance(ending, Finish) else None
        first_text = answer.first_text_at - writing.began if answer.first_text_at is not None else None
        usage = replace(
            writing.usage,
            outcome=ending.status if isinstance(ending, Finish) else ending.cause or ending.code,
            prompt_tokens=tokens.prompt_tokens if tokens else None,
            completion_tokens=tokens.completion_tokens if tokens else None,
            charged=writing.call.charged_tokens(tokens, Size.of(answer.text()), answer.hidden),
            first_text_ms=None if first_text is None else round(first_text * 1000),
            duration_ms=round((time.monotonic() - writing.began) * 1000),
        )
        self._metrics.count_answer(usage.outcome, first_text, tokens)
        _log_answer(usage, answer, ending)
        return usage

    async def _store_turn(self, writing: Writing, status: Status, code: str | None) -> None:
        """Close the turn in the database; while that is away, try again."""
        answer, usage, writer = writing.answer, writing.usage, writing.writer
        await self._keep_no_more([writing])
        while True:
            try:
                if writing.is_unasked:
                    await self._store.discard_turn(answer.message_id, usage, writer)
                else:
                    await self._store.finish_turn(
                        answer.message_id,
                        answer.text(),
                        status=status,
                        code=code,
                        usage_row=usage,
                        writer=writer,
                        sources=answer.sources or None,
                    )
                return
            except StoreUnavailable as error:
                log.warning("an answer is not stored yet", extra={"request_id": usage.request_id, "reason": str(error)})
            except Conflict:
                log.info("an answer was not stored: its tenant is gone", extra={"request_id": usage.request_id})
                return
            except StoreError:
                log.exception("an answer was not stored", extra={"request_id": usage.request_id})
                return
            await asyncio.sleep(STORE_AGAIN_SECONDS)

    async def _keep_no_more(self, writings: Sequence[Writing]) -> None:
        """Let what is being kept of them be stored before their ends: a piece that came later would stay for good."""
        for writing in writings:
            writing.closing = True
        async with self._keeping:
            return

    # Other processes

    async def _mirror(self, mirror: Mirror) -> None:
        """Follow an answer that another process writes, by what it keeps in the database.

        Should that process die, `run` closes the turn.
        """
        try:
            while mirror.answer.ending is None:
                await asyncio.sleep(TICK_SECONDS)
                if mirror.readers == 0:
                    return
                try:
                    await self._follow(mirror)
                except StoreUnavailable as error:
                    log.warning("an answer elsewhere cannot be followed", extra={"reason": str(error)})
        except Exception as error:
            log.exception("an answer elsewhere cannot be followed")
            mirror.answer.end(Interrupted(type(error).__name__))
        finally:
            del self._mirrors[mirror.answer.message_id]

    async def _follow(self, mirror: Mirror) -> None:
        """Take over what the database has more of an answer."""
        answer = mirror.answer
        followed = await self._store.follow_turn(answer.message_id, mirror.piece)
        if followed is None:
            answer.end(MessageUnknown("the turn was deleted, or dropped before it was asked"))
            return
        mirror.piece = followed.piece
        if text := followed.text[answer.length - followed.position :]:
            answer.receive(text)
        answer.end_with(followed.turn)

    async def run(self, closing: asyncio.Event) -> None:
        """Look after the answers until `closing` is set."""
        while not closing.is_set():
            try:
                if self._writings:
                    await self._hear_requests()
                await self._checkpoint()
            except StoreUnavailable as error:
                log.warning("answers under way are not kept", extra={"reason": str(error)})
            except Exception:
                log.exception("answers under way are not kept")
            try:
                await asyncio.wait_for(closing.wait(), TICK_SECONDS)
            except TimeoutError:
                continue

    async def _hear_requests(self) -> None:
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
                if writing.wanted_again():
                    self._stop_later(writing, FOLLOWED_SECONDS)

    async def _checkpoint(self) -> None:
        now = time.monotonic()
        all_are_due = now - self._kept_at >= KEEP_SECONDS - TICK_SECONDS / 2
        open_ = [each for each in self._writings.values() if not each.closing]
        due = [each for each in open_ if all_are_due or now - each.followed_at < FOLLOWED_SECONDS]
        kept = [(writing, piece) for writing in due if (piece := writing.next_piece()) is not None]
        heartbeat_is_due = now - self._heartbeat_at > HEARTBEAT_SECONDS
        alive = list(self._writings) if heartbeat_is_due else []
        if kept or alive:
            async with self._keeping:
                await self._store.checkpoint(alive, [piece for _, piece in kept])
            for writing, piece in kept:
                writing.note_kept(piece)
        if all_are_due:
            self._kept_at = now
        if heartbeat_is_due:
            self._heartbeat_at = now
            await self.close_lost()
            await self._close_abandoned()

    async def close_lost(self) -> None:
        """Close the turns of processes that are gone for certain: those of this one's own earlier life among them."""
        lost = await self._store.lost_turns()
        for message_id, beat in lost.items():
            await self._abandon(message_id, beat)

    async def _close_abandoned(self) -> None:
        """Close the turns whose heartbeat has stood still for too long. No clock is compared with another's."""
        beats = await self._store.heartbeats()
        known, self._heartbeats = self._heartbeats, {}
        for message_id in beats.keys() - self._writings.keys():
            beat, last = beats[message_id], known.get(message_id)
            seen = last.seen + 1 if last and last.beat == beat else 1
            self._heartbeats[message_id] = Heartbeat(beat, seen)
        for message_id, heartbeat in self._heartbeats.items():
            if heartbeat.is_gone:
                await self._abandon(message_id, heartbeat.beat)

    async def _abandon(self, message_id: UUID, beat: int) -> None:
        if await self._store.abandon(message_id, beat):
            log.warning("an answer was interrupted: its process is gone", extra={"message_id": str(message_id)})


async def _ended(reading: Sequence[Writing | Mirror], seconds: float) -> None:
    tasks = [each.task for each in reading if each.task is not None]
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)


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
            "finish_reason": ending.unknown_reason if isinstance(ending, Finish) else None,
            "first_text_ms": usage.first_text_ms,
            "duration_ms": usage.duration_ms,
            "characters": answer.length,
        },
    )
