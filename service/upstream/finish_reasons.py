"""What providers call the end of an answer. Few keep to OpenAI's five words; what a word means is told by its parts."""

import re
from typing import Literal

from service.store.records import Ending

Meaning = Literal[Ending, "error", "unknown"]

# Some send a finish_reason with every chunk, with one of these until there is one.
NO_REASON = frozenset({"", "null", "none", "nil", "undefined", "unspecified", "finish_reason_unspecified"})

COMPLETE = frozenset(
    {
        *("stop", "stopped", "stop_sequence", "stop_token", "stop_str", "eos", "eos_token", "end", "end_turn"),
        *("complete", "completed", "done", "finish", "finished", "success", "normal"),
        *("tool_calls", "tool_call", "tool_use", "function_call"),
    }
)
# Looked for in this order: `ERROR_TOXIC` is a filter's, `ERROR_LIMIT` a limit's.
_WORDS: tuple[tuple[Meaning, re.Pattern[str]], ...] = (
    (
        "filtered",
        re.compile(
            "filter|safety|unsafe|sensitive|refus|guardrail|recitation|prohibit|block|spii|moderat|policy|violat|censor"
            "|toxic|harm|model_armor|risk|language"
        ),
    ),
    ("error", re.compile("rate_limit|time_limit|timeout|timed_out|insufficient|network")),
    ("length", re.compile("length|limit|max_|maxtoken|maximum|out_of_tokens|context|truncat|incomplete|too_long")),
    ("error", re.compile("error|fail|abort|cancel|interrupt|overload|disconnect|unavailable|malformed")),
)


def is_reason(value: object) -> bool:
    """Whether a chunk's `finish_reason` says that the answer is over."""
    return isinstance(value, str) and value.strip().lower() not in NO_REASON


def meaning_of(reason: str) -> Meaning:
    """What a provider's word for the end means."""
    word = re.sub("[^a-z]+", "_", reason.strip().lower())
    if word in COMPLETE:
        return "complete"
    return next((meaning for meaning, words in _WORDS if words.search(word)), "unknown")


def for_the_log(reason: str) -> str:
    """The word, if it is one: what else a provider sends there can be anything."""
    return reason if re.fullmatch("[A-Za-z_]{1,40}", reason) else "not a word"
