"""Directories below the cache directory: their tag, what is in them, and when something was last used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from musllinux_build.kept import Entry

TAG = "CACHEDIR.TAG"
TAG_TEXT = """Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by musllinux-build.
# For information about cache directory tags see https://bford.info/cachedir/
"""


def tag_cache(directory: Path) -> None:
    """Make ``directory`` and say in it that it is a cache, so that backups leave it out.

    Where that cannot be written, whatever needs the directory will say so.
    """
    tag = directory / TAG
    if not tag.exists():
        with suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True)
            tag.write_text(TAG_TEXT, encoding="ascii")


def listed(directory: Path) -> list[Entry]:
    """What is directly in ``directory``, with the sizes of all below it; a file with several names counts once."""
    seen: set[tuple[int, int]] = set()
    names = sorted(os.listdir(directory)) if directory.is_dir() else ()  # noqa: PTH208 - names
    return [Entry(name=name, size=_size(directory / name, seen)) for name in names]


def _size(path: Path, seen: set[tuple[int, int]]) -> int:
    files = [Path(place) / name for place, _, names in os.walk(path) for name in names] or [path]
    total = 0
    for file in files:
        with suppress(OSError):  # others may clean up at the same time
            status = file.lstat()
            if (status.st_dev, status.st_ino) not in seen and not file.is_dir():
                total += status.st_size
            seen.add((status.st_dev, status.st_ino))
    return total


def remove(directory: Path, entries: Sequence[Entry]) -> list[Entry]:
    """Remove things from ``directory``; those that are gone."""
    for entry in entries:
        path = directory / entry.name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink(missing_ok=True)
    return [entry for entry in entries if not os.path.lexists(directory / entry.name)]


class Uses:
    """When this machine last used which of the images that it keeps on an engine, which itself does not know.

    Each is an empty file, named like the image's tag.
    """

    def __init__(self, directory: Path, *, warn: Callable[[str], None]) -> None:
        self._directory = directory
        self._warn = warn

    def note(self, reference: str) -> None:
        """It is used now."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            (self._directory / _tag(reference)).touch()
        except OSError as error:
            self._warn(f"that {reference} is used cannot be remembered: {error}")

    def last(self, reference: str) -> float:
        """When it was; what is seen for the first time may be another machine's, and counts from now."""
        path = self._directory / _tag(reference)
        if not path.exists():
            self.note(reference)
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0

    def forget_others(self, references: Collection[str]) -> None:
        """Keep in mind only these."""
        kept = {_tag(reference) for reference in references}
        remove(self._directory, [entry for entry in listed(self._directory) if entry.name not in kept])


def _tag(reference: str) -> str:
    return reference.rpartition(":")[2]
