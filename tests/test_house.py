"""The code's structure (docs/architecture.md): imports only go down, without cycles, and no file is too long."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from preloaded import ROOT

MOST_LINES = 450
# The layers from the top. Modules in a layer don't import each other, except in the settings' layer.
FLOORS = (
    {"chatbot", "manage"},
    {"service.commands", "service.testing"},
    {"service.web"},
    {"service.answers", "service.webhooks"},
    {"service.demonstration", "service.metrics"},
    {"service.upstream", "service.access"},
    {
        *("service.settings", "service.schema", "service.errors", "service.logs"),
        *("service.overlay", "service.variables", "service.widget_settings"),
    },
    {"service.store"},
    {"service.tokens", "service.alarm"},
)
NEIGHBOURS_MAY_MEET = FLOORS[-3]
UPWARDS = {("service.testing", "chatbot")}  # it runs the whole service, for other teams' tests


def modules() -> dict[str, Path]:
    files = [ROOT / "chatbot.py", ROOT / "manage.py", *ROOT.glob("service/**/*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


MODULES = modules()


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (
                name if name in MODULES else node.module for name in names if {name, node.module} & set(MODULES)
            )


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


IMPORTS = {module: set(imports_of(path)) - {module, "service"} for module, path in MODULES.items()}
HEIGHT = {room: -number for number, floor in enumerate(FLOORS) for room in floor}


def test_every_module_belongs_to_a_layer() -> None:
    assert {room_of(module) for module in MODULES} - {"service"} == HEIGHT.keys()


def test_imports_point_downwards() -> None:
    upwards = {
        f"{module} imports {imported}"
        for module, all_imported in IMPORTS.items()
        for imported in all_imported
        if (room := room_of(module)) != (other := room_of(imported))
        and (room, other) not in UPWARDS
        and HEIGHT[room] <= HEIGHT[other]
        and not {room, other} <= NEIGHBOURS_MAY_MEET
    }
    assert upwards == set()


def test_there_are_no_import_cycles() -> None:
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_no_file_is_too_long() -> None:
    written = [*MODULES.values(), *(path for room in ("tests", "bench") for path in (ROOT / room).rglob("*.py"))]
    lines = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in written}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
