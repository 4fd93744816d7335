"""What somebody has written down for a build and no option reads: misspelt variables, another tool's table."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping

import click

from musllinux_build.arch import Arch
from musllinux_build.engines import VARIABLE
from musllinux_build.project import Project, subtable

PREFIX = "MUSLLINUX_BUILD_"
THEIRS = "CIBW_"
"""How cibuildwheel's variables begin."""
INSIDE = frozenset(f"{PREFIX}{name}" for name in ("IDENTIFIER", "FALLBACKS", "SYSROOT", "VERBOSE"))
"""What containers and the native compiler have (toolchains/launcher.c)."""


def unread(project: Project, environment: Mapping[str, str], root: click.Command) -> list[str]:
    """A sentence for each; ``root`` has all commands below it."""
    found = [name for name in environment if name.startswith(PREFIX)]
    known = _known(root) if found else set()
    sentences = [f"{name} is not read{_near(name, known)}" for name in sorted(found) if name not in known]
    theirs = [name for name in sorted(environment) if name.startswith(THEIRS)]
    if subtable(project.pyproject, "tool", "cibuildwheel") and not project.table:
        theirs.append("[tool.cibuildwheel]")
    if theirs:
        sentences.append(f"not read: {', '.join(theirs)}; docs/options.md says what to write here")
    return sentences


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else ": no option has this name"


def _known(root: click.Command) -> set[str]:
    """The variables of all options, and those without an option."""
    engines = {f"{VARIABLE}_{arch.value.upper()}" for arch in Arch}
    return {*_of_options(root, click.Context(root)), *engines, *INSIDE}


def _of_options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.params:
        names = parameter.envvar
        yield from (names,) if isinstance(names, str) else names or ()
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from _of_options(below, context)
