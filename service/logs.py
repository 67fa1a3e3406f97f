"""The log: one line per event on standard error, as text or as JSON."""

import json
import logging
import time
import traceback
from datetime import UTC, datetime
from typing import Any, Literal

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


def configure_logging(form: Literal["text", "json"]) -> None:
    """Log the service and its server. httpx stays quiet: it would print whole upstream URLs."""
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "sse_starlette", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD and value is not None}


class SafeFormatter(logging.Formatter):
    """Writes the location and type of an error, but not its message, which may contain a visitor's text."""

    _second = -1
    _shown = ""  # the formatted second, which many lines of a busy service share

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        second = int(record.created)
        if second != self._second:
            self._second, self._shown = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._shown},{int(record.msecs):03d}"

    def formatException(self, ei: Any) -> str:
        error: BaseException | None = ei[1]
        parts: list[str] = []
        while error is not None:
            parts.append("".join(traceback.format_tb(error.__traceback__)) + type(error).__qualname__)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\nthen, while that was handled:\n".join(reversed(parts))


class TextFormatter(SafeFormatter):
    """`time LEVEL message name=value …`"""

    def format(self, record: logging.LogRecord) -> str:
        first, newline, rest = super().format(record).partition("\n")
        return "".join(
            [
                first,
                *(f" {name}={' '.join(str(value).split())}" for name, value in _extras(record).items()),
                newline,
                rest,
            ]
        )


class JSONFormatter(SafeFormatter):
    """One JSON object per line: time, level, logger, message, the event's other fields, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
