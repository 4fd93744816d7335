"""Where the Dockerfiles and toolchain sources lie, in a clone and in an installed wheel alike."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from musllinux_build.errors import UsageError

AUDITWHEEL = "musllinux_build_auditwheel"
"""The package of the command ``auditwheel``, which is a distribution of its own but in every image."""


def shipped(name: str) -> Path:
    """The directory ``dockerfiles``, ``toolchains`` or ``dropin``.

    Raises:
        UsageError: the installation lacks it, as the copy in an image does.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package / "_shipped" / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise UsageError(
        f"{name} is missing from this installation of musllinux-build",
        details="An image's own copy builds wheels inside that image, and lacks what images are made of.",
        resolution="python -m pip install musllinux-build   (on a machine with a container engine)",
    )


def program_digest() -> str:
    """64 hexadecimal digits that change with any file of this package, so that a changed tool is another one."""
    package = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        name = path.relative_to(package)
        if path.is_file() and not {"_shipped", "__pycache__"} & {*name.parts}:
            content = path.read_bytes()
            digest.update(f"{name.as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


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
