"""`tenant`: the sites that use the service, and how the window looks on their pages."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from html import escape
from typing import Any, cast

import click

from service.access.origins import ANY_ORIGIN
from service.commands import values
from service.commands.arguments import Group, OneOf, Value, json_option, name_argument, with_store
from service.commands.output import print_json, print_table, shown, shown_lines
from service.settings import load_settings
from service.store.records import Tenant, TenantSettings, Widget
from service.store.store import Store
from service.widget_settings import WidgetSettings

MAX_IDENTITY_CLAIMS = 20

TENANT_NUMBERS = ("rate_per_minute", "visitor_rate_per_minute", "visitor_streams", "tokens_per_day")
ORIGINS = ("origins", "any_origin")
OPTIONAL_NUMBERS = ("temperature", "max_answer_tokens")
IDENTITY_WAYS = ("identity_secret_env", "identity_public_key")
WEBHOOK = ("webhook_url_env", "webhook_secret_env")
TENANT_TEXTS = ("model", "system_prompt", "openai_key_env", "openai_base_url_env", *IDENTITY_WAYS, *WEBHOOK)
SWITCHES = ("require_identity", "tell_upstream")
OPTIONAL = (*OPTIONAL_NUMBERS, *TENANT_TEXTS, "upstream")
WIDGET_TEXTS = ("title", "greeting", "placeholder", "color", "position", "theme", "locale")
LISTED = ("name", "origins", *TENANT_NUMBERS, "model")

Option = Callable[[Callable[..., Any]], Callable[..., Any]]


def _unset_name(text: str) -> str:
    name = text if text in WidgetSettings.model_fields else text.replace("-", "_")
    if name not in (*OPTIONAL, *WidgetSettings.model_fields):
        raise ValueError(f"{text!r} is not a setting that can be unset (see --help)")
    return name


UNSET_NAMES = ", ".join([*(name.replace("_", "-") for name in OPTIONAL), *WidgetSettings.model_fields])


def _option(flag: str, parse: Callable[[str], object], metavar: str, help: str = "", **how: Any) -> Option:
    """An option with a value; `name` in `how` is that of its parameter, if the flag's own name does not fit."""
    names = [flag, how.pop("name")] if "name" in how else [flag]
    return click.option(*names, type=Value(parse), metavar=metavar, help=help or None, **how)


def _variable(flag: str, content: str) -> Option:
    return _option(flag, values.variable, "VARIABLE", f"the environment variable with {content}")


SETTINGS: list[Option] = [
    _option(
        "--origin",
        values.origin,
        "URL",
        "a site that may show the widget: its scheme, host and port, such as https://www.example.com; "
        "https://*.example.com allows every name one level below example.com",
        name="origins",
        multiple=True,
    ),
    click.option(
        "--any-origin",
        is_flag=True,
        help="any website may show the widget and use up the limits: for public demonstrations",
    ),
    _option("--rate-per-minute", values.number, "N", "questions per key; 0 means no limit"),
    _option("--visitor-rate-per-minute", values.number, "N", "questions per visitor; 0 means no limit"),
    _option("--visitor-streams", values.number, "N", "concurrent answers per visitor; 0 means no limit"),
    _option("--tokens-per-day", values.number, "N", "in prompts and answers; 0 means no limit"),
    _option("--model", values.text, "MODEL", "instead of OPENAI_MODEL"),
    _option(
        "--system-prompt-file", values.file, "FILE", "the instructions, instead of SYSTEM_PROMPT", name="system_prompt"
    ),
    _option("--temperature", values.temperature, "T", "0 to 2"),
    _option("--max-answer-tokens", values.answer_tokens, "N", "per answer; 0 means no limit"),
    _variable("--openai-base-url-env", "the provider's base URL"),
    _variable("--openai-key-env", "the provider's key"),
    _option(
        "--upstream", values.upstream, "FILE", "headers, query parameters and body fields for the provider, as JSON"
    ),
    _variable("--identity-secret-env", "the secret that your server signs user tokens with (HS256)"),
    _option(
        "--identity-public-key-file",
        values.public_key,
        "FILE",
        "or the Ed25519 public key that verifies them (EdDSA), as PEM; an empty value removes it",
        name="identity_public_key",
    ),
    _option(
        "--identity-claim",
        values.claim,
        "NAME",
        "a claim of user tokens to pass to the model and show in usage; may be repeated",
        name="identity_claims",
        multiple=True,
    ),
    click.option(
        "--require-identity/--no-require-identity", default=None, help="refuse every call without a valid user token"
    ),
    click.option(
        "--tell-upstream/--no-tell-upstream",
        default=None,
        help="send the provider the ids of the conversation, the message and the request, and the visitor's sub",
    ),
    _variable("--webhook-url-env", "the URL that receives handoffs and feedback; needs a secret"),
    _variable("--webhook-secret-env", "the secret that signs them, whsec_…"),
    _option("--title", values.text, "TEXT", "the window's title"),
    _option("--greeting", values.text, "TEXT", "the first message in the window"),
    _option("--placeholder", values.text, "TEXT", "the hint in the empty message field"),
    _option("--color", values.widget_text("color"), "#RRGGBB", "the main colour"),
    _option(
        "--position",
        values.one_of("bottom-right", "bottom-left", ""),
        "bottom-right|bottom-left",
        "the bubble's corner",
    ),
    _option("--theme", values.one_of("auto", "light", "dark", ""), "auto|light|dark", "auto follows the page"),
    _option("--locale", values.widget_text("locale"), "TAG", "the language, such as de; default: the page's"),
    _option(
        "--suggestion",
        values.text,
        "TEXT",
        "a question to start with; may be given 6 times",
        name="suggestions",
        multiple=True,
    ),
    _option("--look", values.look, "FILE", "any of the widget's settings, as a JSON object"),
    _option("--unset", _unset_name, "NAME", f"restore the default: {UNSET_NAMES}", multiple=True),
]


def settings_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(SETTINGS):
        function = option(function)
    return function


tenants = Group("tenant", help="the sites that use the service")


@tenants.command(
    "add", one_of=[OneOf(ORIGINS, required=True), OneOf(IDENTITY_WAYS)], help="create a tenant and its key"
)
@click.argument("name", type=Value(values.tenant_name), metavar="NAME")
@settings_options
@_option("--url", values.service_url, "URL", "the service's address; default: PUBLIC_URL, or this machine at PORT")
@json_option
@partial(with_store, makes_key=True, makes_database=True)
async def add(store: Store, name: str, url: str | None, as_json: bool, **options: Any) -> None:
    changes = _tenant_changes(options)
    _check_identity(changes)
    _check_webhook(changes)
    tenant, widget, api_key = await store.add_tenant(name, _widget_changes(options), **changes)
    settings = load_settings()
    url = url or next(iter(settings.public_urls), f"http://127.0.0.1:{settings.port}")
    snippet = _snippet(url, api_key, widget.id)
    if as_json:
        print_json({"tenant": tenant.name, "widget_id": widget.id, "api_key": api_key, "snippet": snippet})
        return
    places = "any website" if ANY_ORIGIN in tenant.origins else ", ".join(tenant.origins)
    print(f"The tenant {tenant.name!r} may run on {places}.")
    print(f"\nPaste this anywhere in the HTML of the site's pages:\n\n{snippet}\n")
    print(f"The address in src, {url}, must be the service's public one; PUBLIC_URL or --url sets it.")
    print("This key is shown once: only its hash is stored. `key rotate` creates another.")


@tenants.command("list", help="all tenants")
@json_option
@with_store
async def show_all(store: Store, as_json: bool) -> None:
    found = [_tenant_facts(tenant) for tenant in await store.list_tenants()]
    if as_json:
        print_json(found)
    else:
        print_table(LISTED, found)


@tenants.command("show", help="one tenant and its widget")
@name_argument
@json_option
@with_store
async def show(store: Store, name: str, as_json: bool) -> None:
    _print_tenant(await store.get_tenant(name), await store.get_widget(name), as_json)


@tenants.command(
    "set",
    one_of=[OneOf(ORIGINS), OneOf(IDENTITY_WAYS)],
    help="change the given settings; an empty value restores the default",
)
@name_argument
@settings_options
@json_option
@with_store
async def change(store: Store, name: str, as_json: bool, **options: Any) -> None:
    changes, widget_changes = _tenant_changes(options), _widget_changes(options)
    changed = cast(TenantSettings, asdict(await store.get_tenant(name)) | changes)
    _check_identity(changed)
    _check_webhook(changed)
    widget = await store.set_widget(name, widget_changes)  # first: if it fails, access stays unchanged
    _print_tenant(await store.set_tenant(name, **changes), widget, as_json)


@tenants.command("remove", help="delete a tenant with its conversations and usage")
@name_argument
@click.option("--yes", is_flag=True, help="do not ask for confirmation at a terminal")
def remove(name: str, yes: bool) -> None:
    if not yes and not _is_confirmed(name):
        raise ValueError("Nothing was changed.")
    _remove(name)


def _is_confirmed(name: str) -> bool:
    """Ask at a terminal; a pipe, a script or cron cannot answer."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    question = f"Remove the tenant {name!r} with its keys, conversations and usage? [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@with_store
async def _remove(store: Store, name: str) -> None:
    await store.remove_tenant(name)
    print(f"Removed the tenant {name!r} with its keys, conversations and usage.")


def _print_tenant(tenant: Tenant, widget: Widget, as_json: bool) -> None:
    facts = {**_tenant_facts(tenant), "widget_id": widget.id, "widget": widget.settings}
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        print(f"{name:<24} {shown_lines(value) if isinstance(value, str) else shown(value)}")


def _tenant_facts(tenant: Tenant) -> dict[str, Any]:
    facts = asdict(tenant)
    del facts["visitor_salt"]
    return facts


def _tenant_changes(options: Mapping[str, Any]) -> TenantSettings:
    """The tenant's settings from the options; an empty text restores the service's default."""
    changes: dict[str, Any] = dict.fromkeys(name for name in options["unset"] if name in OPTIONAL)
    changes |= {name: options[name] for name in (*TENANT_NUMBERS, *OPTIONAL_NUMBERS) if options[name] is not None}
    changes |= {name: options[name] or None for name in (*TENANT_TEXTS, "upstream") if options[name] is not None}
    if options["origins"] or options["any_origin"]:
        changes["origins"] = [ANY_ORIGIN] if options["any_origin"] else _distinct(options["origins"])
    if any(changes.get(way) for way in IDENTITY_WAYS):  # one replaces the other
        changes = dict.fromkeys(IDENTITY_WAYS) | changes
    if options["identity_claims"]:
        changes["identity_claims"] = _distinct(options["identity_claims"])
    changes |= {name: options[name] for name in SWITCHES if options[name] is not None}
    return cast(TenantSettings, changes)


def _distinct(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))


def _check_identity(settings: TenantSettings) -> None:
    if settings.get("require_identity") and not any(settings.get(way) for way in IDENTITY_WAYS):
        raise ValueError("--require-identity needs --identity-secret-env or --identity-public-key-file")
    if len(settings.get("identity_claims", [])) > MAX_IDENTITY_CLAIMS:
        raise ValueError(f"--identity-claim may be given {MAX_IDENTITY_CLAIMS} times at most")


def _check_webhook(settings: TenantSettings) -> None:
    if bool(settings.get("webhook_url_env")) != bool(settings.get("webhook_secret_env")):
        raise ValueError("--webhook-url-env and --webhook-secret-env go together")


def _widget_changes(options: Mapping[str, Any]) -> dict[str, Any]:
    """The widget's settings from the options; None removes one. Raises ValueError for an invalid value."""
    changes: dict[str, Any] = dict.fromkeys(name for name in options["unset"] if name in WidgetSettings.model_fields)
    changes |= options["look"] or {}
    changes |= {name: options[name] or None for name in WIDGET_TEXTS if options[name] is not None}
    if options["suggestions"]:
        changes["suggestions"] = [text for text in options["suggestions"] if text] or None
    values.check_look(changes)
    return changes


def _snippet(url: str, api_key: str, widget_id: str) -> str:
    return (
        f'<script src="{escape(url)}/widget.js" async\n'
        f'        data-api-key="{api_key}" data-widget-id="{widget_id}"></script>'
    )
