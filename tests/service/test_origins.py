"""Which origins an operator may list, and which `Origin` headers match them."""

import pytest

from service.access.origins import frame_ancestors, origin_matches, parse_origin


@pytest.mark.parametrize(
    ("typed", "origin"),
    [
        ("https://www.example.com", "https://www.example.com"),
        (" https://www.example.com/ ", "https://www.example.com"),
        ("HTTPS://WWW.Example.COM", "https://www.example.com"),
        ("https://example.com:443", "https://example.com"),
        ("http://example.com:80/", "http://example.com"),
        ("https://example.com:80", "https://example.com:80"),
        ("https://example.com:08443", "https://example.com:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://localhost:*", "http://localhost:*"),
        ("https://LOCALHOST:*", "https://localhost:*"),
        ("http://127.0.0.1:*", "http://127.0.0.1:*"),
        ("http://[::1]:*", "http://[::1]:*"),
        ("http://[2001:DB8:0::1]:8080", "http://[2001:db8::1]:8080"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
        ("https://faß.de", "https://xn--fa-hia.de"),
        ("https://my_shop.example", "https://my_shop.example"),
        ("https://*.example.com", "https://*.example.com"),
        ("HTTPS://*.BÜCHER.example:443/", "https://*.xn--bcher-kva.example"),
        ("https://*.example.com:8443", "https://*.example.com:8443"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("Ionic://localhost/", "ionic://localhost"),
        ("tauri://localhost", "tauri://localhost"),
        ("capacitor://shop.example", "capacitor://shop.example"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(typed: str, origin: str) -> None:
    assert parse_origin(typed) == origin
    assert parse_origin(origin) == origin


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("null", "'null'"),
        ("", "must begin with"),
        ("*", "--any-origin"),
        ("example.com", "must begin with"),
        ("//example.com", "must begin with"),
        ("ftp://example.com", "must begin with"),
        ("file:///etc", "must begin with"),
        ("chrome-extension://abcdef", "must begin with"),
        ("capacitor://", "no host"),
        ("capacitor://localhost:3000", "must not have a port"),
        ("capacitor://localhost:*", "must not have a port"),
        ("tauri://*.example.com", "wildcard"),
        ("ionic://localhost/index.html", "path"),
        ("https://", "no host"),
        ("https://:443", "no host"),
        ("https://example.com/shop", "path"),
        ("https://example.com//", "path"),
        ("https://example.com?", "path, query or fragment"),
        ("https://example.com#top", "path, query or fragment"),
        ("https://user:secret@example.com", "user name or password"),
        ("https://*", "wildcard"),
        ("https://*.com", "top-level"),
        ("https://*.192.0.2.1", "addresses"),
        ("https://*.*.example.com", "first label"),
        ("https://www.*.example.com", "first label"),
        ("https://shop*.example.com", "first label"),
        ("https://*example.com", "first label"),
        ("https://*.", "no host"),
        ("https://*.example.com:*", "only for localhost"),
        ("https://*.github.io", r"anyone can get a name under github\.io"),
        ("https://*.co.uk", r"anyone can get a name under co\.uk"),
        ("http://*.Netlify.app:8443", r"anyone can get a name under netlify\.app"),
        ("https://*.公司.cn", r"anyone can get a name under xn--55qx5d\.cn"),
        ("https://*.kawasaki.jp", r"anyone can get a name under kawasaki\.jp"),
        ("https://*.any.kawasaki.jp", r"anyone can get a name under any\.kawasaki\.jp"),
        ("https://example.com:*", "only for localhost"),
        ("https://localhost.example.com:*", "only for localhost"),
        ("https://example.com:0", "port"),
        ("https://example.com:65536", "port"),
        ("https://example.com:https", "port"),
        ("https://example.com:1:2", "host or port"),
        ("https://exam ple.com", "white space"),
        ("https://example.com\\evil", "backslashes"),
        ("https://example.com\0", "control characters"),
        ("https://example.com.", "malformed host"),
        ("https://-example.com", "malformed host"),
        ("https://a..b", "malformed host"),
        ("https://example.com;script-src", "malformed host"),
        ("https://example.com'", "malformed host"),
        ("https://" + "a" * 64 + ".example", "malformed host"),
        ("https://" + "ü" * 64 + ".example", "internationalised"),
        ("https://1.2.3", "IPv4"),
        ("https://256.0.0.1", "IPv4"),
        ("https://0x7f.1", "IPv4"),
        ("https://[::1", "malformed host"),
        ("https://[::g]", "malformed"),
        ("https://[12345::1]", "malformed"),
        ("https://[v1.x]", "malformed IPv6"),
        ("https://[fe80::1%25eth0]", "zone"),
    ],
)
def test_an_invalid_origin_is_refused_with_the_reason(typed: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_origin(typed)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://allowed.example", "https://allowed.example"),
        ("https://allowed.example:8443", "https://allowed.example:8443"),
        ("http://localhost:3000", "http://localhost:*"),
        ("http://localhost", "http://localhost:*"),
        ("http://127.0.0.1:65535", "http://127.0.0.1:*"),
        ("http://[::1]:8000", "http://[::1]:*"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_a_listed_origin_matches(origin: str, allowed: str) -> None:
    assert origin_matches(origin, ["https://other.example", allowed])


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "*",
        "null",
        "NULL",
        "https://evil.example",
        "http://allowed.example",
        "https://allowed.example:443",
        "https://allowed.example:8443",
        "https://allowed.example.evil.example",
        "https://evilallowed.example",
        "https://allowed.example@evil.example",
        "https://sub.allowed.example",
        "https://allowed.example.",
        "https://ALLOWED.example",
        "HTTPS://allowed.example",
        "https://allowed.example_.evil.example",
        "https://allowed.example/",
        "https://allowed.example#",
        "https://allowed.example?",
        "https://allowed.example\\.evil.example",
        "https://allowed.example\0.evil.example",
        "https://allowed.example%2eevil.example",
        "https://allowed.example\n",
        " https://allowed.example",
        "https://allоwed.example",
        "https://xn--llowed-5nf.example",
        "file://",
        "chrome-extension://abcdefghijklmnop",
        "moz-extension://x",
        "capacitor://localhost",
        "app://-",
        "https://evil.example, https://allowed.example",
        "https://allowed.example https://evil.example",
        "blob:https://allowed.example/x",
        "allowed.example",
        "//allowed.example",
        "javascript://allowed.example/%0aalert(1)",
    ],
)
def test_any_other_origin_does_not_match(origin: str) -> None:
    assert not origin_matches(origin, ["https://allowed.example"])


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:*",
        "https://localhost:3000",
        "http://localhost:",
        "http://localhost:3000/",
        "http://localhost:08",
        "http://localhost:123456",
        "http://localhost.evil.example:3000",
        "http://evil.example:3000",
        "http://127.0.0.1:3000",
        "http://localhost:3000.evil.example",
        "http://localhost:3000\n",
    ],
)
def test_any_port_means_only_any_port(origin: str) -> None:
    assert not origin_matches(origin, ["http://localhost:*"])


def test_any_origin_covers_websites_but_not_apps() -> None:
    assert origin_matches("https://allowed.example", ["*"])
    assert not origin_matches("capacitor://localhost", ["*"])


def test_nothing_matches_an_empty_list() -> None:
    assert not origin_matches("https://allowed.example", [])


@pytest.mark.parametrize(
    ("allowed", "sources"),
    [
        ([], "'none'"),
        (["https://a.example", "http://localhost:*"], "https://a.example http://localhost:*"),
        (["https://*.a.example:8443"], "https://*.a.example:8443"),
        (["*"], "http: https:"),
        (["http://[::1]:*"], "'none'"),
        (["capacitor://localhost"], "capacitor://localhost"),
        (["http://[::1]:*", "https://a.example"], "https://a.example"),
    ],
)
def test_the_policy_names_who_may_frame_the_page(allowed: list[str], sources: str) -> None:
    assert frame_ancestors(allowed) == sources


@pytest.mark.parametrize(
    ("origin", "matches"),
    [
        ("https://www.allowed.example", True),
        ("https://xn--bcher-kva.allowed.example", True),
        ("https://allowed.example", False),
        ("https://a.b.allowed.example", False),
        ("http://www.allowed.example", False),
        ("https://www.allowed.example:8443", False),
        ("https://www.allowed.example.evil.example", False),
        ("https://wwwallowed.example", False),
        ("https://.allowed.example", False),
        ("https://*.allowed.example", False),
        ("https://WWW.allowed.example", False),
        ("https://user@www.allowed.example", False),
    ],
)
def test_a_wildcard_matches_one_label(origin: str, matches: bool) -> None:
    assert origin_matches(origin, ["https://*.allowed.example"]) is matches


@pytest.mark.parametrize(
    ("origin", "matches"),
    [("https://a.example", True), ("http://a.example:8080", True), ("http://localhost:3000", True), ("null", False),
     ("", False), ("*", False), ("file://", False), ("https://a.example/", False), ("app://a.example", False)],
)  # fmt: skip
def test_any_origin_matches_any_web_page(origin: str, matches: bool) -> None:
    assert origin_matches(origin, ["*"]) is matches
