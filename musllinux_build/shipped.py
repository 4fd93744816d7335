"""Where the Dockerfiles and toolchain sources lie, in a clone and in an installed wheel alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

AUDITWHEEL = "musllinux_build_auditwheel"
"""The package of the command ``auditwheel``, which is a distribution of its own but in every image."""


def shipped(name: str) -> Path:
    """The directory ``dockerfiles``, ``toolchains`` or ``dropin``.

    Raises:
        FileNotFoundError: the installation lacks it.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package / "_shipped" / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"{name} is missing from this installation of musllinux-build")


def tool_files() -> Mapping[str, Path]:
    """The files of this tool and of its ``auditwheel``, as an image takes them: by their path below ``tool``."""
    package = Path(__file__).resolve().parent
    roots = {package.name: package, AUDITWHEEL: shipped("dropin") / AUDITWHEEL}
    return {
        f"tool/{name}/{path.relative_to(root).as_posix()}": path
        for name, root in roots.items()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not {"_shipped", "__pycache__"} & {*path.relative_to(root).parts}
    }
