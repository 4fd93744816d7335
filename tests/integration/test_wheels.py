"""Real projects, built, grafted, tagged and proven on real Alpine, for a native and a foreign architecture."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine
from tests.conftest import ROOT
from tests.integration.conftest import BUILD_IMAGES, PYTHONS, Tool

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("docker", "images", "no_leftovers")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A published project, what its build needs, and what must be true of its wheel."""

    requirement: str
    test: str
    before_all: str = ""
    environment: str = ""
    grafted: str = ""


MARKUPSAFE = Sample(
    requirement="markupsafe==3.0.3",
    test="from markupsafe import _speedups, escape; assert escape('<') == '&lt;'",
)
CFFI = Sample(
    requirement="cffi==2.0.0",
    before_all="apk add libffi-dev",
    grafted="libffi",
    test="import cffi; f = cffi.FFI(); f.cdef('int abs(int);'); assert f.dlopen(None).abs(-7) == 7; "
    "c = f.callback('int(int)', lambda x: x + 1); assert c(1) == 2",
)
PSUTIL = Sample(requirement="psutil==7.1.3", test="import psutil; assert psutil.Process().memory_info().rss > 0")
PYYAML = Sample(
    requirement="pyyaml==6.0.3",
    before_all="apk add yaml-dev",
    environment="PYYAML_FORCE_LIBYAML=1",
    grafted="libyaml",
    test="import yaml; assert yaml.load('a: [1]', Loader=yaml.CSafeLoader) == {'a': [1]}",
)
SAMPLES = [MARKUPSAFE, CFFI, PSUTIL, PYYAML]
TAGS = ("musllinux_1_2_x86_64", "musllinux_1_2_aarch64")
OUTSIDE = "localhost/outside"
"""A name for images that nothing else uses."""


EVERY_PYTHON = [word for python in PYTHONS for word in ("--python", python)]
"""Those of the images here; the lock has more."""


def arguments(sample: Sample, source: Path, output: Path, *more: str) -> list[str | Path]:
    given: list[str | Path] = [source, "--output", output, "--json", "--test-command", f'python -c "{sample.test}"']
    if sample.before_all:
        given += ["--before-all", sample.before_all]
    if sample.environment:
        given += ["--environment", sample.environment]
    if not {"--only", "--python"} & set(more):
        given += EVERY_PYTHON
    return [*given, *more]


def check(sample: Sample, report: dict[str, object], output: Path) -> None:
    wheels = report["wheels"]
    assert isinstance(wheels, list)
    assert wheels
    for row in wheels:
        path = Path(row["wheel"])
        assert path.parent == output
        assert row["proven"] == ["3.13.12", "3.20.3"]
        assert row["floor"] <= "1.2.2"
        assert [name for name in row["grafted"] if name.startswith(sample.grafted)] == row["grafted"]
        assert bool(row["grafted"]) == bool(sample.grafted)
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
    # One abi3 wheel is the wheel of several rows.
    assert {path.name for path in output.iterdir()} == {Path(row["wheel"]).name for row in wheels}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.requirement.partition("=")[0])
def test_native(sample: Sample, sdist: Callable[[str], Path], tool: Tool, tmp_path: Path) -> None:
    ran = tool(*arguments(sample, sdist(sample.requirement), tmp_path / "out"))
    assert ran.status == 0, ran.everything
    report = json.loads(ran.out)
    assert len(report["wheels"]) >= 2
    check(sample, report, tmp_path / "out")
    assert sample.grafted in ran.err


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.requirement.partition("=")[0])
def test_foreign(sample: Sample, sdist: Callable[[str], Path], tool: Tool, tmp_path: Path) -> None:
    only = ("--only", "cp313-musllinux_1_2_aarch64")
    ran = tool(*arguments(sample, sdist(sample.requirement), tmp_path / "out", *only))
    assert ran.status == 0, ran.everything
    check(sample, json.loads(ran.out), tmp_path / "out")


@pytest.fixture(scope="module")
def installed(tool: Tool, docker: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The command as pip installs it from the built wheel, and images built from what that wheel holds."""
    place = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(place / "dist"), str(ROOT)]
    subprocess.run(pip, check=True)
    (wheel,) = (place / "dist").iterdir()
    subprocess.run([sys.executable, "-m", "venv", str(place / "env")], check=True)
    program = place / "env" / "bin" / "musllinux-build"
    subprocess.run([program.parent / "python", "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    built = tool(*BUILD_IMAGES, *TAGS, "--registry", OUTSIDE, program=program, cwd=place)
    assert built.status == 0, built.everything
    yield program
    for tag in TAGS:
        docker.remove_image(f"{OUTSIDE}/{tag}")


@pytest.mark.parametrize("sample", SAMPLES[:3], ids=lambda sample: sample.requirement.partition("=")[0])
def test_from_the_installed_wheel_outside_the_clone(
    sample: Sample, sdist: Callable[[str], Path], tool: Tool, tmp_path: Path, installed: Path
) -> None:
    """What pip installs is complete: Dockerfiles, toolchain and policies are inside."""
    more = ("--registry", OUTSIDE, "--arch", "x86_64", "--arch", "aarch64", "--python", "3.13")
    given = arguments(sample, sdist(sample.requirement), tmp_path / "out", *more)
    ran = tool(*given, program=installed, cwd=tmp_path)
    assert ran.status == 0, ran.everything
    check(sample, json.loads(ran.out), tmp_path / "out")


def test_the_same_source_gives_the_same_wheel(sdist: Callable[[str], Path], tool: Tool, tmp_path: Path) -> None:
    only = ("--only", "cp313-musllinux_x86_64", "--no-verify")
    digests = set()
    for name in ("one", "two"):
        ran = tool(*arguments(PYYAML, sdist(PYYAML.requirement), tmp_path / name, *only))
        assert ran.status == 0, ran.everything
        digests.add(json.loads(ran.out)["wheels"][0]["sha256"])
    assert len(digests) == 1


def test_a_version_from_tags_and_one_wheel_for_every_python(tool: Tool, tmp_path: Path) -> None:
    """setuptools-scm, with git of the image; an abi3 wheel is built once and proven with each Python."""
    source = tmp_path / "scm"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools>=80", "setuptools-scm"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "scmdemo"\ndynamic = ["version"]\nrequires-python = ">=3.9"\n[tool.setuptools_scm]\n'
    )
    (source / "setup.py").write_text(
        "from setuptools import Extension, setup\n"
        "limited = [('Py_LIMITED_API', '0x03090000')]\n"
        "module = Extension('scmdemo', ['x.c'], define_macros=limited, py_limited_api=True)\n"
        "setup(ext_modules=[module], options={'bdist_wheel': {'py_limited_api': 'cp39'}})\n"
    )
    (source / "x.c").write_text(
        '#include <Python.h>\nstatic struct PyModuleDef d = {PyModuleDef_HEAD_INIT, "scmdemo", 0, -1, 0};\n'
        "PyMODINIT_FUNC PyInit_scmdemo(void) { return PyModule_Create(&d); }\n"
    )
    git = ["git", "-C", str(source), "-c", "user.name=x", "-c", "user.email=x@x.invalid"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"], ["tag", "v1.2.3"]):
        subprocess.run([*git, *words], check=True)
    ran = tool(source, "--output", tmp_path / "out", "--json", *EVERY_PYTHON)
    assert ran.status == 0, ran.everything
    names = {Path(row["wheel"]).name for row in json.loads(ran.out)["wheels"]}
    assert names == {"scmdemo-1.2.3-cp39-abi3-musllinux_1_2_x86_64.whl"}
    assert all(row["proven"] == ["3.13.12", "3.20.3"] for row in json.loads(ran.out)["wheels"])
