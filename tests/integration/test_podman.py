"""Podman as an engine: its own storage, filled with the images of this machine's engine, and the same wheels."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine, connect
from musllinux_build.errors import EngineError
from musllinux_build.ports import LABEL
from tests.integration.conftest import Tool
from tests.integration.test_several import hashes

pytestmark = [pytest.mark.engine, pytest.mark.nightly, pytest.mark.usefixtures("docker", "no_leftovers")]

START_SECONDS = 30
# Podman's own limits are above what some machines allow root; runc is there with Docker and takes any cgroups.
SETTINGS = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""


@pytest.fixture(scope="module")
def podman(docker: DockerEngine, images: Mapping[str, str]) -> Iterator[str]:
    """The URL of a podman service with the images of the policy 1.2."""
    # Beside the engine's, so that layers are kept on a disk that can.
    home = Path(tempfile.mkdtemp(prefix="mlb-podman-", dir=docker.root_directory()))
    sockets = Path(tempfile.mkdtemp(prefix="mlb-"))
    settings = home / "containers.conf"
    settings.write_text(SETTINGS)
    env = {**os.environ, "CONTAINERS_CONF": str(settings)}
    words = ["podman", "--root", str(home / "storage"), "--runroot", str(sockets / "run")]
    url = f"unix://{sockets}/podman.sock"
    service = subprocess.Popen([*words, "system", "service", "--time", "0", url], env=env)
    try:
        for name in ("musllinux_1_2_x86_64", "musllinux_1_2_aarch64"):
            with subprocess.Popen(["docker", "save", images[name]], stdout=subprocess.PIPE) as saved:
                subprocess.run([*words, "load", "--quiet"], env=env, stdin=saved.stdout, check=True)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                connect(url)
                break
            except EngineError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield url
    finally:
        service.terminate()
        service.wait()
        subprocess.run([*words, "system", "reset", "--force"], env=env, check=False)
        for place in (home, sockets):
            shutil.rmtree(place, ignore_errors=True)


CHOICE = ("--arch", "x86_64", "--arch", "aarch64", "--python", "3.13", "--json")


def test_the_same_wheels(tool: Tool, sdist: Callable[[str], Path], tmp_path: Path, podman: str) -> None:
    """Native and foreign, audited and proven there, alone and beside Docker."""
    source = sdist("markupsafe==3.0.3")
    here = tool(source, *CHOICE, "--output", tmp_path / "here")
    there = tool(source, *CHOICE, "--engine", f"podman:{podman}", "--output", tmp_path / "there")
    assert hashes(there) == hashes(here)
    assert len(hashes(there)) == 2
    assert "engine podman" in there.err
    both = ("--engine", f"aarch64=podman:{podman}", "--engine", "unix:///var/run/docker.sock")
    assert hashes(tool(source, *CHOICE, *both, "--output", tmp_path / "both")) == hashes(here)
    assert not connect(podman).containers(LABEL)


def test_before_all_and_a_graft(tool: Tool, sdist: Callable[[str], Path], tmp_path: Path, podman: str) -> None:
    """A commit of a container, and the auditor's reading of a root, through podman's API."""
    options = ("--before-all", "apk add yaml-dev", "--environment", "PYYAML_FORCE_LIBYAML=1")
    source = sdist("pyyaml==6.0.3")
    here = tool(source, *CHOICE, *options, "--output", tmp_path / "here")
    there = tool(source, *CHOICE, *options, "--engine", f"podman:{podman}", "--output", tmp_path / "there")
    assert hashes(there) == hashes(here)
    assert "grafted /usr/lib/libyaml" in there.err
