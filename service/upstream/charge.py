"""The charge for an answer: the provider's count if it is credible, otherwise an estimate of what was received."""

from dataclasses import dataclass
from math import ceil
from typing import Self

from service.tokens import BYTES_PER_TOKEN

CHARACTERS_PER_TOKEN = 8  # at most, over a whole text: English has four or five, most languages fewer
ANSWER_TOLERANCE_CHARACTERS = 128  # in shorter answers, only a count of 0 is implausible
PROMPT_TOLERANCE_CHARACTERS = 1024  # larger, as a provider may not count the cached part of a prompt
MOST_UNSEEN_TOKENS = 100_000  # that a provider may add: its own instructions, documents it found, hidden thoughts


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The provider's token counts. With some providers, the total also includes thoughts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int | None = None

    @property
    def all_tokens(self) -> int:
        return max(self.prompt_tokens + self.completion_tokens, self.total_tokens or 0)


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a text."""

    characters: int = 0
    bytes: int = 0  # in UTF-8

    @classmethod
    def of(cls, text: str) -> Self:
        return cls(len(text), len(text.encode("utf-8", "replace")))

    def __add__(self, other: "Size") -> "Size":
        return Size(self.characters + other.characters, self.bytes + other.bytes)

    def __neg__(self) -> "Size":
        return Size(-self.characters, -self.bytes)

    @property
    def tokens(self) -> int:
        """An estimate, on the high side."""
        return ceil(self.bytes / BYTES_PER_TOKEN)


def is_credible(count: TokenCount, asked: Size, received: Size, cap: int) -> bool:
    """Whether a provider's count is plausible for a question and the received part of its answer, thoughts included.

    Both parts must be possible for the texts. At least: one token per eight characters, and never zero for a text. At
    most: one token per byte, or the requested `cap`, plus what a provider may add unseen.
    """
    answer_tokens = count.all_tokens - count.prompt_tokens
    return (
        min(count.prompt_tokens, count.completion_tokens) >= 0
        and _is_enough(count.prompt_tokens, asked, PROMPT_TOLERANCE_CHARACTERS)
        and _is_enough(answer_tokens, received, ANSWER_TOLERANCE_CHARACTERS)
        and count.prompt_tokens <= asked.bytes + MOST_UNSEEN_TOKENS
        and answer_tokens <= max(received.bytes, cap) + MOST_UNSEEN_TOKENS
    )


def charged_tokens(count: TokenCount | None, asked: Size, received: Size, cap: int, estimate: int) -> int:
    """The charge to a budget: a credible count, otherwise the larger of the count and the estimate.

    An impossibly large count does not raise the estimate.
    """
    if count is None:
        return estimate
    if is_credible(count, asked, received, cap):
        return count.all_tokens
    most = asked.bytes + max(received.bytes, cap) + MOST_UNSEEN_TOKENS
    return max(count.all_tokens, estimate) if count.all_tokens <= most else estimate


def _is_enough(tokens: int, text: Size, tolerance: int) -> bool:
    if tokens == 0:
        return text.characters == 0
    return tokens * CHARACTERS_PER_TOKEN + tolerance >= text.characters
