"""Web origins: the entries that an operator may list, and whether they allow a request's `Origin` header."""

import ipaddress
import re
from collections.abc import Iterable
from functools import cache, lru_cache
from urllib.parse import SplitResult, urlsplit

import idna
from publicsuffixlist import PublicSuffixList

DEFAULT_PORTS = {"http": 80, "https": 443}
APP_SCHEMES = (
    "capacitor",
    "ionic",
    "tauri",
)  # with which a phone or desktop app serves its own pages; they have no ports
ANY_PORT = "*"
ANY_ORIGIN = "*"  # only with an explicit option, see commands/tenants.py
ANY_LABEL = "*."
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")

MAX_ORIGIN_CHARS = 300  # of a name 253, its scheme and its port

IPV4 = re.compile(r"[0-9.]+")
HOST_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
FIRST_LABEL = re.compile(rf"(https?://){HOST_LABEL.pattern}(\..+)")
LOCAL_ORIGIN = re.compile(r"(https?://(?:localhost|127\.0\.0\.1|\[::1\]))(?::[1-9][0-9]{0,4})?")


def parse_origin(text: str) -> str:
    """Normalize an origin to the form of browsers' `Origin`: `https://www.example.com`, `http://localhost:3000`.

    Lower case, punycode, no default port, no trailing slash. The port may be `*` for loopback names only.
    `https://*.example.com` matches names one level below example.com, but not example.com itself. Raises ValueError
    with a message that names the problem.
    """
    text = text.strip()
    if text == ANY_ORIGIN:
        raise ValueError("'*' would let every website use the widget: if that is what you want, say --any-origin")
    if text.lower() == "null":
        raise ValueError("'null' stands for any page without an origin and cannot be allowed")
    if not text.isprintable() or re.search(r"[\s\\]", text):
        raise _refused(text, "has white space, backslashes or control characters")
    scheme, found, rest = text.partition("://")
    is_app = scheme.lower() in APP_SCHEMES
    if not found or not (is_app or scheme.lower() in DEFAULT_PORTS):
        raise _refused(text, f"must begin with https://, http:// or, for an app, {', '.join(APP_SCHEMES)}://")
    try:
        parts = urlsplit(f"{scheme.lower()}://{rest}")
    except ValueError:
        raise _refused(text, "has a malformed host") from None
    _refuse_extras(text, parts)
    host, port = _split_port(text, parts.netloc)
    if is_app:
        return f"{parts.scheme}://{_parse_app_host(text, host, port)}"
    host = _parse_wildcard(text, host) if host.startswith(ANY_LABEL) else _parse_host(text, host)
    return f"{parts.scheme}://{host}{_parse_port(text, parts.scheme, host, port)}"


def origin_matches(origin: str, allowed: Iterable[str]) -> bool:
    """Whether the allowed origins, normalized by `parse_origin`, or ANY_ORIGIN match an `Origin` header."""
    return not set(entries_for(origin)).isdisjoint(allowed)


def entries_for(origin: str) -> list[str]:
    """The entries, at most four, of which a list must have one to allow an `Origin` header.

    The value is compared verbatim: browsers write only one form, so any other comes from something else.
    """
    if not is_origin(origin):
        return []
    entries = [origin]
    if origin.startswith("http"):
        entries.append(ANY_ORIGIN)
    if local := LOCAL_ORIGIN.fullmatch(origin):
        entries.append(f"{local[1]}:{ANY_PORT}")
    if deeper := FIRST_LABEL.fullmatch(origin):
        entries.append(f"{deeper[1]}*{deeper[2]}")
    return entries


def is_origin(text: str) -> bool:
    """Whether a value is an origin in the form of browsers, and not `null` or a pattern."""
    return len(text) <= MAX_ORIGIN_CHARS and _is_origin(text)


@lru_cache(maxsize=1024)  # all pages of a site send the same origin
def _is_origin(text: str) -> bool:
    try:
        return "*" not in text and parse_origin(text) == text
    except ValueError:
        return False


def own_origin(scheme: str, host: str) -> str:
    """The service's own origin as seen by the browser that sent this `Host`, which no page can change."""
    return f"{scheme}://{host.lower().removesuffix(f':{DEFAULT_PORTS.get(scheme)}')}"


def frame_ancestors(allowed: Iterable[str]) -> str:
    """The sources of `frame-ancestors` (CSP level 3) for the allowed origins.

    CSP matches more than this list in two ways: its `*.example.com` also covers deeper levels, and its `http:` also
    covers https. The page itself applies the exact list before it shows anything; see the widget's `handshake.ts`. CSP
    cannot express IPv6 addresses.
    """
    sources = [entry for entry in allowed if "[" not in entry]
    return "http: https:" if ANY_ORIGIN in sources else " ".join(sources) or "'none'"


def _refused(text: str, problem: str) -> ValueError:
    return ValueError(f"{text!r} {problem}")


def _refuse_extras(text: str, parts: SplitResult) -> None:
    if "@" in parts.netloc:
        raise _refused(text, "must not contain a user name or password")
    if parts.path not in ("", "/") or "?" in text or "#" in text:
        raise _refused(text, "must end after the host and port: an origin has no path, query or fragment")


def _split_port(text: str, netloc: str) -> tuple[str, str]:
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([^:]*))?", netloc)
    if match is None:
        raise _refused(text, "has a malformed host or port")
    return match[1], match[2] or ""


def _parse_host(text: str, host: str) -> str:
    if not host:
        raise _refused(text, "has no host")
    if "*" in host:
        raise _refused(text, "has a wildcard that is not its first label: only https://*.example.com is known")
    if host.startswith("["):
        return _parse_ipv6(text, host)
    try:
        name = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        raise _refused(text, "has a host that is not a valid internationalised name") from None
    labels = name.split(".")
    if len(name) > 253 or not all(HOST_LABEL.fullmatch(label) for label in labels):
        raise _refused(text, "has a malformed host")
    # Browsers take a host that ends in a number for an IPv4 address, in any of its spellings.
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        return _parse_ipv4(text, name)
    return name


def _parse_app_host(text: str, host: str, port: str) -> str:
    if port:
        raise _refused(text, "must not have a port: an app has none")
    return _parse_host(text, host)


def _parse_wildcard(text: str, host: str) -> str:
    parent = _parse_host(text, host.removeprefix(ANY_LABEL))
    if "." not in parent or IPV4.fullmatch(parent):
        raise _refused(text, "has a wildcard for all of a top-level domain or for addresses: name a domain of yours")
    if _is_public_suffix(parent):
        raise _refused(
            text, f"has a wildcard for everyone's sites: anyone can get a name under {parent}. Name a domain of yours"
        )
    return f"{ANY_LABEL}{parent}"


def _is_public_suffix(domain: str) -> bool:
    """Whether anyone can register names one level below, according to the Public Suffix List (publicsuffix.org).

    The list comes with the pinned package; nothing is downloaded. Some rules cover all names below a domain that is not
    itself listed, such as `*.kawasaki.jp`.
    """
    suffixes = _public_suffixes()
    return suffixes.is_public(domain) or suffixes.is_public(f"any-name.{domain}")


@cache
def _public_suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def _parse_ipv4(text: str, host: str) -> str:
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        raise _refused(text, "has a malformed IPv4 address") from None


def _parse_ipv6(text: str, host: str) -> str:
    if "%" in host:
        raise _refused(text, "must not name an IPv6 zone")
    try:
        return f"[{ipaddress.IPv6Address(host[1:-1])}]"
    except ValueError:
        raise _refused(text, "has a malformed IPv6 address") from None


def _parse_port(text: str, scheme: str, host: str, port: str) -> str:
    if port == ANY_PORT:
        if host not in LOOPBACK_HOSTS:
            raise _refused(text, "may have any port, '*', only for localhost, 127.0.0.1 and [::1]")
        return f":{ANY_PORT}"
    if not port:
        return ""
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65_535:
        raise _refused(text, "has a port that is not between 1 and 65535")
    return "" if int(port) == DEFAULT_PORTS[scheme] else f":{int(port)}"
