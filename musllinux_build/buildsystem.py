"""``[build-system]`` of a project: what builds it and what that needs (PEP 517, PEP 518)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement

from musllinux_build.arch import Arch
from musllinux_build.python import PythonTag

LEGACY_REQUIRES = ("setuptools >= 40.8.0",)
LEGACY_BACKEND = "setuptools.build_meta:__legacy__"
"""What a project without a ``[build-system]`` has (PEP 518)."""

ONLY_THERE = ("python_full_version", "implementation_version", "platform_release", "platform_version")
"""Variables of markers that only the target's own interpreter answers (PEP 508)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSystem:
    """The table, with its defaults."""

    requires: tuple[str, ...] = LEGACY_REQUIRES
    backend: str = LEGACY_BACKEND
    paths: tuple[str, ...] = ()


def read_build_system(pyproject: Mapping[str, object]) -> BuildSystem | None:
    """The build system in a pyproject.toml; None where the table is not as the PEPs have it: a frontend says why."""
    table = pyproject.get("build-system", {})
    if not isinstance(table, Mapping):
        return None
    requires = table.get("requires", list(LEGACY_REQUIRES))
    backend, paths = table.get("build-backend", LEGACY_BACKEND), table.get("backend-path", [])
    if not _texts(requires) or not isinstance(backend, str) or not _texts(paths) or ("requires" not in table and table):
        return None
    return BuildSystem(requires=tuple(requires), backend=backend, paths=tuple(paths))


def generates(requires: Sequence[str]) -> bool:
    """Whether something among requirements writes sources that are the same on every architecture: Cython."""
    return any(re.match(r"\s*cython\b", text, re.IGNORECASE) for text in requires)


def applicable(requires: Sequence[str], arch: Arch, python: PythonTag) -> tuple[str, ...] | None:
    """Of requirements those that hold for a target, without their markers, which pip would read for where it runs.

    None: there is one that only the target's own pip can answer, or that is no requirement.
    """
    environment = {
        "implementation_name": "cpython",
        "implementation_version": f"{python.version}.0",
        "os_name": "posix",
        "platform_machine": arch.row.uname,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python.version}.0",
        "python_version": python.version,
        "sys_platform": "linux",
    }
    kept: list[str] = []
    for text in requires:
        try:
            requirement = Requirement(text)
            holds = requirement.marker is None or requirement.marker.evaluate(environment)
        except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName):
            return None
        if requirement.url is not None or any(word in str(requirement.marker or "") for word in ONLY_THERE):
            return None
        if holds:
            requirement.marker = None
            kept.append(str(requirement))
    return tuple(kept)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
