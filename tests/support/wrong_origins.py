"""Origins other than https://allowed.example, some of which resemble it, grouped by how they can occur."""

ALLOWED = "https://allowed.example"

# Pages can have these, so browsers may send them.
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
# No page has these; they come from sandboxes, files, extensions and forged requests.
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
    "https://allоwed.example",  # with an unencoded Cyrillic о
    "https://*.example",
    "allowed.example",
    "//allowed.example",
]
WRONG_ORIGINS = [*OF_PAGES, *OF_NO_PAGE]
