"""Sysroot over a directory; links are resolved inside it, and nothing outside is ever read."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from musllinux_build.errors import UsageError

MOST_LINKS = 40
"""Linux's own limit (ELOOP)."""
LARGEST_FILE = 2 << 30
Content = TypeVar("Content")


class DirectorySysroot:
    """ports.Sysroot of an unpacked root file system."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise UsageError(f"{root} is not a directory", resolution="Give the directory of an unpacked root.")
        self._root = root.resolve()

    def read(self, path: str) -> bytes | None:
        """The bytes of the regular file at ``path``, None when there is none."""
        # No more than it says: files of a running system's /proc say nothing and never end.
        return self._with(path, lambda stream, size: stream.read(size))

    def take(self, path: str) -> bytearray | None:
        """As ``read``, to be changed in place."""

        def fill(stream: BinaryIO, size: int) -> bytearray:
            content = bytearray(size)
            with memoryview(content) as view:
                got = stream.readinto(view)  # type: ignore[attr-defined] # of the buffered reader that it is
            del content[got:]
            return content

        return self._with(path, fill)

    def _with(self, path: str, use: Callable[[BinaryIO, int], Content]) -> Content | None:
        """What ``use`` makes of the regular file at ``path`` and its size, None when there is none."""
        real = self.real_path(path)
        if real is None:
            return None
        host = self._host(real)
        try:
            # Merely to open a device may do something.
            if not stat.S_ISREG(os.lstat(host).st_mode):
                return None
            # What changes under the reader must not lead it outside: the last step follows no link.
            descriptor = os.open(host, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
            with open(descriptor, "rb") as stream:  # noqa: PTH123 - a descriptor has no path
                about = os.fstat(descriptor)
                if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST_FILE:
                    return None
                return use(stream, about.st_size)
        except OSError:
            return None

    def real_path(self, path: str) -> str | None:
        """``path`` with every link resolved as if the directory were ``/``."""
        waiting = [part for part in reversed(path.split("/")) if part]
        done: list[str] = []
        links = 0
        while waiting:
            part = waiting.pop()
            if part in {".", ".."}:
                done = done[:-1] if part == ".." else done
                continue
            here = self._host("/".join([*done, part]))
            try:
                is_link = stat.S_ISLNK(os.lstat(here).st_mode)
            except (OSError, ValueError):
                return None
            if not is_link:
                done.append(part)
                continue
            links += 1
            if links > MOST_LINKS:
                return None
            target = os.readlink(here)  # noqa: PTH115 - text, kept as it is
            done = [] if target.startswith("/") else done
            waiting.extend(step for step in reversed(target.split("/")) if step)
        return posixpath.join("/", *done)

    def names(self, path: str) -> Sequence[str]:
        """The names in the directory at ``path``, sorted."""
        real = self.real_path(path)
        try:
            return sorted(os.listdir(self._host(real))) if real is not None else ()  # noqa: PTH208 - names are wanted
        except OSError:
            return ()

    def _host(self, path: str) -> Path:
        return self._root / path.lstrip("/")
