"""The meaning of finish reasons. Few providers keep to OpenAI's five; others are classified by the words in them."""

import re
from typing import Literal

from service.store.records import Ending

Meaning = Literal[Ending, "error", "unknown"]

# Placeholders of providers that send a finish_reason with every chunk.
NO_REASON = frozenset(
    {"", "null", "none", "nil", "undefined", "unspecified", "finish_reason_unspecified", "not_finished"}
)

COMPLETE = frozenset(
    {
        *("stop", "stopped", "stop_sequence", "stop_token", "stop_str", "eos", "eos_token", "end", "end_turn"),
        *("complete", "completed", "done", "finish", "finished", "success", "normal"),
        *("tool_calls", "tool_call", "tool_use", "function_call"),
    }
)
# Checked in this order: `ERROR_TOXIC` is a filter, `ERROR_LIMIT` a limit.
_WORDS: tuple[tuple[Meaning, re.Pattern[str]], ...] = (
    ("error", re.compile("malformed|function_call_filter")),  # Gemini's, for a broken call, not for content
    (
        "filtered",
        re.compile(
            "filter|safety|unsafe|sensitive|refus|guardrail|recitation|prohibit|block|spii|moderat|policy|violat|censor"
            "|toxic|harm|model_armor|risk|language"
        ),
    ),
    ("error", re.compile("rate_limit|time_limit|timeout|timed_out|insufficient|network")),
    ("length", re.compile("length|limit|max_|maxtoken|maximum|out_of_tokens|context|truncat|incomplete|too_long")),
    ("error", re.compile("error|fail|exception|abort|cancel|interrupt|overload|disconnect|unavailable")),
    ("error", re.compile("deadline|quota|capacity|pause|preempt|terminated|expired|partial")),
)


def is_reason(value: object) -> bool:
    """Whether a chunk's `finish_reason` ends the answer."""
    return isinstance(value, str) and value.strip().lower() not in NO_REASON


def meaning_of(reason: str) -> Meaning:
    """The meaning of a provider's finish reason."""
    word = re.sub("[^a-z]+", "_", reason.strip().lower())
    if word in COMPLETE:
        return "complete"
    return next((meaning for meaning, words in _WORDS if words.search(word)), "unknown")


def for_the_log(reason: str) -> str:
    """The finish reason, if it is a single word: anything else could contain text."""
    return reason if re.fullmatch("[A-Za-z_]{1,40}", reason) else "not a word"
