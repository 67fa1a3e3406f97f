"""The routes of the owner's pages and their API."""

from starlette.routing import Route

from service.web.owner import pages, report, tenants, transcripts

OWNER_API = "/studio/api"
TENANT = f"{OWNER_API}/tenants/{{widget_id}}"
CONVERSATION = f"{TENANT}/conversations/{{conversation_id}}"

owner_routes = [
    Route("/", pages.home),
    Route("/studio", pages.studio),
    Route("/studio/preview", pages.studio_preview),
    Route("/studio/conversations", pages.conversations),
    Route("/studio/sign-in", pages.sign_in, methods=["POST"]),
    Route("/studio/sign-out", pages.sign_out, methods=["POST"]),
    Route(f"{OWNER_API}/tenants", tenants.list_tenants),
    Route(TENANT, tenants.read_tenant),
    Route(f"{TENANT}/look", tenants.set_look, methods=["PUT"]),
    Route(f"{TENANT}/keys", tenants.create_key, methods=["POST"]),
    Route(f"{TENANT}/report", report.report),
    Route(f"{TENANT}/conversations", transcripts.find),
    Route(CONVERSATION, transcripts.transcript, methods=["GET", "DELETE"]),
    Route(f"{CONVERSATION}/export", transcripts.export),
]
