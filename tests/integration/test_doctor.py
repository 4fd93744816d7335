"""Doctor on the real engine, and what a signal leaves there at any moment: nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine
from tests.conftest import ROOT
from tests.integration.conftest import BESIDE, Tool
from tests.integration.test_bad_input import ONLY, project

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("docker", "nothing_left")]

TOOL = str(BESIDE / "musllinux-build")
BUILDER = """
import sys
from contextlib import closing
from musllinux_build.adapters.docker_sdk import connect
from musllinux_build.builds.session import Session, signals_as_errors
from musllinux_build.errors import MusllinuxBuildError
from musllinux_build.ports import BuildSpec
from musllinux_build.tarstream import tar_of

dockerfile = f"FROM {sys.argv[1]}\\nRUN sleep 600\\n".encode()
spec = BuildSpec(context=[tar_of({"Dockerfile": dockerfile})], tag="musllinux-build/test:never", platform="linux/amd64")
try:
    with signals_as_errors():
        connect().build(spec, print)
except MusllinuxBuildError as error:
    sys.exit(error.exit_code)
"""


def everything(docker: DockerEngine) -> set[str]:
    """All containers of the engine; those of the builder have no label of ours."""
    return {str(item["Id"]) for item in docker._api.containers(all=True)}


@pytest.fixture
def nothing_left(docker: DockerEngine) -> Iterator[None]:
    before = everything(docker)
    yield
    # The engine takes the builder's containers away by itself, once the connection is closed; and those of another
    # run on the same engine go when that one is done with them. What a run forgot stays.
    left, deadline = everything(docker) - before, time.monotonic() + 120
    while left and time.monotonic() < deadline:
        time.sleep(0.2)
        left &= everything(docker)
    assert not left


def handles(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal (proc(5), SigCgt)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def kill_after(command: Sequence[str], seconds: float, number: signal.Signals, times: int = 1) -> int:
    """The exit status of a command that gets a signal so many seconds after it began to listen for it."""
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        while process.poll() is None and not handles(process, number):
            time.sleep(0.01)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            for _ in range(times):
                process.send_signal(number)
        _, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return process.returncode


def test_doctor_names_the_engine_and_what_it_runs(tool: Tool) -> None:
    ran = tool("doctor", "--json", "--arch", "x86_64", "--arch", "aarch64")
    assert ran.status == 0, ran.everything
    checks = {item["name"]: item for item in json.loads(ran.out)["checks"]}
    assert " at unix://" in checks["engine"]["found"]
    assert checks["runs x86_64"]["found"] == "native"
    assert "qemu" in checks["runs aarch64"]["found"]


def test_doctor_is_killed_at_any_moment() -> None:
    command = [TOOL, "doctor"]
    started = time.monotonic()
    assert kill_after(command, 300, signal.SIGTERM) == 0
    whole = time.monotonic() - started
    chance = random.Random(2)
    ended = [kill_after(command, chance.uniform(0, 0.9 * whole), signal.SIGTERM) for _ in range(6)]
    # The system itself answers a signal that comes before the program has begun.
    assert set(ended) <= {143, 0, -signal.SIGTERM}
    assert 143 in ended


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_build_is_killed_at_any_moment(tmp_path: Path, number: signal.Signals, code: int) -> None:
    output = tmp_path / "out"
    command = [TOOL, str(project(tmp_path / "x")), *ONLY, "--output", str(output)]
    started = time.monotonic()
    assert kill_after(command, 600, number) == 0
    whole = time.monotonic() - started
    for path in output.iterdir():
        path.unlink()
    chance = random.Random(number)
    ended = [kill_after(command, chance.uniform(0, 0.9 * whole), number, times=3) for _ in range(3)]
    assert set(ended) <= {code, 0}
    assert code in ended
    assert [path for path in output.iterdir() if path.suffix != ".whl"] == []


def test_a_killed_image_build_leaves_no_container(docker: DockerEngine, small: str) -> None:
    assert kill_after([sys.executable, "-c", BUILDER, small], 5, signal.SIGTERM) == 143


@pytest.fixture
def small(docker: DockerEngine, offline: Path | None) -> str:
    """An image with a shell."""
    from musllinux_build.arch import Arch
    from musllinux_build.images.bases import ensure_base
    from musllinux_build.images.supplies import Supplies
    from musllinux_build.policy import Policy
    from tests.fakes import ListProgress

    supplies = Supplies.chosen(offline=offline)
    return ensure_base(docker, Policy.MUSLLINUX_1_2.row.base, Arch.X86_64, supplies, ListProgress())
