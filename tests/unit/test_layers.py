"""The import rules: values know nothing, decisions know values, adapters know ports, and the command line knows all."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "musllinux_build"
# Programs that are sent into an image are no modules of ours.
SENT = {"_shipped", "inside"}
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if not SENT & {*path.parts})

# What a module outside these folders must not import: the outside world has one door each.
DOORS = {
    "docker": {"adapters/docker_sdk.py"},
    "elftools": set(),
    "subprocess": {"adapters/process.py"},
    "rich": {"adapters/console.py", "cli/"},
    "click": {"cli/"},
    "urllib.request": {"adapters/fetch.py"},
    "requests": {"adapters/docker_sdk.py", "adapters/registry.py"},
}
BELOW_THE_COMMAND_LINE = [name for name in MODULES if not name.startswith(("cli/", "__main__"))]


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text())


@functools.cache
def imports(module: str) -> tuple[str, ...]:
    return tuple(_imports(module))


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("door", DOORS)
def test_one_door_each(door: str) -> None:
    users = {name for name in MODULES if any(item == door or item.startswith(f"{door}.") for item in imports(name))}
    assert {name for name in users if not any(name.startswith(place) for place in DOORS[door])} == set()


def test_nothing_imports_the_command_line() -> None:
    users = {
        name for name in BELOW_THE_COMMAND_LINE if any(item.startswith("musllinux_build.cli") for item in imports(name))
    }
    assert users == set()


def test_only_the_edges_pick_adapters() -> None:
    users = {name for name in MODULES if any(item.startswith("musllinux_build.adapters") for item in imports(name))}
    assert {name for name in users if not name.startswith(("cli/", "adapters/", "api.py"))} == set()


def test_no_exit_and_no_directory_change_below_the_command_line() -> None:
    calls = {
        (name, node.func.attr)
        for name in BELOW_THE_COMMAND_LINE
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert {call for call in calls if call[1] in {"chdir", "_exit"}} == set()
