"""The service's settings: environment variables, or the same names in a `.env` file in the working directory."""

import re
import ssl
from collections.abc import Callable
from ipaddress import ip_network
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from service.overlay import parse_part
from service.store.records import (
    DAY_SECONDS,
    DEFAULT_HISTORY_CHARS,
    DEFAULT_HISTORY_TURNS,
    DEFAULT_POOL_SIZE,
    LARGEST_INTEGER,
)
from service.store.urls import parse_url
from service.variables import FILE, read_file

DEFAULT_BASE_URL = "https://api.openai.com/v1"
CHAT_PATH = "/chat/completions"
SECRETS = (
    "openai_api_key",
    "database_url",
    "metrics_token",
    "studio_token",
    "upstream_proxy",
)  # each may be in a file, by NAME_FILE
MAX_ANSWER_TOKENS = 1_000_000
DEFAULT_MAX_MESSAGE_CHARS = 4000
MAX_RETENTION_DAYS = 36_500
DEFAULT_SYSTEM_PROMPT = (
    "You are the assistant on a website. Answer its visitors' questions briefly, kindly and correctly. "
    "Say so when you do not know something."
)


def http_url(value: str) -> str:
    """A URL without surrounding white space or a trailing slash. Raises ValueError, whose message omits the value."""
    value = unquoted(value).rstrip("/")
    problem = "must be an http or https URL, such as https://api.openai.com/v1"
    try:
        url, parts = httpx.URL(value), urlsplit(value)
        port = parts.port
        url.raw_host.decode("ascii").encode("idna")  # as for a socket, which fails with an empty or long label
    except (httpx.InvalidURL, ValueError):
        raise ValueError(f"{problem}, with a valid host name and port") from None
    if value and "://" not in value:
        raise ValueError(f"{problem}: write http:// or https:// before it")
    if url.scheme not in ("http", "https") or not url.host or port == 0 or len(value.split()) > 1:
        raise ValueError(problem)
    if "?" in value or "#" in value:
        raise ValueError(f"{problem}, without a query (?) or a fragment (#)")
    return value


def base_url(value: str) -> str:
    """The base URL of an endpoint, without the path that the service adds. Raises ValueError."""
    value = unquoted(value)
    if "?" in value and urlsplit(value).query:
        raise ValueError("must have no query; move what follows the ? to OPENAI_QUERY or --upstream, as JSON")
    return http_url(value.rstrip("/").removesuffix(CHAT_PATH))


def unquoted(value: str) -> str:
    """A value without surrounding white space, and without the quotes that `docker run --env-file` leaves."""
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1].strip()
    return value


def key_text(value: str) -> str:
    """A key without surrounding white space and quotes, and without `Bearer`, which the service adds itself.

    Raises ValueError, whose message omits the value, if it cannot be sent in a header.
    """
    return header_text(re.sub("^bearer +", "", unquoted(value), flags=re.IGNORECASE))


def header_text(value: str) -> str:
    """A header's value without surrounding white space. Raises ValueError, without the value, if it cannot be sent."""
    value = value.strip()
    if not value:
        raise ValueError("is blank")
    if not (value.isascii() and value.isprintable()):
        raise ValueError("has characters that no header can hold, such as a line break or a letter beyond ASCII")
    return value


def _secret(value: SecretStr) -> SecretStr:
    return SecretStr(key_text(value.get_secret_value()))


def _database_url(value: str) -> str:
    value = unquoted(value)
    parse_url(value)
    return value


def _proxy_url(value: SecretStr) -> SecretStr:
    """The URL of an HTTP proxy, which may contain a user and a password."""
    try:
        return SecretStr(http_url(value.get_secret_value()))
    except ValueError:
        raise ValueError("must be the address of an HTTP proxy, such as http://user:password@proxy:3128") from None


def _ca_file(value: str) -> str:
    """A file of certificates, loaded now so that an error shows at startup and not with the first question."""
    try:
        ssl.create_default_context(cafile=value)
    except OSError as error:
        reason = "has no certificate in PEM form" if isinstance(error, ssl.SSLError) else f"{error.strerror}"
        raise ValueError(f"cannot be used: {reason}") from None
    return value


def _overlay_part(name: str) -> Callable[[Any], Any]:
    return lambda value: parse_part(name, unquoted(value)) if isinstance(value, str) else value


def _public_urls(value: str) -> str:
    """The service's own URLs, separated by commas or spaces, in the form of browsers."""
    addresses = []
    for text in value.replace(",", " ").split():
        try:
            url = httpx.URL(http_url(text))  # lower case, punycode, without a default port
        except ValueError:
            raise ValueError(
                "must be http or https addresses of the service, such as https://chat.example.com"
            ) from None
        if url.userinfo or not re.fullmatch(r"[a-z0-9_.-]+|[0-9a-f:.]+", url.raw_host.decode()):
            raise ValueError("must be whole addresses, such as https://chat.example.com, without a wildcard or a user")
        addresses.append(f"{url.scheme}://{url.netloc.decode()}{url.path.rstrip('/')}")
    return " ".join(dict.fromkeys(addresses))


def _proxies(value: str) -> str:
    """Reject anything but addresses and networks: uvicorn takes it for a name, which never matches a proxy."""
    hosts = [host.strip() for host in value.split(",") if host.strip()]
    if hosts != ["*"]:
        try:
            for host in hosts:
                ip_network(host)
        except ValueError:
            raise ValueError("must be IP addresses and networks, such as 10.0.0.1,172.16.0.0/12, or * alone") from None
    return ",".join(hosts)


Secret = Annotated[SecretStr, AfterValidator(_secret)]
Headers = Annotated[dict[str, Any], NoDecode, BeforeValidator(_overlay_part("headers"))]
Query = Annotated[dict[str, Any], NoDecode, BeforeValidator(_overlay_part("query"))]
Body = Annotated[dict[str, Any], NoDecode, BeforeValidator(_overlay_part("body"))]
Seconds = Annotated[float, Field(gt=0, le=DAY_SECONDS, allow_inf_nan=False)]
SecondsOrNone = Annotated[float, Field(ge=0, le=DAY_SECONDS, allow_inf_nan=False)]
Price = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0, le=LARGEST_INTEGER)]
CountOrNone = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]


class Settings(BaseSettings):
    """Every setting, with its default. Times are in seconds; an empty variable counts as unset.

    Raises pydantic's ValidationError for an invalid value; see `load_settings`.
    """

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, str_strip_whitespace=True, extra="ignore", frozen=True
    )

    host: str = Field(default="127.0.0.1", min_length=1)  # with an empty one, uvicorn would listen on every address
    port: int = Field(default=8000, ge=0, le=65_535)
    forwarded_allow_ips: Annotated[str, AfterValidator(_proxies)] = "127.0.0.1"
    public_url: Annotated[str, AfterValidator(_public_urls)] = ""
    log_format: Literal["text", "json"] = "text"
    metrics_token: Secret | None = None
    studio_token: Secret | None = None

    openai_api_key: Secret | None = None
    openai_base_url: Annotated[str, AfterValidator(base_url)] | None = None
    openai_model: Annotated[str, BeforeValidator(unquoted)] = Field(default="gpt-4o-mini", min_length=1)
    openai_headers: Headers = {}
    openai_query: Query = {}
    openai_body: Body = {}
    system_prompt: str = DEFAULT_SYSTEM_PROMPT  # empty: none is sent

    price_prompt: Price | None = None
    price_completion: Price | None = None

    database_url: Annotated[str, AfterValidator(_database_url)] = "sqlite:///chatbot.db"
    database_pool_size: int = Field(default=DEFAULT_POOL_SIZE, ge=1, le=1000)  # connections to PostgreSQL
    retention_days: int = Field(default=30, ge=0, le=MAX_RETENTION_DAYS)

    max_message_chars: Count = DEFAULT_MAX_MESSAGE_CHARS
    max_history_turns: CountOrNone = DEFAULT_HISTORY_TURNS
    max_history_chars: CountOrNone = DEFAULT_HISTORY_CHARS
    max_answer_tokens: int = Field(default=4096, ge=0, le=MAX_ANSWER_TOKENS)
    max_body_bytes: int = Field(default=65_536, ge=100, le=LARGEST_INTEGER)
    max_answer_chars: Count = 200_000
    max_line_bytes: int = Field(default=1_048_576, ge=1000, le=LARGEST_INTEGER)
    max_json_depth: int = Field(default=64, ge=5, le=LARGEST_INTEGER)  # a chunk takes at least 4
    max_streams: Count = 1000

    connect_timeout: Seconds = 5
    first_text_timeout: Seconds = 60
    text_timeout: Seconds = 60
    read_timeout: Seconds = 60
    answer_timeout: Seconds = 300
    upstream_proxy: Annotated[SecretStr, AfterValidator(_proxy_url)] | None = None
    upstream_ca_file: Annotated[str, AfterValidator(_ca_file)] | None = None
    upstream_transport: Literal["httptools", "httpx"] = "httptools"
    webhook_allow_private: bool = False
    send_timeout: Seconds = 30
    head_timeout: Seconds = 15
    body_timeout: Seconds = 30
    keep_alive_timeout: Seconds = 75
    ping_seconds: Seconds = 15
    resume_seconds: SecondsOrNone = 10
    drain_seconds: SecondsOrNone = 30
    shutdown_delay: SecondsOrNone = 3
    workers: int = Field(default=1, ge=1, le=64)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[Any, ...]:
        return init_settings, _secrets_in_files, _no_system_prompt, env_settings, dotenv_settings

    @property
    def public_urls(self) -> list[str]:
        """The URLs of PUBLIC_URL, including the prefix of a proxy, if any."""
        return self.public_url.split()

    @property
    def public_origins(self) -> list[str]:
        """The origins of PUBLIC_URL, in the form of browsers."""
        return list(dict.fromkeys("/".join(url.split("/")[:3]) for url in self.public_urls))

    @property
    def owners_origins(self) -> list[str]:
        """The origins of the owner's pages besides loopback names: none without STUDIO_TOKEN."""
        return self.public_origins if self.studio_token else []

    @property
    def demonstration(self) -> bool:
        """Whether the built-in upstream answers, because neither a key nor another endpoint is set."""
        return self.openai_api_key is None and self.openai_base_url is None


def variables() -> dict[str, str]:
    """All variables by their names in lower case; the environment overrides `.env`."""
    of_file = DotEnvSettingsSource(Settings, env_ignore_empty=False).env_vars
    of_process = EnvSettingsSource(Settings, env_ignore_empty=False).env_vars
    return {name: value or "" for name, value in {**of_file, **of_process}.items()}


def _secrets_in_files() -> dict[str, str]:
    """The secrets in the files that `NAME_FILE` variables name."""
    found, set_ = {}, variables()
    for name in SECRETS:
        variable = name.upper()
        if path := set_.get(name + FILE.lower()):
            if set_.get(name):
                raise ValueError(f"{variable} and {variable}{FILE} are both set; choose one")
            found[name] = read_file(f"{variable}{FILE}", path)
    return found


def _no_system_prompt() -> dict[str, str]:
    """An empty SYSTEM_PROMPT counts as set, unlike other empty variables."""
    return {"system_prompt": ""} if variables().get("system_prompt") == "" else {}


def load_settings() -> Settings:
    """The settings from the environment and `.env`. Raises ValueError with one line for the operator."""
    try:
        return Settings()
    except ValidationError as error:
        raise ValueError(explain(error)) from None
    except UnicodeDecodeError:
        raise ValueError(".env: is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f".env: cannot be read: {error.strerror}") from None


def explain(error: ValidationError) -> str:
    """The errors in one line that names each variable, but never a value: it could be a secret."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc'][:1]).upper()}: {item['msg'].removeprefix('Value error, ')}"
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    )
