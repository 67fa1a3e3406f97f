"""Estimates of token counts, on the high side, for when the provider does not count."""

from collections.abc import Iterable
from math import ceil

BYTES_PER_TOKEN = 3  # English has four or five, Chinese three, Cyrillic four to six
TOKENS_PER_MESSAGE = 4  # in addition to its text


def estimate_tokens(texts: Iterable[str]) -> int:
    """The tokens of a prompt of these messages, estimated from their size in UTF-8."""
    return sum(ceil(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE for text in texts)
