"""What a project says it is built with."""

from __future__ import annotations

import pytest

from musllinux_build.arch import Arch
from musllinux_build.buildsystem import LEGACY_BACKEND, LEGACY_REQUIRES, BuildSystem, applicable, read_build_system
from musllinux_build.python import PythonTag

CP39, CP313 = PythonTag(3, 9), PythonTag(3, 13)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (None, BuildSystem(requires=LEGACY_REQUIRES, backend=LEGACY_BACKEND)),
        ({"requires": ["a"]}, BuildSystem(requires=("a",), backend=LEGACY_BACKEND)),
        (
            {"requires": [], "build-backend": "b:c", "backend-path": ["."]},
            BuildSystem(requires=(), backend="b:c", paths=(".",)),
        ),
        ({"build-backend": "b"}, None),  # PEP 518: requires is mandatory
        ({"requires": "a"}, None),
        ({"requires": ["a"], "build-backend": 1}, None),
        ("no table", None),
    ],
)
def test_the_table_with_its_defaults(table: object, expected: BuildSystem | None) -> None:
    assert read_build_system({} if table is None else {"build-system": table}) == expected


def test_markers_are_those_of_the_target() -> None:
    requires = [
        "a>=1",
        "b; platform_machine == 's390x'",
        "c; python_version < '3.10'",
        "d[x]~=2.0 ; os_name == 'posix'",
    ]
    assert applicable(requires, Arch.AARCH64, CP39) == ("a>=1", "c", "d[x]~=2.0")
    assert applicable(requires, Arch.S390X, CP313) == ("a>=1", "b", "d[x]~=2.0")


@pytest.mark.parametrize(
    "text",
    [
        *("--index-url=x", "a @ https://example.org/a.whl", "../a"),
        *("a; python_full_version < '3.13.2'", "a; implementation_version >= '3.13.2'", "a; platform_release > '5'"),
        *("a; os_name ~= 'posix'", "a; python_version ~= '3'", "a; 'x' in extras"),
    ],
)
def test_what_only_the_target_s_pip_can_answer(text: str) -> None:
    assert applicable(["setuptools", text], Arch.AARCH64, CP313) is None
