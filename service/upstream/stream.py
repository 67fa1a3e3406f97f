"""An answer on its way from the decoder to the reader: its parts in order, then its ending.

For another provider dialect, write a `Decoder`; nothing behind it changes. For something new that comes with the text,
add a kind of `Part`, which `answers.answer.Answer.receive` handles.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from service.store.records import Ending, Source
from service.upstream.charge import Size, TokenCount
from service.upstream.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Hidden:
    """The size of something that the model wrote and that is not shown, such as its thoughts."""

    size: Size


@dataclass(frozen=True, slots=True)
class Sources:
    """All sources of the answer so far, in the order of the numbers in its text."""

    sources: list[Source]


Part = str | Hidden | Sources  # text is a plain string, which keeps tokens cheap


@dataclass(frozen=True, slots=True)
class Finish:
    """How an answer ended, and the provider's token count if it sent one.

    `unknown_reason` is the provider's finish reason, if this version does not know it.
    """

    status: Ending
    usage: TokenCount | None = None
    unknown_reason: str | None = field(default=None, compare=False)


class Decoder(Protocol):
    """Decodes one response of a provider: bytes in, parts out. Pure: no sockets, no clock.

    Raises a ServiceError if the provider reports an error or sends something that is not an answer, after yielding the
    parts before it.
    """

    done: bool  # anything after this is ignored
    usage: TokenCount | None  # the provider's latest token count, however the answer ends
    refusal: Refusal | None  # the provider's refusal of the question, if that is its response
    steps: int  # grows with each sign of progress, shown or not
    thinks_first: bool  # whether the text begins with thoughts without an opening tag; known only at their end

    def feed(self, data: bytes) -> Iterator[Part]:
        """The parts that end within `data`."""

    def close(self, *, whole: bool) -> Iterator[Part]:
        """The parts that the end of the body completes. `whole`: whether the body ended properly."""

    @property
    def ended(self) -> bool:
        """Whether there was a finish reason and no part of the answer has followed it."""

    @property
    def is_certain(self) -> bool:
        """Whether `ended` is reliable: no earlier finish reason was followed by more of the answer."""

    @property
    def has_text(self) -> bool:
        """Whether any text was yielded."""

    def finish(self) -> Finish:
        """How the answer ended, after `close`. Raises a ServiceError if it failed or was empty."""


class Receiver(Protocol):
    """Receives an answer as it arrives."""

    def accept(self) -> None:
        """The provider has accepted the question."""

    def receive(self, part: Part) -> None:
        """The next part of the answer."""
