"""The widget settings that an operator may make, and the images that the widget's page may then load."""

from typing import Any

import pytest
from pydantic import ValidationError

from conftest import Serve
from service.widget_settings import WidgetSettings, image_source

EVERYTHING: dict[str, Any] = {
    "title": "Shop",
    "greeting": "Hello!\nHow can I help?",
    "placeholder": "Ask",
    "color": "#1a6b54",
    "position": "bottom-left",
    "theme": "dark",
    "launcher": "none",
    "locale": "pt-BR",
    "suggestions": ["Prices?"],
    "followUps": ["More?"] * 6,
    "avatar": "https://shop.test/a/b.png?size=2",
    "icon": "data:image/png;base64,iVBORw0KGgo=",
    "offsetX": 0,
    "offsetY": 400,
    "sound": True,
    "consent": False,
    "privacy": "We keep what you write for 30 days.",
    "privacyUrl": "https://shop.test/privacy#chat",
    "handoff": "help@shop.test",
    "proactive": "Need help?",
    "proactiveDelay": 30,
    "proactivePath": "/shop/*",
    "proactiveExit": True,
}


def test_every_documented_setting_is_accepted() -> None:
    """Each name, and each limit at its edge."""
    assert EVERYTHING.keys() == WidgetSettings.model_fields.keys()
    assert WidgetSettings.model_validate(EVERYTHING).model_dump(exclude_unset=True) == EVERYTHING


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", "x" * 101),
        ("title", 5),
        ("title", "\0"),
        ("color", "red"),
        ("color", "#1a6b54;}"),
        ("position", "top"),
        ("locale", "english please"),
        ("suggestions", ["x"] * 7),
        ("suggestions", ["x" * 201]),
        ("suggestions", [""]),
        ("suggestions", ["\ud800"]),
        ("followUps", "More?"),
        ("avatar", "http://shop.test/a.png"),
        ("avatar", "javascript:alert(1)"),
        ("avatar", "https://user@shop.test/a.png"),
        ("avatar", "https://shop.test/a.png; script-src *"),
        ("avatar", "https://shop.test/a.png,https://evil.test"),
        ("avatar", "https://shop.test/a b.png"),
        ("avatar", "https://shop.test/a'.png"),
        ("avatar", "https://*.shop.test/a.png"),
        ("avatar", "https://shop.test/a.png\n"),
        ("icon", "data:text/html;base64,PHNjcmlwdD4="),
        ("icon", "data:image/svg+xml,<svg onload=alert(1)>"),
        ("offsetX", -1),
        ("offsetY", 401),
        ("offsetX", float("nan")),
        ("sound", "yes"),
        ("privacy", "x" * 501),
        ("privacyUrl", "http://shop.test/"),
        ("privacyUrl", "javascript:alert(1)"),
        ("handoff", "javascript:alert(1)"),
        ("handoff", "javascript:alert(1)@shop.test"),
        ("handoff", "mailto:javascript:alert(1)@shop.test"),
        ("handoff", "help@shop.test\nBcc: all@shop.test"),
        ("proactive", "x" * 301),
        ("proactiveDelay", 3601),
        ("userToken", "eyJ"),
        ("mode", "inline"),
    ],
)
def test_an_invalid_setting_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        WidgetSettings.model_validate({name: value})


@pytest.mark.parametrize("handoff", ["help@shop.test", "mailto:help@shop.test?subject=Hi", "https://shop.test/help"])
def test_a_handoff_is_an_email_address_or_a_url(handoff: str) -> None:
    assert WidgetSettings.model_validate({"handoff": handoff}).handoff == handoff


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("https://shop.test/a/b.png?size=2", "https://shop.test/a/b.png"),
        ("https://SHOP.test", "https://shop.test/"),
        ("https://shop.test:8443/a%20b.png", "https://shop.test:8443/a%20b.png"),
        ("data:image/png;base64,iVBORw0KGgo=", None),
        ("https://shop.test/a.png; script-src *", None),
        (None, None),
        (5, None),
    ],
)
def test_the_policy_lists_an_images_url_without_its_query(value: object, source: str | None) -> None:
    assert image_source(value) == source


async def test_the_widgets_page_may_load_the_tenants_own_images_and_no_others(serve: Serve) -> None:
    """Unchecked values in the database add nothing to the policy."""
    async with serve() as client:
        store = client.state["service"].store

        async def images() -> str:
            response, _ = await client.request("GET", f"/widget.html?id={client.widget_id}")
            policy = response.headers["content-security-policy"]
            assert policy.count("img-src") == 1 and "script-src 'self'" in policy
            return str(next(each.strip() for each in policy.split(";") if "img-src" in each))

        assert await images() == "img-src 'self' data:"
        await store.set_widget("shop", {"avatar": "https://cdn.test/a.png?v=1", "icon": "https://cdn.test/i.svg"})
        assert await images() == "img-src 'self' data: https://cdn.test/a.png https://cdn.test/i.svg"
        await store.set_widget("shop", {"avatar": "https://x.test/; script-src *", "icon": EVERYTHING["icon"]})
        assert await images() == "img-src 'self' data:"
