"""CHECKS: what is looked for in a wheel. Each takes the subject and yields findings of rules of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from musllinux_build.audit import symbols
from musllinux_build.audit.rules import layout, libraries, objects, paths, python, tags, time64
from musllinux_build.audit.subject import Subject
from musllinux_build.audit.verdict import Finding

CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    objects.architecture,
    objects.glibc,
    objects.hazards,
    objects.relocations,
    objects.structure,
    objects.shapes,
    objects.processors,
    objects.programs,
    libraries.needs,
    libraries.copies,
    libraries.names,
    libraries.interposition,
    symbols.symbol_findings,
    time64.mixed,
    python.suffixes,
    python.limited_api,
    python.abi_none,
    paths.search_paths,
    layout.data_directories,
    layout.dead_weight,
    layout.start_up,
    tags.platforms,
    tags.wheel_file,
)
