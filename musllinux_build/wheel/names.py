"""Member names that every installer unpacks to the same place inside the target directory."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Sequence

from musllinux_build.errors import WheelError

ODD = re.compile(
    r"[\x00-\x1f\x7f-\x9f\\]|^[A-Za-z]:"
    # What is not seen, or turns the text around it: no name needs it, and a terminal may be fooled by it.
    r"|[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
LONGEST, LONGEST_PART, DEEPEST = 4096, 255, 64
"""PATH_MAX and NAME_MAX of Linux; and more levels than any wheel has."""
METADATA = ".dist-info"


def check_names(names: Sequence[str], label: str) -> None:
    """Refuse names that leave the directory or stand for two things.

    Raises:
        WheelError: with the first such name.
    """
    files: dict[str, None] = {}
    listed: set[str] = set()
    directories: dict[str, None] = {}
    for name in names:
        path = name.removesuffix("/")
        why = _fault(name)
        if why or path in files or path in listed:
            raise WheelError(
                f"{label}: member {name[:200]!r} is refused: {why or 'it occurs twice'}",
                resolution="Build the wheel again; do not install it.",
            )
        if path == name:
            files[path] = None
            path = posixpath.dirname(path)
        else:
            listed.add(path)
        # Who knows a directory knows those above it: a name costs no more than what is new in it.
        while path and path not in directories:
            directories[path] = None
            path = posixpath.dirname(path)
    both = sorted(files.keys() & directories.keys())
    if both:
        raise WheelError(f"{label}: {both[0]!r} is a file and a directory", resolution="Build the wheel again.")
    _check_spelling([*files, *directories], label)


def _check_spelling(paths: Sequence[str], label: str) -> None:
    """No two paths are one on a file system that normalises names, nor two of the metadata on one that ignores case.

    Elsewhere two names that differ in case are two files, as they are on Linux.
    """
    seen: dict[str, str] = {}
    for path in paths:
        key = path if path.isascii() else unicodedata.normalize("NFC", path)
        if key.partition("/")[0].lower().endswith(METADATA):
            key = key.casefold()
        other = seen.setdefault(key, path)
        if other != path:
            raise WheelError(
                f"{label}: {other!r} and {path!r} are one name to some systems", resolution="Build the wheel again."
            )


def _fault(name: str) -> str:
    if not name or len(name) > LONGEST:
        return "it is empty or too long"
    if ODD.search(name):
        return "it has a control character, an invisible one, a backslash or a drive"
    if name.startswith("/"):
        return "it is absolute"
    parts = name.removesuffix("/").split("/")
    if any(part in {"", ".", ".."} for part in parts):
        return "it leaves the directory or has an empty part"
    if len(parts) > DEEPEST or any(len(part) > LONGEST_PART for part in parts):
        return "it is deeper or has a longer part than file systems allow"
    return ""
