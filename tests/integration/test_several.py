"""Several wheels at once, on several engines: the same wheels as one after the other on one."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import PYTHONS, Ran, Tool

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("docker", "images", "no_leftovers")]

SOCKET = "unix:///var/run/docker.sock"
CHOICE = ("--arch", "x86_64", "--arch", "aarch64", "--no-verify", "--json")
EVERY_PYTHON = tuple(word for python in PYTHONS for word in ("--python", python))


def hashes(ran: Ran) -> Mapping[str, str]:
    assert ran.status == 0, ran.everything
    return {row["id"]: row["sha256"] for row in json.loads(ran.out)["wheels"]}


def test_two_at_once(tool: Tool, sdist: Callable[[str], Path], tmp_path: Path) -> None:
    source = sdist("markupsafe==3.0.3")
    serial = tool(source, *CHOICE, *EVERY_PYTHON, "-o", tmp_path / "serial")
    parallel = tool(source, *CHOICE, *EVERY_PYTHON, "-o", tmp_path / "parallel", "-j", "2")
    assert hashes(serial) == hashes(parallel)
    assert len(hashes(serial)) == 4
    assert list(hashes(serial)) == list(hashes(parallel))
    assert "cp39-musllinux_1_2_aarch64: build" in parallel.err


def test_an_engine_for_an_architecture_and_a_context_for_the_rest(
    tool: Tool, sdist: Callable[[str], Path], tmp_path: Path
) -> None:
    """Both are this one: what is shown is how they are reached, and that each has its own share."""
    source = sdist("markupsafe==3.0.3")
    context = {"DOCKER_CONFIG": str(tmp_path / "docker")}
    create = ["docker", "context", "create", "elsewhere", "--docker", f"host={SOCKET}"]
    subprocess.run(create, env={**os.environ, **context}, check=True, capture_output=True)
    # The SDK looks for contexts beside this file alone.
    (tmp_path / "docker" / "config.json").write_text("{}")
    engines = ("--engine", f"aarch64={SOCKET}", "--engine", "elsewhere?slots=2")
    ran = tool(source, *CHOICE, "--python", "3.13", *engines, "-o", tmp_path / "out", **context)
    assert set(hashes(ran)) == {"cp313-musllinux_1_2_x86_64", "cp313-musllinux_1_2_aarch64"}
    assert "engine elsewhere" in ran.err
    assert f"engine {SOCKET}" in ran.err
    missing = tool(source, *CHOICE, "--engine", "nowhere", "-o", tmp_path / "none", **context)
    assert missing.status == 3, missing.everything
