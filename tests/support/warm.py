"""Imported by the fork server: does once what every service would otherwise do at its start."""

from service.upstream.clients import tls_context
from service.web.assets import load_assets
from service.web.lifespan import STATIC

tls_context(None)
load_assets(STATIC)
