"""Where the members of a wheel lie once it is installed (PEP 427, "Spreading")."""

from __future__ import annotations

import posixpath

WHEEL = "/(wheel)"
SITE = f"{WHEEL}/lib/python/site-packages"
"""Stands for the directory purelib and platlib install to; no real root file system has it."""
OUTSIDE = f"{WHEEL}/prefix"
"""Stands for wherever scripts, headers and data go: at no fixed offset from SITE."""


def installed_path(member: str, data_dir: str) -> str:
    """The path of ``member`` after installation; ``data_dir`` is ``{distribution}-{version}.data``."""
    if not member.startswith(f"{data_dir}/"):
        return f"{SITE}/{member}"
    scheme, _, rest = member.removeprefix(f"{data_dir}/").partition("/")
    return f"{SITE}/{rest}" if scheme in {"purelib", "platlib"} else f"{OUTSIDE}/{scheme}/{rest}"


def is_of_wheel(path: str) -> bool:
    """Whether an installed path is one of the wheel's own, not one of a root file system."""
    return path.startswith(f"{WHEEL}/")


def is_in_site(path: str) -> bool:
    """Whether an installed path is below SITE, where relative search paths between members hold."""
    return path.startswith(f"{SITE}/")


def shown_path(path: str) -> str:
    """An installed path as people read it: relative to site-packages, or the absolute path of a root."""
    return path.removeprefix(f"{SITE}/").removeprefix(f"{OUTSIDE}/")


def origin_relative(directory: str, from_path: str) -> str:
    """``directory`` as a search path entry of the object at ``from_path``: ``$ORIGIN/../pkg.libs``."""
    relative = posixpath.relpath(directory, posixpath.dirname(from_path))
    return "$ORIGIN" if relative == "." else f"$ORIGIN/{relative}"
