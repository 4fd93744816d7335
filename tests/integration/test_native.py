"""A foreign build as its user sees it: what is native shows in the log alone, and the wheel knows nothing of it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import Ran, Tool

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("docker", "images")]

PROJECT: Mapping[str, str] = {
    "pyproject.toml": """
[build-system]
requires = ["setuptools>=77", "Cython>=3"]
build-backend = "setuptools.build_meta"
[project]
name = "machine"
version = "1.0"
""",
    "setup.py": """
import os, platform, subprocess, sysconfig
from Cython.Build import cythonize
from setuptools import Extension, setup

assert platform.machine() == os.uname().machine == "aarch64", platform.machine()
script = "uname -m; make -s -f rules.mk; ./configure"
said = subprocess.run(script, shell=True, capture_output=True, text=True, check=True)
assert said.stdout == "aarch64\\naarch64\\nchecked aarch64\\n", said
setup(ext_modules=cythonize([Extension("machine", ["machine.pyx"])], language_level=3))
""",
    "machine.pyx": """
DEF SEEN = UNAME_MACHINE

def seen():
    return SEEN

def add(int a, int b):
    return a + b
""",
    "rules.mk": "all:\n\t@uname -m\n",
    "configure": """#!/bin/sh
set -e
echo 'int main(void) { return sizeof(void *) == 8 ? 0 : 1; }' >conftest.c
cc conftest.c -o conftest
./conftest
rm conftest conftest.c
echo "checked $(uname -m)"
""",
}
TEST = "python -c \"import machine; assert (machine.seen(), machine.add(1, 2)) == ('aarch64', 3)\""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    place.mkdir()
    for name, text in PROJECT.items():
        (place / name).write_text(text)
    (place / "configure").chmod(0o755)
    return place


def wheel_of(ran: Ran) -> Mapping[str, object]:
    assert ran.status == 0, ran.everything
    (row,) = json.loads(ran.out)["wheels"]
    assert isinstance(row, dict)
    return row


@pytest.mark.parametrize("accel", ["full", "compiler", "python"])
def test_a_foreign_build(tool: Tool, project: Path, tmp_path: Path, accel: str) -> None:
    options = ["--arch", "aarch64", "--python", "3.13", "--test-command", TEST, "--accel", accel]
    ran = tool(project, *options, "--output", tmp_path / "out", "--json")
    assert "emulated interpreter" not in ran.err
    row = wheel_of(ran)
    log = Path(str(row["log"])).read_text(errors="replace")
    assert ("Cython translates with /opt/musllinux-build/python/bin/python3" in log) is (accel == "full")
    assert row["fallbacks"] == []
    assert row["proven"] == ["3.13.12", "3.20.3"]
    with zipfile.ZipFile(str(row["wheel"])) as archive:
        for name in archive.namelist():
            assert b"/opt/musllinux-build" not in archive.read(name), name


def test_however_much_is_native_the_wheel_is_the_same(tool: Tool, sdist: Callable[[str], Path], tmp_path: Path) -> None:
    source, options = sdist("markupsafe==3.0.3"), ["--arch", "aarch64", "--python", "3.13", "--no-verify"]
    accels = ("full", "compiler", "python")
    rows = [wheel_of(tool(source, *options, "--accel", one, "-o", tmp_path / one, "--json")) for one in accels]
    assert len({row["sha256"] for row in rows}) == 1


def test_gcc_alone_is_the_image_s_own(tool: Tool, project: Path, tmp_path: Path) -> None:
    options = [
        "--arch",
        "aarch64",
        "--python",
        "3.13",
        "--compiler",
        "gcc",
        "--environment",
        "MUSLLINUX_BUILD_VERBOSE=1",
    ]
    row = wheel_of(tool(project, *options, "--output", tmp_path / "out", "--json"))
    log = Path(str(row["log"])).read_text(errors="replace")
    assert "/opt/musllinux-build/toolchain" not in log


def small(place: Path, requires: str, setup: str) -> Path:
    """A project of one C file with the setup.py ``setup``, which requires ``requires`` besides setuptools."""
    place.mkdir()
    (place / "pyproject.toml").write_text(PROJECT["pyproject.toml"].replace(', "Cython>=3"', requires))
    (place / "setup.py").write_text(f"from setuptools import Extension, setup\n{setup}\n")
    (place / "machine.c").write_text(
        "#include <Python.h>\n"
        'static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "machine", 0, -1, 0};\n'
        "PyMODINIT_FUNC PyInit_machine(void) { return PyModule_Create(&module); }\n"
    )
    return place


@pytest.mark.parametrize("accel", ["full", "compiler"])
def test_the_backend_is_told_its_settings_and_pip_its_limits(tool: Tool, tmp_path: Path, accel: str) -> None:
    setup = "import setuptools\nprint('built by', setuptools.__version__)\n"
    place = small(tmp_path / "project", "", f"{setup}setup(ext_modules=[Extension('machine', ['machine.c'])])")
    table = 'build-backend = "own"\nbackend-path = ["."]'
    text = (place / "pyproject.toml").read_text().replace('build-backend = "setuptools.build_meta"', table)
    (place / "pyproject.toml").write_text(text)
    (place / "limits.txt").write_text("setuptools==77.0.3\n")
    (place / "own.py").write_text(
        "from setuptools import build_meta\n"
        "def get_requires_for_build_wheel(settings=None):\n    return []\n"
        "def build_wheel(place, settings=None, metadata=None):\n"
        "    print('told', settings)\n    return build_meta.build_wheel(place)\n"
    )
    limits = "PIP_CONSTRAINT=/project/limits.txt"
    options = [
        "--arch",
        "aarch64",
        "--python",
        "3.13",
        "--no-verify",
        "--accel",
        accel,
        "-C",
        "a=1",
        "-C",
        "b=2",
        "-Cb=3",
    ]
    row = wheel_of(tool(place, *options, "--environment", limits, "--output", tmp_path / "out", "--json"))
    log = Path(str(row["log"])).read_text(errors="replace")
    assert "told {'a': '1', 'b': ['2', '3']}" in log
    assert "built by 77.0.3" in log


@pytest.mark.parametrize("accel", ["full", "compiler"])
def test_ninja_is_native(tool: Tool, tmp_path: Path, accel: str) -> None:
    setup = """
import shutil, subprocess
with open("build.ninja", "w") as file:
    file.write("rule object\\n  command = cc -c $in -o $out && uname -m\\nbuild empty.o: object empty.c\\n")
open("empty.c", "w").close()
with open(shutil.which("ninja"), "rb") as file:
    print("ninja is of machine", int.from_bytes(file.read(20)[18:], "little"))
assert "aarch64" in subprocess.run(["ninja"], capture_output=True, text=True, check=True).stdout
with open("empty.o", "rb") as file:
    assert int.from_bytes(file.read(20)[18:], "little") == 183
setup(ext_modules=[Extension("machine", ["machine.c"])])
"""
    place = small(tmp_path / "project", ', "ninja"', setup)
    options = ["--arch", "aarch64", "--python", "3.13", "--no-verify", "--accel", accel]
    row = wheel_of(tool(place, *options, "--output", tmp_path / "out", "--json"))
    machine = 62 if accel == "full" else 183
    assert f"ninja is of machine {machine}\n" in Path(str(row["log"])).read_text(errors="replace")


def test_what_clang_cannot_is_counted(tool: Tool, tmp_path: Path) -> None:
    setup = "setup(ext_modules=[Extension('machine', ['machine.c'], extra_compile_args=['-fopenmp'])])"
    place = small(tmp_path / "project", "", setup)
    options = ["--arch", "aarch64", "--python", "3.13", "--no-verify"]
    row = wheel_of(tool(place, *options, "--output", tmp_path / "out", "--json"))
    assert row["fallbacks"] == [{"reason": "-fopenmp", "source": "machine.c"}]


def test_a_requirement_without_a_wheel_is_built_once(tool: Tool, tmp_path: Path) -> None:
    setup = "import docopt\nsetup(ext_modules=[Extension('machine', ['machine.c'])])"
    place = small(tmp_path / "project", ', "docopt==0.6.2"', setup)
    # The word is in the key of what is kept, so that the first run has none from before.
    new = f"MUSLLINUX_TEST_RUN={tmp_path}"
    options = ["--arch", "aarch64", "--python", "3.13", "--no-verify", "--json", "--environment", new]
    first, second = (tool(place, *options, "-o", tmp_path / word) for word in ("1", "2"))
    assert wheel_of(first)["sha256"] == wheel_of(second)["sha256"]
    assert "install docopt==0.6.2" in first.err
    assert "install docopt==0.6.2" not in second.err
