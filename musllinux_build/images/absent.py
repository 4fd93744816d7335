"""What an image's supplies lack, and why: a short list that is written down, as a table of packages and rows.

A package that is not there takes rows of the contract with it; one table here says which.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from musllinux_build.errors import UsageError

ROWS: Mapping[str, tuple[str, ...]] = {
    "autoconf": ("X5.autoconf",),
    "automake": ("X5.automake",),
    "bash": ("X5.bash", "C6"),
    "bison": ("X5.bison",),
    "ca-certificates": (),
    "cmake": ("X5.cmake",),
    "curl": ("X5.curl",),
    "expat-dev": ("F8.expat",),
    "file": ("X5.file",),
    "g++": ("X5.g++", "X5.c++", "B5"),
    "gcc": ("X5.gcc", "X5.cc", "X5.ld", "B1", "B4"),
    "gfortran": ("X5.gfortran",),
    "git": ("X5.git", "X6.git"),
    "git-lfs": ("X5.git-lfs",),
    "glib-dev": ("F8.glib",),
    "gnupg": ("X5.gpg",),
    "libice-dev": ("F8.ice",),
    "libsm-dev": ("F8.sm",),
    "libtool": ("X5.libtoolize",),
    "libx11-dev": ("F8.x11",),
    "libxext-dev": ("F8.xext",),
    "libxrender-dev": ("F8.xrender",),
    "m4": (),
    "make": ("X5.make",),
    "mesa-dev": ("F8.gl",),
    "patch": ("X5.patch",),
    "pkgconf": ("X5.pkg-config",),
    "sqlite-dev": ("F8.sqlite3",),
    "swig": ("X5.swig",),
    "tar": ("X5.tar", "X6.tar"),
    "unzip": ("X5.unzip",),
    "yasm": ("X5.yasm",),
    "zlib-dev": ("F8.zlib",),
}
"""The rows of the contract that hold by a package, by its name in Alpine."""

NOT_IN_SLIM = (
    *("git-lfs", "cmake", "swig", "yasm", "glib-dev", "libx11-dev", "libxext-dev", "libxrender-dev"),
    *("libice-dev", "libsm-dev", "mesa-dev", "X5.uv", "X5.abi3audit"),
)
"""What the slim variant leaves out: packages, which the lock has as ``extra``, and rows that hold by wheels."""


def absent_rows(absent: Mapping[str, str]) -> Mapping[str, str]:
    """Row to reason, for a table that names packages too; what it says of a row itself stands."""
    by_package = {row: why for name, why in absent.items() for row in ROWS.get(name, ())}
    return {**by_package, **absent}


def read_absent(path: Path | None) -> Mapping[str, str]:
    """The table ``[absent]`` of a file: package, row or ``module.NAME`` to reason; nothing without a file.

    The platform tag of an image stands for all of its packages: the mirror is not meant for it.

    Raises:
        UsageError: the file is no such table.
    """
    if path is None:
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))["absent"]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
        raise UsageError(f"{path} is not a table of what is absent", details=str(error)) from error
    if not isinstance(table, dict) or not all(isinstance(why, str) for why in table.values()):
        raise UsageError(f"{path}: [absent] maps packages and rows to reasons")
    return table
