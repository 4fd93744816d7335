"""Member names that every installer unpacks to the same place inside the target directory."""

from __future__ import annotations

import re
from collections.abc import Sequence

from musllinux_build.errors import WheelError

ODD = re.compile(r"[\x00-\x1f\x7f\\]|^[A-Za-z]:")
LONGEST = 4096


def check_names(names: Sequence[str], label: str) -> None:
    """Refuse names that leave the directory or stand for two things.

    Raises:
        WheelError: with the first such name.
    """
    files: set[str] = set()
    directories: set[str] = set()
    for name in names:
        why = _fault(name)
        if not why and (name in files or name.rstrip("/") in files):
            why = "it occurs twice"
        if why:
            raise WheelError(
                f"{label}: member {name[:200]!r} is refused: {why}",
                resolution="Build the wheel again; do not install it.",
            )
        (directories if name.endswith("/") else files).add(name.rstrip("/"))
        parts = name.rstrip("/").split("/")
        directories.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    both = sorted(files & directories)
    if both:
        raise WheelError(f"{label}: {both[0]!r} is a file and a directory", resolution="Build the wheel again.")


def _fault(name: str) -> str:
    if not name or len(name) > LONGEST:
        return "it is empty or too long"
    if ODD.search(name):
        return "it has a control character, a backslash or a drive"
    if name.startswith("/"):
        return "it is absolute"
    if any(part in {"", ".", ".."} for part in name.removesuffix("/").split("/")):
        return "it leaves the directory or has an empty part"
    return ""
