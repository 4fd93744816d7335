"""What no option reads is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from musllinux_build.cli.main import main
from musllinux_build.cli.unread import unread
from musllinux_build.project import Project


def project(pyproject: Mapping[str, object]) -> Project:
    tool = pyproject.get("tool", {})
    assert isinstance(tool, Mapping)
    table = tool.get("musllinux-build", {})
    return Project(path=Path(), table=table, requires_python=SpecifierSet(), pyproject=pyproject)


def test_a_misspelt_variable() -> None:
    given = {"MUSLLINUX_BUILD_ARCHS": "s390x", "MUSLLINUX_BUILD_ARCH": "s390x", "PATH": "/bin"}
    assert unread(project({}), given, main) == ["MUSLLINUX_BUILD_ARCHS is not read; did you mean MUSLLINUX_BUILD_ARCH?"]


@pytest.mark.parametrize(
    "name",
    ["SKIP", "CONFIG_SETTING", "ENGINE_AARCH64", "VERBOSE", "IDENTIFIER", "SIGN_KEY", "OFFLINE", "CACHE_LIMIT"],
)
def test_variables_of_any_command_are_known(name: str) -> None:
    assert unread(project({}), {f"MUSLLINUX_BUILD_{name}": ""}, main) == []


def test_another_tool_s_settings() -> None:
    theirs = {"tool": {"cibuildwheel": {"skip": "cp39-*"}}}
    assert unread(project(theirs), {"CIBW_BUILD": "cp313-*", "CIBW_SKIP": ""}, main) == [
        "not read: CIBW_BUILD, CIBW_SKIP, [tool.cibuildwheel]; docs/options.md says what to write here"
    ]
    assert unread(project({"tool": {**theirs["tool"], "musllinux-build": {"skip": "cp39-*"}}}), {}, main) == []
