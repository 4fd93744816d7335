"""No work twice, on the engine: what a second run does, and what makes it build again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine
from musllinux_build.ports import LABEL
from tests.integration.conftest import PYTHONS, Ran, Tool

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("docker", "images", "no_leftovers")]

PLATFORM = "musllinux_1_2_x86_64"
ONLY = ("--only", f"cp313-{PLATFORM}")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    source = tmp_path / "demo"
    source.mkdir()
    (source / "setup.py").write_text(
        "from setuptools import Extension, setup\n"
        "setup(name='demo', version='1.0', ext_modules=[Extension('demo', ['demo.c'])])\n"
    )
    (source / "demo.c").write_text(
        '#include <Python.h>\nstatic struct PyModuleDef d = {PyModuleDef_HEAD_INIT, "demo", 0, -1, 0};\n'
        "PyMODINIT_FUNC PyInit_demo(void) { return PyModule_Create(&d); }\n"
    )
    return source


class Machine:
    """Runs on one machine, whose cache is its own."""

    def __init__(self, tool: Tool, tmp_path: Path, project: Path) -> None:
        self.tool, self.cache, self.project = tool, tmp_path / "cache", project
        self.output = tmp_path / "out"

    def build(self, *words: str) -> list[dict[str, Any]]:
        ran: Ran = self.tool(
            self.project,
            "--output",
            self.output,
            "--json",
            *(words if "--only" in words or "--python" in words else (*ONLY, *words)),
            XDG_CACHE_HOME=str(self.cache),
            MUSLLINUX_BUILD_REBUILD="0",
        )
        assert ran.status == 0, ran.everything
        rows = json.loads(ran.out)["wheels"]
        assert isinstance(rows, list)
        return rows

    @property
    def wheels(self) -> list[Path]:
        return sorted((self.cache / "musllinux-build" / "wheels").glob("*/*.whl"))


@pytest.fixture
def machine(tool: Tool, tmp_path: Path, project: Path) -> Machine:
    return Machine(tool, tmp_path, project)


@contextmanager
def no_container(docker: DockerEngine) -> Iterator[None]:
    """The engine makes no container of ours in the block."""
    started = time.time()
    yield
    events = docker._api.events(
        since=int(started) - 1, until=int(time.time()) + 1, decode=True, filters={"type": "container", "label": LABEL}
    )
    created = [event for event in events if event.get("Action") == "create" and event["timeNano"] >= started * 1e9]
    assert created == []


def test_a_second_run_builds_nothing(machine: Machine, docker: DockerEngine) -> None:
    chosen = [word for python in PYTHONS for word in ("--python", python)]
    first = machine.build(*chosen)
    contents = {path.name: path.read_bytes() for path in machine.output.iterdir()}
    assert len(first) == len(contents) == len(PYTHONS)
    for path in machine.output.iterdir():
        path.unlink()
    with no_container(docker):
        second = machine.build(*chosen)
    assert [row["reused"] for row in first] == [False] * len(PYTHONS)
    assert [row["reused"] for row in second] == [True] * len(PYTHONS)
    for before, after in zip(first, second, strict=True):
        told = ("id", "wheel", "sha256", "size", "floor", "grafted", "proven")
        assert [before[name] for name in told] == [after[name] for name in told]
    assert {path.name: path.read_bytes() for path in machine.output.iterdir()} == contents


def test_a_changed_source_is_built(machine: Machine) -> None:
    machine.build()
    with (machine.project / "demo.c").open("a") as stream:
        stream.write("/* changed */\n")
    (row,) = machine.build()
    assert not row["reused"]
    assert len(machine.wheels) == 2


def test_rebuild_builds(machine: Machine) -> None:
    (first,) = machine.build()
    (second,) = machine.build("--rebuild")
    assert not second["reused"]
    assert second["sha256"] == first["sha256"]
    (third,) = machine.build()
    assert third["reused"]


def test_a_damaged_wheel_is_built_again(machine: Machine) -> None:
    (first,) = machine.build()
    (kept,) = machine.wheels
    content = kept.read_bytes()
    kept.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    (second,) = machine.build()
    assert not second["reused"]
    assert second["sha256"] == first["sha256"]
    assert machine.wheels == [kept]
    assert kept.read_bytes() == Path(second["wheel"]).read_bytes()


def test_a_run_goes_on_where_another_was(machine: Machine) -> None:
    """What was finished before an interruption is what a run of one Python leaves."""
    machine.build("--python", "3.13")
    rows = machine.build(*(word for python in PYTHONS for word in ("--python", python)))
    assert {row["id"]: row["reused"] for row in rows} == {
        f"cp{python.replace('.', '')}-{PLATFORM}": python == "3.13" for python in PYTHONS
    }


def test_the_cache_is_shown_and_emptied(machine: Machine, tool: Tool) -> None:
    machine.build()
    cache = {"XDG_CACHE_HOME": str(machine.cache)}
    shown = json.loads(tool("cache", "show", "--json", **cache).out)
    counts = {(row["kind"], row["what"]): row["count"] for row in shown["kept"]}
    assert shown["engine"]
    assert counts["wheels", "files"] == 1
    assert counts["stock", "images"] >= 2
    assert counts["toolchain", "volumes"] >= 2
    assert (machine.cache / "musllinux-build" / "CACHEDIR.TAG").is_file()
    cleaned = tool("cache", "clean", "wheels", **cache)
    assert cleaned.out.startswith("wheels: 1 file, ")
    assert machine.wheels == []
