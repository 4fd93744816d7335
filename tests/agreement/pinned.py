"""The published wheels that verdicts are compared on, pinned by hash and fetched with pip."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.tags import WheelName, named_arch

HERE = Path(__file__).parent
CACHE = Path.home() / ".cache" / "musllinux-build" / "agreement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """One wheel of the list."""

    filename: str
    sha256: str

    @property
    def name(self) -> WheelName:
        return WheelName.parse(self.filename)

    @property
    def arch(self) -> Arch:
        arch = named_arch(self.name)
        assert arch is not None, self.filename
        return arch

    @property
    def python(self) -> str:
        """A CPython that pip would give this wheel to: ``3.13``."""
        found = re.match(r"cp3(\d+)", self.name.pythons[0])
        return f"3.{found[1]}" if found else "3.13"

    @property
    def requirement(self) -> str:
        return f"{self.name.distribution}=={self.name.version.replace('_', '+')} --hash=sha256:{self.sha256}"


def read_list(path: Path = HERE / "wheels.txt") -> tuple[Pinned, ...]:
    """The rows of a list: ``sha256  filename``; lines that begin with # are comments."""
    rows = [line.split() for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return tuple(Pinned(sha256=sha256, filename=filename) for sha256, filename in rows)


def fetch(wheels: Iterable[Pinned], directory: Path = CACHE) -> dict[Pinned, Path]:
    """Every wheel as a file with the pinned hash; pip fetches what is not there yet."""
    directory.mkdir(parents=True, exist_ok=True)
    found = {wheel: directory / wheel.filename for wheel in wheels}
    for wheel, path in found.items():
        if not path.is_file() or digest(path) != wheel.sha256:
            _download(wheel, directory)
            assert digest(path) == wheel.sha256, f"{path} is not the pinned wheel"
    return found


def digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(wheel: Pinned, directory: Path) -> None:
    platforms = [f"--platform={platform}" for platform in wheel.name.platforms]
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "requirements.txt"
        wanted.write_text(f"{wheel.requirement}\n")
        options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--disable-pip-version-check", "--quiet"]
        command = [sys.executable, "-m", "pip", "download", *options, f"--python-version={wheel.python}", *platforms]
        subprocess.run([*command, f"--requirement={wanted}", f"--dest={directory}"], check=True)
