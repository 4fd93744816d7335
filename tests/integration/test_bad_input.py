"""What goes wrong says so once, with its own exit code, and leaves nothing: on the real engine."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine
from musllinux_build.builds.session import RUN_LABEL
from musllinux_build.images.bases import file_sha256
from musllinux_build.images.lock import format_lock
from musllinux_build.images.supplies import read_lock
from tests.conftest import NEEDED
from tests.integration.conftest import BESIDE, Tool

SETUP = "from setuptools import Extension, setup\nsetup(name='x', version='1', ext_modules=[Extension('x', ['x.c'])])\n"
MODULE = """
#include <Python.h>
static struct PyModuleDef d = {PyModuleDef_HEAD_INIT, "x", 0, -1, 0};
PyMODINIT_FUNC PyInit_x(void) { return PyModule_Create(&d); }
"""
ONLY = ("--only", "cp313-musllinux_1_2_x86_64")


def project(path: Path, setup: str = SETUP, module: str = MODULE) -> Path:
    path.mkdir()
    (path / "setup.py").write_text(setup)
    (path / "x.c").write_text(module)
    return path


def test_not_a_project(tool: Tool, tmp_path: Path) -> None:
    ran = tool(tmp_path)
    assert ran.status == 13
    assert "pyproject.toml" in ran.err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--arch", "aarch46"), "aarch64"),
        (("--policy", "musllinux_1_3"), "musllinux_1_2"),
        (("--python", "cp399"), "cp313"),
        (("--only", "cp313-musllinux_1_2_x86"), "cp313-musllinux_1_2_x86_64"),
    ],
)
def test_unknown_names_say_the_near_miss(tool: Tool, tmp_path: Path, arguments: tuple[str, ...], hint: str) -> None:
    ran = tool(project(tmp_path / "x"), *arguments)
    assert ran.status == 2
    assert hint in ran.err


def test_no_engine(tool: Tool, tmp_path: Path) -> None:
    ran = tool(project(tmp_path / "x"), DOCKER_HOST="unix:///nonexistent.sock")
    assert ran.status == 3
    assert "doctor --fix" in ran.err


def test_a_wheel_that_is_none(tool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "x-1-cp313-cp313-linux_x86_64.whl"
    path.write_text("text")
    ran = tool("audit", "show", path)
    assert ran.status == 5


@pytest.mark.engine
@pytest.mark.usefixtures("docker", "images", "no_leftovers")
class TestOnTheEngine:
    @pytest.fixture
    def output(self, tmp_path: Path) -> Iterator[Path]:
        path = tmp_path / "out"
        yield path
        assert not path.exists() or not list(path.iterdir())

    def test_pure_project(self, tool: Tool, tmp_path: Path, output: Path) -> None:
        setup = "from setuptools import setup\nsetup(name='x', version='1', py_modules=[])\n"
        ran = tool(project(tmp_path / "x", setup), *ONLY, "--output", output)
        assert ran.status == 7, ran.everything
        assert "every platform" in ran.err

    def test_compile_error_shows_its_place(self, tool: Tool, tmp_path: Path, output: Path) -> None:
        ran = tool(project(tmp_path / "x", module="int x = ;"), *ONLY, "--output", output)
        assert ran.status == 4, ran.everything
        assert "expected expression" in ran.err
        place = ran.err.rpartition("The whole log: ")[2].split()[0]
        log, _, line = place.rpartition(":")
        assert "error" in Path(log).read_text(errors="replace").splitlines()[int(line) - 1].lower()

    def test_a_backend_that_makes_no_wheel(self, tool: Tool, tmp_path: Path, output: Path) -> None:
        path = project(tmp_path / "x")
        (path / "backend.py").write_text(
            "def build_wheel(directory, config_settings=None, metadata_directory=None):\n    return 'nothing.whl'\n"
        )
        backend = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        (path / "pyproject.toml").write_text(backend)
        ran = tool(path, *ONLY, "--output", output)
        assert ran.status == 14, ran.everything

    def test_a_symbol_no_musl_has(self, tool: Tool, tmp_path: Path, output: Path) -> None:
        module = MODULE + "extern int gnu_get_nothing(void); int f(void) { return gnu_get_nothing(); }"
        ran = tool(project(tmp_path / "x", module=module), *ONLY, "--output", output)
        assert ran.status == 6, ran.everything
        assert "gnu_get_nothing" in ran.err

    def test_a_full_disk(self, tool: Tool, tmp_path: Path) -> None:
        output = tmp_path / "small"
        output.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(output)], check=True)
        try:
            ran = tool(project(tmp_path / "x"), *ONLY, "--output", output)
            assert ran.status == 11, ran.everything
            assert not list(output.iterdir())
        finally:
            subprocess.run(["umount", str(output)], check=True)

    def test_a_base_archive_of_another_architecture(
        self, tool: Tool, tmp_path: Path, offline: Path | None, output: Path
    ) -> None:
        if offline is None:
            pytest.fail(NEEDED)
        wrong = tmp_path / "offline"
        (wrong / "bases").mkdir(parents=True)
        for name in ("sources", "apk"):
            (wrong / name).symlink_to(offline / name)
        for path in (offline / "bases").iterdir():
            source = Path(str(path).replace("x86_64", "aarch64")) if "minirootfs" in path.name else path
            (wrong / "bases" / path.name).symlink_to(source.resolve())
        lock = read_lock(offline / "lock.toml")
        bases = tuple(
            replace(row, sha256=file_sha256(wrong / "bases" / row.filename))
            for row in lock.bases
            if (wrong / "bases" / row.filename).exists()
        )
        (wrong / "lock.toml").write_text(format_lock(replace(lock, bases=bases)))
        ran = tool(
            *(project(tmp_path / "x"), *ONLY, "--output", output),
            *("--offline", wrong, "--registry", "registry.invalid/nobody"),
        )
        assert ran.status == 8, ran.everything
        assert "aarch64" in ran.err
        assert "x86_64" in ran.err

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
    def test_a_signal(
        self, docker: DockerEngine, tmp_path: Path, output: Path, number: signal.Signals, code: int
    ) -> None:
        path = project(tmp_path / "x")
        command = [
            str(BESIDE / "musllinux-build"),
            str(path),
            *ONLY,
            "--before-build",
            "sleep 600",
            "--output",
            str(output),
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
            deadline = time.monotonic() + 300
            while not self._sleeping(docker) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert "Traceback" not in err
        assert not docker.containers(RUN_LABEL)

    @staticmethod
    def _sleeping(docker: DockerEngine) -> bool:
        for container in docker.containers(RUN_LABEL):
            said: list[bytes] = []
            try:
                docker.run(container, ["ps", "-o", "args"], on_output=said.append)
            except Exception:
                return False
            if b"sleep 600" in b"".join(said):
                return True
        return False
