"""Origins that are not https://allowed.example, though some look like it, and how each can come about."""

ALLOWED = "https://allowed.example"

# A page can be at these, so a browser may send them.
OF_PAGES = [
    "https://evil.example",
    "http://allowed.example",
    "http://allowed.example:443",
    "https://allowed.example:8443",
    "https://allowed.example:80",
    "https://allowed.example.evil.example",
    "https://allowed.examples",
    "https://allowed.exampl",
    "https://evilallowed.example",
    "https://evil-allowed.example",
    "https://sub.allowed.example",
    "https://www.allowed.example",
    "https://a.b.allowed.example",
    "https://allowed.example.",
    "https://example",
    "https://allowed-example",
    "https://allowed_.example",
    "https://xn--allwed-yqf.example",  # a Cyrillic o
    "https://xn--llowed-ota.example",  # an accented a
    "http://127.0.0.1",
]
# No page is at these; they are what sandboxes, files, extensions and forgers send.
OF_NO_PAGE = [
    "null",
    "NULL",
    "",
    "*",
    "file://",
    "chrome-extension://abcdefghijklmnop",
    "capacitor://localhost",
    "blob:https://allowed.example/x",
    "https://ALLOWED.example",
    "HTTPS://allowed.example",
    "https://allowed.example/",
    "https://allowed.example:443",
    "https://allowed.example#",
    "https://user@allowed.example",
    "https://allowed.example@evil.example",
    "https://allowed.example\\.evil.example",
    "https://allowed.example\0.evil.example",
    "https://allowed.example%2eevil.example",
    "https://allowed.example, https://evil.example",
    "https://evil.example, https://allowed.example",
    "https://allowed.example https://evil.example",
    "https://allоwed.example",  # with a Cyrillic о, as it is typed
    "https://*.example",
    "allowed.example",
    "//allowed.example",
]
WRONG_ORIGINS = [*OF_PAGES, *OF_NO_PAGE]
