"""How commands print: JSON, CSV, tables and text.

A visitor's, a provider's or a proxy's text may contain escape sequences, which a terminal must not get.
"""

import csv
import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

C1_CONTROLS = re.compile("[\x7f-\x9f]")  # with DEL: the control characters that `json.dumps` leaves as they are


def print_json(value: object, indent: int | None = 2) -> None:
    has_all_letters = sys.stdout.encoding.lower() == "utf-8"
    text = json.dumps(value, ensure_ascii=not has_all_letters, indent=indent, default=shown)
    print(C1_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def print_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([shown(row[column]) for column in columns] for row in rows)


def print_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    lines = [list(columns), *([shown(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def shown(value: object) -> str:
    """A value in human-readable form, as one line that is safe for a terminal; times to the second."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, dict):
        return printable(json.dumps(value, ensure_ascii=False))
    return printable(", ".join(value) if isinstance(value, list) else str(value))


def shown_lines(text: str, indent: int = 0) -> str:
    """A text of several lines, safe for a terminal."""
    return f"\n{' ' * indent}".join(map(printable, text.split("\n")))


def printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


class Progress:
    """Progress of long work, shown only at a terminal: as a fraction from 0 to 1, or as a count of `things`."""

    def __init__(self, things: str = "") -> None:
        self._things = things
        self._shown = ""

    def __call__(self, done: float) -> None:
        shown = f"{int(done)} {self._things}" if self._things else f"{int(100 * done)} %"
        if shown != self._shown and sys.stderr.isatty():
            self._shown = shown
            is_last = not self._things and done >= 1
            print(f"\r{shown}", end="\n" if is_last else "", file=sys.stderr, flush=True)

    def end(self) -> None:
        """End the line of a count."""
        if self._shown:
            print(file=sys.stderr, flush=True)
