"""The visitor's address and scheme from trusted proxies: uvicorn's middleware, with any form of X-Forwarded-Proto."""

from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

NAME = b"x-forwarded-proto"


class ForwardedHeaders(ProxyHeadersMiddleware):
    """uvicorn's middleware, which trusts FORWARDED_ALLOW_IPS and knows only `http` and `https`.

    Two proxies in a row write a list, whose first entry is the visitor's; some use upper case.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            values = [value for name, value in scope["headers"] if name == NAME]
            if values:
                others = [header for header in scope["headers"] if header[0] != NAME]
                scheme = b",".join(values).partition(b",")[0].strip(b' \t"').lower()
                scope = {**scope, "headers": [*others, (NAME, scheme)]}
        await super().__call__(scope, receive, send)
