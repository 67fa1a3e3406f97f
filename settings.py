"""The service's settings: environment variables, or the same names in a `.env` file in the working directory."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from database import parse_url

DEFAULT_BASE_URL = "https://api.openai.com/v1"
MAX_ANSWER_TOKENS = 1_000_000
DEFAULT_SYSTEM_PROMPT = (
    "You are the assistant on a website. Answer its visitors' questions briefly, kindly and correctly. "
    "Say so when you do not know something."
)


def http_url(value: str) -> str:
    """An address without a slash at its end. Raises ValueError, without the value in it."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL, such as https://api.openai.com/v1")
    return value.rstrip("/")


def _database_url(value: str) -> str:
    parse_url(value)
    return value


Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
SecondsOrNone = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]


class Settings(BaseSettings):
    """Every setting, with its default. Times are in seconds; an empty variable counts as not set.

    Raises pydantic's ValidationError for a wrong value; `explain` makes the one line of it that an operator reads.
    """

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    forwarded_allow_ips: str = "127.0.0.1"
    log_format: Literal["text", "json"] = "text"
    metrics_token: SecretStr | None = None

    openai_api_key: SecretStr | None = None
    openai_base_url: Annotated[str, AfterValidator(http_url)] | None = None
    openai_model: str = "gpt-4o-mini"
    system_prompt: str = DEFAULT_SYSTEM_PROMPT

    database_url: Annotated[str, AfterValidator(_database_url)] = "sqlite+aiosqlite:///chatbot.db"
    retention_days: int = Field(default=30, ge=0)

    max_message_chars: Count = 4000
    max_history_turns: int = Field(default=20, ge=0)
    max_history_chars: int = Field(default=32_000, ge=0)
    max_answer_tokens: int = Field(default=4096, ge=0, le=MAX_ANSWER_TOKENS)
    max_body_bytes: Count = 65_536
    max_answer_chars: Count = 200_000
    max_line_bytes: Count = 1_048_576
    max_json_depth: Count = 64
    max_streams: Count = 1000

    connect_timeout: Seconds = 5
    first_text_timeout: Seconds = 60
    text_timeout: Seconds = 60
    read_timeout: Seconds = 60
    answer_timeout: Seconds = 300
    send_timeout: Seconds = 30
    ping_seconds: Seconds = 15
    resume_seconds: SecondsOrNone = 10
    drain_seconds: SecondsOrNone = 30

    @property
    def demonstration(self) -> bool:
        """Whether the built-in upstream answers: neither a key nor another endpoint was given."""
        return self.openai_api_key is None and self.openai_base_url is None


def explain(error: ValidationError) -> str:
    """The errors in one line that names each variable, and never a value: it could be a secret."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc'][:1]).upper()}: {item['msg'].removeprefix('Value error, ')}"
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    )
