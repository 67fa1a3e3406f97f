"""What comes of an answer, from the decoder to the reader: its parts in their order, and then its ending.

A provider that speaks another dialect gets a decoder of its own, see `Decoder`; nothing behind it changes. Something
new that comes with the text is one more kind of `Part`, which `answers.answer.Answer.receive` takes in.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from service.store.records import Ending, Source
from service.upstream.charge import Size, TokenCount


@dataclass(frozen=True, slots=True)
class Hidden:
    """Something that the model wrote and nobody is shown, such as its thoughts: how much of it."""

    size: Size


@dataclass(frozen=True, slots=True)
class Sources:
    """All that the answer cites so far, in the order of the numbers in its text."""

    sources: list[Source]


Part = str | Hidden | Sources  # text comes as it is: a token is on its way as cheaply as can be


@dataclass(frozen=True, slots=True)
class Finish:
    """How an answer ended, and the provider's token count if it sent one.

    `unknown_reason` is the provider's word for it, if this version does not know the word.
    """

    status: Ending
    usage: TokenCount | None = None
    unknown_reason: str | None = field(default=None, compare=False)


class Decoder(Protocol):
    """Reads one response of a provider: bytes in, parts out. Pure: no sockets, no clock.

    Raises a ServiceError when the provider reports an error or sends what is not an answer; the parts before it were
    given out.
    """

    done: bool  # nothing that comes after this counts
    steps: int  # grows with each sign of progress, shown or not
    thinks_first: bool  # its text begins with thoughts, without a tag that opens them; known only at their end

    def feed(self, data: bytes) -> Iterator[Part]:
        """The parts that end within `data`."""

    def close(self, *, whole: bool) -> Iterator[Part]:
        """What the end of the answer completes. `whole`: the body ended as it should."""

    @property
    def ended(self) -> bool:
        """Whether the provider has said that the answer is over, and nothing of it came since."""

    @property
    def is_certain(self) -> bool:
        """Whether that can be relied on: it has not said so before while there was more to come."""

    @property
    def has_text(self) -> bool:
        """Whether any text was given out."""

    def finish(self) -> Finish:
        """How the answer ended, after `close`. Raises a ServiceError when it broke, or was empty."""


class Receiver(Protocol):
    """Takes an answer in as it comes."""

    def accept(self) -> None:
        """The provider has accepted the question."""

    def receive(self, part: Part) -> None:
        """The next part of the answer."""
