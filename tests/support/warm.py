"""What every service makes at its start, made once for all that are forked: the fork server imports this."""

from service.upstream.clients import tls_context
from service.web.assets import load_assets
from service.web.lifespan import STATIC

tls_context(None)
load_assets(STATIC)
