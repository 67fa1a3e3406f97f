"""An environment variable: its own value, or the content of the file in `NAME_FILE`, as for mounted secrets."""

import os
from functools import lru_cache
from pathlib import Path

FILE = "_FILE"
MAX_FILE_BYTES = 65_536


def read_variable(name: str) -> str:
    """The value of a variable. Raises ValueError, whose message omits all values, if it is unset or no text."""
    value, path = os.environ.get(name), os.environ.get(name + FILE)
    if value and path:
        raise ValueError(f"{name} and {name}{FILE} are both set; choose one")
    if path:
        return read_file(f"{name}{FILE}", path)
    if not value:
        raise ValueError(f"{name} is not set")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} is not UTF-8 text") from None
    return value


def read_file(name: str, path: str) -> str:
    """The text of the file named by a variable. Raises ValueError, whose message omits the text."""
    try:
        state = os.stat(path)
        return _read(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise ValueError(f"{name}: the file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name}: the file is not UTF-8 text") from None


@lru_cache(maxsize=1000)
def _read(path: str, changed: int, size: int) -> str:
    """Reads a file again when it has changed, as mounted secrets do."""
    if size > MAX_FILE_BYTES:
        raise OSError(27, "File too large")
    return Path(path).read_text(encoding="utf-8-sig").strip()
