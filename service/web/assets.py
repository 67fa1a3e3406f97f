"""The files of `static/`: read once, served from memory, compressed if the browser accepts it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

HASHED = "assets/"
COMPRESSED = {".br": "br", ".gz": "gzip"}  # in the order of preference
TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ts": "text/plain",
    ".txt": "text/plain",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its bytes, plain and compressed, by content coding."""

    body: bytes
    media_type: str
    etag: str
    compressed: Mapping[str, bytes] = field(default_factory=dict)

    def encoded_for(self, accept_encoding: str) -> tuple[bytes, str | None]:
        """The smallest body that the header accepts, and its content coding (RFC 9110, section 12.5.3)."""
        accepted = _accepted_codings(accept_encoding)
        for coding in COMPRESSED.values():
            if coding in self.compressed and coding in accepted:
                return self.compressed[coding], coding
        return self.body, None

    def matches(self, if_none_match: str) -> bool:
        """Whether the client already has this, according to the header (RFC 9110, section 13.1.2)."""
        return if_none_match.strip() == "*" or self.etag in (item.strip() for item in if_none_match.split(","))


@cache
def load_assets(directory: Path) -> Mapping[str, Asset]:
    """Every file in the directory, by its path there (`assets/app-1a2b.js`). Raises OSError if there is none."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    if not paths:
        raise FileNotFoundError(f"{directory} has no files: the widget was not built")
    bodies = {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}
    return {name: asset_of(name, bodies[name], bodies) for name in bodies if Path(name).suffix not in COMPRESSED}


def asset_of(name: str, body: bytes, others: Mapping[str, bytes] = MappingProxyType({})) -> Asset:
    """An asset of this name; its compressed forms are among `others`, by name and ending."""
    media_type = TYPES.get(Path(name).suffix, "application/octet-stream")
    if media_type.startswith("text/"):
        media_type += "; charset=utf-8"
    return Asset(
        body=body,
        media_type=media_type,
        etag=f'W/"{hashlib.sha256(body).hexdigest()[:20]}"',
        compressed={coding: others[name + ending] for ending, coding in COMPRESSED.items() if name + ending in others},
    )


def hashed_files(assets: Mapping[str, Asset]) -> dict[str, bytes]:
    """The files whose names contain a hash of their content."""
    return {name: asset.body for name, asset in assets.items() if name.startswith(HASHED)}


def _accepted_codings(header: str) -> set[str]:
    accepted = set()
    for item in header.lower().split(","):
        coding, _, weight = item.partition(";")
        if weight.replace(" ", "").rstrip("0") not in ("q=", "q=0", "q=0."):
            accepted.add(coding.strip())
    return accepted
