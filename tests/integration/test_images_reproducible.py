"""One lock is one digest: built again in other directories, with another umask, clock, zone and name of the machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine
from musllinux_build.arch import Arch
from musllinux_build.images.oci import Layout
from musllinux_build.images.reference import image_reference
from musllinux_build.policy import Policy
from tests.conftest import ROOT
from tests.integration.conftest import PYTHONS
from tests.lab.registry import ensure_program
from tests.layers import image_differences

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("docker")]

SOURCES = ("musllinux_build", "dockerfiles", "toolchains", "dropin")
POLICY, ARCHS = Policy.MUSLLINUX_1_2, (Arch.X86_64, Arch.AARCH64)
REGISTRIES = ("localhost/one", "localhost/other")
"""Names for images that nothing else uses."""
NAMED = 'hostname "$1" && umask "$2" && shift 2 && exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Somewhere:
    """A copy of the tool in a directory of its own, and what its processes see of the machine."""

    directory: Path
    registry: str
    host: str
    umask: int
    days: int = 0
    zone: str = "UTC"

    def install(self, offline: Path | None) -> None:
        """The files as a clone under this umask has them, and the supplies by another path."""
        for name in SOURCES:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, self.directory / "clone" / name, ignore=ignored)
        for path in (self.directory / "clone").rglob("*"):
            path.chmod((0o777 if path.is_dir() or path.stat().st_mode & 0o100 else 0o666) & ~self.umask)
        (self.directory / "tmp").mkdir()
        if offline is not None:
            (self.directory / "supplies").symlink_to(offline.resolve())

    def run(self, *arguments: str) -> None:
        """One command of the tool, with this clock; engines have their own."""
        clock = [ensure_program("faketime"), "--exclude-monotonic", "-f", f"{self.days:+d}d"] if self.days else []
        tool = [*clock, sys.executable, "-m", "musllinux_build", *arguments]
        env = {**os.environ, "PYTHONPATH": str(self.directory / "clone"), "PYTHONDONTWRITEBYTECODE": "1"}
        env |= {"TMPDIR": str(self.directory / "tmp"), "TZ": self.zone, "HOSTNAME": self.host}
        if "MUSLLINUX_BUILD_OFFLINE" in env:
            env["MUSLLINUX_BUILD_OFFLINE"] = str(self.directory / "supplies")
        command = ["unshare", "--uts", "sh", "-c", NAMED, "sh", self.host, f"{self.umask:o}", *tool]
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout

    def digests(self, archs: Sequence[Arch], *options: str) -> dict[str, str]:
        """The digest of the manifest of each image, by its architecture, after it was built here."""
        chosen = ["--policy", POLICY.value, *(word for arch in archs for word in ("--arch", arch.value))]
        self.run("images", "build", *chosen, *options, "-j", "2", "--registry", self.registry)
        where = ["--built-as", self.registry, "--layout", str(self.layout.root)]
        self.run("images", "publish", "--dry-run", "--allow-unmeasured", *chosen, *where)
        manifests = json.loads((self.layout.root / "index.json").read_bytes())["manifests"]
        return {one["platform"]["architecture"]: one["digest"] for one in manifests}

    @property
    def layout(self) -> Layout:
        """Where the images are written to."""
        return Layout(root=self.directory / "layout")


@pytest.fixture
def places(tmp_path: Path, docker: DockerEngine, offline: Path | None) -> Iterator[tuple[Somewhere, Somewhere]]:
    """Two that have nothing in common but the engine."""
    there = (
        Somewhere(directory=tmp_path / "one", registry=REGISTRIES[0], host="one", umask=0o022),
        Somewhere(
            directory=tmp_path / "the other place",
            registry=REGISTRIES[1],
            host="other.example",
            umask=0o077,
            days=-400,
            zone="Asia/Kathmandu",
        ),
    )
    for place in there:
        place.install(offline)
    yield there
    for place in there:
        for arch in ARCHS:
            docker.remove_image(image_reference(place.registry, POLICY, arch))


def check(places: tuple[Somewhere, Somewhere], found: Sequence[dict[str, str]], count: int) -> None:
    """The digests of both are the same, or the files are named that are not."""
    first, second = found
    assert len(first) == count
    for arch, digest in first.items():
        if second[arch] != digest:
            lines = image_differences(places[0].layout, places[1].layout, (digest, second[arch]))
            pytest.fail(f"{arch}: {digest} and {second[arch]}\n" + "\n".join(lines))
    assert first == second


@pytest.mark.parametrize(
    "archs", [ARCHS[:1], pytest.param(ARCHS[1:], marks=pytest.mark.nightly)], ids=lambda archs: archs[0].value
)
def test_built_again_elsewhere(places: tuple[Somewhere, Somewhere], archs: Sequence[Arch]) -> None:
    """The first may be made of stages that are there, which a change has built; the other is wholly built again."""
    options = ("--python", "3.13")
    found = [places[0].digests(archs, *options), places[1].digests(archs, *options, "--no-cache")]
    check(places, found, len(archs))


@pytest.mark.nightly
def test_both_without_cache_and_a_foreign_architecture(places: tuple[Somewhere, Somewhere]) -> None:
    options = [word for python in PYTHONS for word in ("--python", python)]
    check(places, [place.digests(ARCHS, *options, "--no-cache") for place in places], len(ARCHS))
