"""`WidgetSettings` declares the window's settings; all other places agree with its types and bounds."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from browser import WIDGET
from service.widget_settings import WidgetSettings

DOCS = WIDGET.parent / "docs"
# Settings that only the host page has, and those that only the studio needs.
BY_ATTRIBUTE_ALONE = {"apiKey", "widgetId", "apiUrl", "zIndex", "mode", "target", "open", "userToken"}
OF_THE_STUDIO = {"mode", "target", "open", "device", "scheme", "window", "grace"}
SETTINGS = sorted(WidgetSettings.model_fields)


def declared(name: str) -> dict[str, Any]:
    """Its JSON schema."""
    found: dict[str, Any] = WidgetSettings.model_json_schema()["properties"][name]["anyOf"][0]
    return found


def types_of(source: str, interface: str) -> dict[str, str]:
    """The properties of a TypeScript interface, and their types."""
    body = re.search(rf"interface {interface} {{\n(.*?)\n}}", source, re.DOTALL)
    assert body
    return dict(re.findall(r"^  (\w+)\??: (.+);$", body[1], re.MULTILINE))


class Fields(HTMLParser):
    """A form's fields by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str | None]] = {}
        self.values: dict[str, set[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        name = attributes.get("name")
        if name and tag in {"input", "select", "textarea"}:
            self.found[name] = attributes
            self.values.setdefault(name, set()).add(attributes.get("value") or "")


@pytest.fixture(scope="module")
def studio() -> Fields:
    fields = Fields()
    fields.feed((WIDGET / "src/pages/studio.html").read_text())
    return fields


def test_the_types_for_host_pages_declare_exactly_the_settings() -> None:
    types = types_of((WIDGET / "types/a4-chat-widget.d.ts").read_text(), "ChatWidgetConfig")
    assert types.keys() == {*SETTINGS, *BY_ATTRIBUTE_ALONE}
    for name in SETTINGS:
        schema = declared(name)
        kinds = {"array": "readonly string[]", "string": "string", "number": "number", "boolean": "boolean"}
        expected = " | ".join(f"'{value}'" for value in schema.get("enum", [])) or kinds[schema["type"]]
        assert types[name] == expected, name


def test_the_frames_parser_has_the_same_limits_for_texts_and_lists() -> None:
    source = (WIDGET / "src/frame/parse.ts").read_text()
    texts = dict(re.findall(r"(\w+): (\d+)", re.search(r"const TEXTS = {(.*?)}", source)[1]))  # type: ignore[index]
    assert texts
    assert {name: int(most) for name, most in texts.items()} == {name: declared(name)["maxLength"] for name in texts}
    questions = declared("suggestions")
    assert f"text(entry, {questions['items']['maxLength']})).slice(0, {questions['maxItems']})" in source


def test_the_protocols_settings_are_the_services() -> None:
    types = types_of((WIDGET / "src/protocol.ts").read_text(), "Settings")
    assert types.keys() == {*SETTINGS} - {"avatar", "icon"}  # which the frame loads, and the window gets as images


@pytest.mark.parametrize("name", SETTINGS)
def test_the_studios_form_has_each_setting_with_its_limits(studio: Fields, name: str) -> None:
    field, schema = studio.found[name], declared(name)
    if schema.get("enum"):
        assert {*schema["enum"]} == studio.values[name] - {""}
    for attribute, bound in (("min", "minimum"), ("max", "maximum")):
        if bound in schema:
            assert float(field[attribute] or "") == schema[bound], attribute
    if "maxLength" in schema and "maxlength" in field and name != "color":
        assert int(field["maxlength"] or "") == schema["maxLength"]


def test_the_studios_form_has_nothing_else(studio: Fields) -> None:
    assert {name for name in studio.found if not name.startswith("--a4w-")} - OF_THE_STUDIO == {*SETTINGS}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_docs_list_each_setting_as_an_attribute(name: str) -> None:
    attribute = re.sub("[A-Z]", lambda letter: f"-{letter[0].lower()}", name)
    rows = [line for line in (DOCS / "embedding.md").read_text().splitlines() if line.startswith("| `data-")]
    assert any(f"`data-{attribute}`" in row.split("|")[1] for row in rows)
