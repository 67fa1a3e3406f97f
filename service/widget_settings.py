"""The settings of a tenant's widget, and their validation."""

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

MAX_IMAGE_CHARS = 50_000
# In a policy, white space, commas, semicolons and quotes would end a URL; they must be percent-encoded.
WEB_IMAGE = re.compile(
    r"https://([A-Za-z0-9.-]+(?::[0-9]{1,5})?)(/[A-Za-z0-9._~%!$&()*+=:@/-]*)?(\?[A-Za-z0-9._~%!$&()*+=:@/?-]*)?"
)
DATA_IMAGE = re.compile(r"data:image/(?:png|jpeg|gif|webp|avif|svg\+xml);base64,[A-Za-z0-9+/=]+")


def _color(value: str) -> str:
    if not re.fullmatch(r"#([0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})", value):
        raise ValueError("must be a colour such as #1a6b54")
    return value


def _locale(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", value):
        raise ValueError("must be a language tag such as de or pt-BR")
    return value


def _image_url(value: str) -> str:
    if not WEB_IMAGE.fullmatch(value) and not DATA_IMAGE.fullmatch(value):
        raise ValueError("must be an https:// address or a data:image/…;base64,… one")
    return value


def image_source(value: object) -> str | None:
    """An image's URL as a source for a Content-Security-Policy, if it needs one: exact, but without its query."""
    found = WEB_IMAGE.fullmatch(value) if isinstance(value, str) else None
    return f"https://{found[1].lower()}{found[2] or '/'}" if found else None


def _web_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" or not parts.hostname or not value.isprintable() or " " in value:
        raise ValueError("must be an https:// address")
    return value


def _handoff(value: str) -> str:
    address = value.removeprefix("mailto:")
    if re.fullmatch(r"[^\s@<>\":]+@[^\s@<>\"?]+(\?[^\s<>\"]*)?", address):
        return value
    return _web_url(value)


ImageUrl = Annotated[str, Field(max_length=MAX_IMAGE_CHARS), AfterValidator(_image_url)]
WebUrl = Annotated[str, Field(max_length=2000), AfterValidator(_web_url)]
Question = Annotated[str, Field(min_length=1, max_length=200)]
Questions = Annotated[list[Question], Field(max_length=6)]


class WidgetSettings(BaseModel):
    """The settings of a tenant's widget. The widget has a default for each.

    Their names match the script tag's attributes: `data-privacy-url` is `privacyUrl`.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str | None = Field(default=None, max_length=100)
    greeting: str | None = Field(default=None, max_length=1000)
    placeholder: str | None = Field(default=None, max_length=200)
    color: Annotated[str, AfterValidator(_color)] | None = None
    position: Literal["bottom-right", "bottom-left"] | None = None
    theme: Literal["auto", "light", "dark"] | None = None
    launcher: Literal["bubble", "none"] | None = None
    locale: Annotated[str, Field(max_length=35), AfterValidator(_locale)] | None = None
    suggestions: Questions | None = None
    followUps: Questions | None = None
    avatar: ImageUrl | None = None
    icon: ImageUrl | None = None
    offsetX: float | None = Field(default=None, ge=0, le=400, allow_inf_nan=False)
    offsetY: float | None = Field(default=None, ge=0, le=400, allow_inf_nan=False)
    sound: bool | None = None
    consent: bool | None = None
    privacy: str | None = Field(default=None, max_length=500)
    privacyUrl: WebUrl | None = None
    handoff: Annotated[str, Field(max_length=2000), AfterValidator(_handoff)] | None = None
    proactive: str | None = Field(default=None, max_length=300)
    proactiveDelay: float | None = Field(default=None, ge=0, le=3600, allow_inf_nan=False)
    proactivePath: str | None = Field(default=None, max_length=500)
    proactiveExit: bool | None = None

    @model_validator(mode="after")
    def _check_texts(self) -> Self:
        for name, value in self:
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and re.search("[\0\ud800-\udfff]", text):
                    raise ValueError(f"{name} has characters that are not text")
        return self
