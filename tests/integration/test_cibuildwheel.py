"""cibuildwheel, as its index has it, with our images: it builds, repairs with our auditwheel, and tests a C project."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.peer import apk_add, environment, installed
from tests.integration.conftest import PYTHONS, Tool

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("docker")]

ARCHS = ["x86_64", pytest.param("aarch64", marks=pytest.mark.nightly)]
FILES = {
    "pyproject.toml": '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n',
    "setup.py": "from setuptools import Extension, setup\n"
    "setup(name='yamlversion', version='1.0', ext_modules=[Extension('yamlversion', ['x.c'], libraries=['yaml'])])\n",
    "x.c": r"""
#include <Python.h>
#include <yaml.h>
static PyObject *version(PyObject *self, PyObject *unused) { return PyUnicode_FromString(yaml_get_version_string()); }
static PyMethodDef methods[] = {{"version", version, METH_NOARGS, 0}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "yamlversion", 0, -1, methods};
PyMODINIT_FUNC PyInit_yamlversion(void) { return PyModule_Create(&module); }
""",
}
TESTED = "libyaml answers from"
TEST = f"python -c \"import sys, yamlversion; print('{TESTED}', sys.version_info[:2], yamlversion.version())\""


@pytest.fixture(scope="module")
def cibuildwheel() -> Path:
    return installed()


@pytest.mark.parametrize("arch", ARCHS)
def test_a_project_in_c(
    arch: str, cibuildwheel: Path, images: Mapping[str, str], tool: Tool, tmp_path: Path, offline: Path | None
) -> None:
    project, output = tmp_path / "project", tmp_path / "out"
    project.mkdir()
    for name, text in FILES.items():
        (project / name).write_text(text)
    done = subprocess.run(
        [cibuildwheel, "--output-dir", output, "."],
        cwd=project,
        env={
            **environment(images[f"musllinux_1_2_{arch}"], arch, PYTHONS, tmp_path, offline),
            "CIBW_BEFORE_ALL": apk_add("yaml-dev", offline),
            "CIBW_TEST_COMMAND": TEST,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    tags = [f"cp{python.replace('.', '')}" for python in PYTHONS]
    wheels = sorted(output.iterdir())
    assert [wheel.name for wheel in wheels] == sorted(
        f"yamlversion-1.0-{tag}-{tag}-musllinux_1_2_{arch}.whl" for tag in tags
    )
    # In a fresh environment, where only the graft has libyaml; our auditwheel said so.
    assert done.stdout.count(f"\n{TESTED}") == len(tags), done.stdout
    assert done.stdout.count("Grafted /usr/lib/libyaml") == len(tags), done.stdout
    for wheel in wheels:
        shown = tool("audit", "show", "--json", wheel)
        assert shown.status == 0, shown.everything
        (verdict,) = json.loads(shown.out)
        assert (verdict["conforms"], verdict["policy"], verdict["arch"]) == (True, "musllinux_1_2", arch)
        with zipfile.ZipFile(wheel) as archive:
            (graft,) = [name for name in archive.namelist() if name.startswith("yamlversion.libs/")]
        assert "libyaml" in graft
