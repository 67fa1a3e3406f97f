"""DATABASE_URL: parsing the spellings of other tools, and reporting what is wrong with a URL."""

import re
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

SQLITE = ("sqlite", "sqlite+aiosqlite")  # the latter from releases with that driver
POSTGRESQL = ("postgresql+asyncpg", "postgresql", "postgres")
STATEMENTS_OPTION = "prepared_statement_cache_size"
# Options after the `?` of a URL: those that asyncpg.connect takes as text, and one that SQLAlchemy makes a number.
POSTGRESQL_OPTIONS = {
    *("host", "ssl", "passfile", "target_session_attrs", "krbsrvname", "gsslib", "service", "servicefile"),
    STATEMENTS_OPTION,
}


def parse_url(url: str) -> URL:
    """A database URL with its driver. Raises ValueError, whose message omits the URL, which may contain a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError("is not a database URL") from None  # the message would show the password
    if parsed.drivername not in (*SQLITE, *POSTGRESQL):
        raise ValueError("must begin with sqlite:// or postgresql://")
    if "\0" in url or "%00" in url:
        raise ValueError("has a NUL character")
    if parsed.drivername in SQLITE:
        _check_sqlite_url(parsed)
        return parsed.set(drivername="sqlite")
    parsed = _with_driver(parsed)
    _check_postgresql_url(parsed)
    return parsed


def shown_url(url: str) -> str:
    """A URL without user, password and options."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return f"sqlite {Path(parsed.database or '').absolute()}"
    port = f":{parsed.port}" if parsed.port else ""
    return f"postgresql {parsed.host or ''}{port}/{parsed.database or ''}"


def _with_driver(url: URL) -> URL:
    """A URL for asyncpg, where libpq's `sslmode` is called `ssl`, with the same values."""
    query = dict(url.query)
    if "sslmode" in query and "ssl" not in query:
        query["ssl"] = query.pop("sslmode")
    return url.set(drivername="postgresql+asyncpg", query=query)


def _check_sqlite_url(url: URL) -> None:
    if url.host or url.username or url.port:
        raise ValueError("must have three slashes before a file's name and four before a path from the root")
    if re.match(r"$|:memory:|file:", url.database or ""):
        raise ValueError("must name a file, such as sqlite:///chatbot.db")
    if url.query:
        raise ValueError(f"has unknown options: {', '.join(sorted(url.query))} (SQLite has none here)")


def _check_postgresql_url(url: URL) -> None:
    if url.port is not None and not 0 < url.port < 65_536:
        raise ValueError("must have a port from 1 to 65535")
    try:
        (url.host or "").encode("idna")  # as for a socket, which fails with an empty or long label
    except UnicodeError:
        raise ValueError("has an invalid host name") from None
    if unknown := sorted(url.query.keys() - POSTGRESQL_OPTIONS):
        raise ValueError(f"has unknown options: {', '.join(unknown)} (for TLS, it is ssl=require)")
    if twice := [name for name, value in url.query.items() if not isinstance(value, str) and name != "host"]:
        raise ValueError(f"has options more than once: {', '.join(sorted(twice))}")
    if not re.fullmatch("[0-9]{1,6}", str(url.query.get(STATEMENTS_OPTION, "0"))):
        raise ValueError(f"has a {STATEMENTS_OPTION} that is not a number")
    try:
        url.get_dialect()().create_connect_args(url)
    except ArgumentError:
        raise ValueError("has hosts that the driver does not accept: each needs its port, as in ?host=a:5432") from None
