"""Fixtures for tests on the real engine: they fail, and never skip, where it is not to be had."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from musllinux_build.adapters.docker_sdk import DockerEngine

ROOT = Path(__file__).resolve().parent.parent
NEEDED = "these tests need a container engine and Alpine bases: run `make test`, which provides both"


@pytest.fixture(scope="session")
def offline() -> Path | None:
    """The directory with bases, sources and packages; None where the registries are used."""
    given = os.environ.get("MUSLLINUX_BUILD_OFFLINE")
    return Path(given) if given else None


@pytest.fixture(scope="session")
def docker() -> DockerEngine:
    """The engine of this machine."""
    from musllinux_build.adapters.docker_sdk import connect
    from musllinux_build.errors import EngineError

    try:
        return connect()
    except EngineError as error:
        pytest.fail(f"{NEEDED}\n{error.brief}: {error.details}")


@pytest.fixture
def no_leftovers(docker: DockerEngine) -> Iterator[None]:
    """Nothing that the test started is left when it ends."""
    from musllinux_build.ports import LABEL

    before = set(docker.containers(LABEL))
    yield
    assert set(docker.containers(LABEL)) <= before
