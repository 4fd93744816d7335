"""Where the Dockerfiles and toolchain sources lie, in a clone and in an installed wheel alike."""

from __future__ import annotations

from pathlib import Path


def shipped(name: str) -> Path:
    """The directory ``dockerfiles`` or ``toolchains``.

    Raises:
        FileNotFoundError: the installation lacks it.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package / "_shipped" / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"{name} is missing from this installation of musllinux-build")
