"""The tool as its users run it: a process, its output directory, its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

BESIDE = Path(sys.executable).parent
IMAGES = ("musllinux_1_1_x86_64", "musllinux_1_2_x86_64", "musllinux_1_2_aarch64")
"""What a change is tried with; all of them are the business of the night."""
PYTHONS = ("3.9", "3.13")
ABSENT = ROOT / "tests" / "lab" / "absent.toml"
BUILD_IMAGES = ("images", "build", "-j", "2", *(word for python in PYTHONS for word in ("--python", python)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A finished run."""

    status: int
    out: str
    err: str

    @property
    def everything(self) -> str:
        return f"exit status {self.status}\n{self.out}\n{self.err}"


Tool = Callable[..., Ran]


@pytest.fixture(scope="session")
def tool() -> Tool:
    """Run ``musllinux-build`` with arguments; keyword arguments are environment variables.

    What is tested is built, also when an earlier run has finished the same.
    """

    def run(
        *arguments: str | Path, program: Path = BESIDE / "musllinux-build", cwd: Path | None = None, **env: str
    ) -> Ran:
        done = subprocess.run(
            [program, *arguments],
            cwd=cwd,
            env={**os.environ, "MUSLLINUX_BUILD_REBUILD": "1", **env},
            capture_output=True,
            text=True,
            check=False,
        )
        ran = Ran(status=done.returncode, out=done.stdout, err=done.stderr)
        assert "Traceback" not in ran.err, ran.everything
        return ran

    return run


@pytest.fixture(scope="session")
def images(tool: Tool) -> Mapping[str, str]:
    """The images of a change by their tags, from scratch or as they were left; as one graph."""
    built = tool(*BUILD_IMAGES, *IMAGES, "--json")
    assert built.status == 0, built.everything
    rows = json.loads(built.out)["images"]
    return {f"{row['policy']}_{row['arch']}": row["image"] for row in rows}


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The sdist of a published project, downloaded once."""
    directory = tmp_path_factory.mktemp("sdists")
    found: dict[str, Path] = {}

    def get(requirement: str) -> Path:
        if requirement not in found:
            place = directory / requirement
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
                + ["--dest", str(place), requirement],
                check=True,
            )
            (found[requirement],) = place.iterdir()
        return found[requirement]

    return get
