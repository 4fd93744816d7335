"""Sysroot over the archive of a root file system, read without unpacking it: no file of it ever touches the disk."""

from __future__ import annotations

import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.errors import UsageError

MOST_MEMBERS = 1_000_000
MOST_LINKS = 40
LARGEST_FILE = 256 << 20
LARGEST_ROOT = 64 << 30
LONGEST_PATH = 4096
"""PATH_MAX of Linux; longer names are no files of a root."""

BROKEN = (OSError, EOFError, ValueError, ArithmeticError, LookupError, RecursionError)
"""What tarfile raises of itself; its headers of headers are read by recursion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A member: ``link`` is the target of a symbolic link, ``same_as`` the path of a hard link's file."""

    is_file: bool
    size: int
    link: str | None = None
    same_as: str | None = None


class ArchiveSysroot:
    """ports.Sysroot of a tar archive, compressed or not. Devices, pipes and sockets are not there for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, _Entry] = {"/": _Entry(is_file=False, size=0)}
        with self._members() as members:
            total = 0
            for count, member in enumerate(members):
                total += member.size
                if count > MOST_MEMBERS or total > LARGEST_ROOT:
                    raise UsageError(
                        f"{path} has more than {MOST_MEMBERS} members or {LARGEST_ROOT} bytes: no root file system"
                    )
                if len(member.name) > LONGEST_PATH or len(member.linkname) > LONGEST_PATH:
                    continue
                self._entries[_inside(member.name)] = _Entry(
                    is_file=member.isreg(),
                    size=member.size,
                    link=member.linkname if member.issym() else None,
                    same_as=_inside(member.linkname) if member.islnk() else None,
                )
        for name in list(self._entries):  # archives need not list the directories of their files
            while (name := posixpath.dirname(name)) not in self._entries:
                self._entries[name] = _Entry(is_file=False, size=0)
        self._contents: dict[str, bytes | None] = {}

    def real_path(self, path: str) -> str | None:
        """``path`` with every link resolved inside the archive."""
        waiting = [part for part in reversed(path.split("/")) if part]
        done = "/"
        links = 0
        while waiting:
            part = waiting.pop()
            here = posixpath.normpath(posixpath.join(done, part))
            entry = self._entries.get(here)
            if entry is None or entry.link is None:
                done = here
                continue
            links += 1
            if links > MOST_LINKS:
                return None
            done = "/" if entry.link.startswith("/") else done
            waiting.extend(step for step in reversed(entry.link.split("/")) if step)
        return done if done in self._entries else None

    def read(self, path: str) -> bytes | None:
        """The bytes of the regular file at ``path``, None when there is none."""
        real = self.real_path(path)
        entry = self._entries.get(real) if real else None
        if entry and entry.same_as:
            real, entry = entry.same_as, self._entries.get(entry.same_as)
        if real is None or entry is None or not entry.is_file or entry.size > LARGEST_FILE:
            return None
        if real not in self._contents:
            self._contents[real] = self._content(real)
        return self._contents[real]

    def names(self, path: str) -> Sequence[str]:
        """The names in the directory at ``path``, sorted."""
        real = self.real_path(path)
        return sorted(
            posixpath.basename(name) for name in self._entries if name != "/" and posixpath.dirname(name) == real
        )

    def _content(self, real: str) -> bytes | None:
        found = None
        with self._members() as members:
            # The last member of a name is the one that unpacking leaves.
            for member in members:
                if member.isreg() and _inside(member.name) == real and member.size <= LARGEST_FILE:
                    stream = members.extractfile(member)
                    found = stream.read() if stream else None
        return found

    @contextmanager
    def _members(self) -> Iterator[tarfile.TarFile]:
        try:
            with tarfile.open(self._path, "r|*") as archive:
                yield archive
        except (*BROKEN, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
            raise UsageError(
                f"{self._path} is not the archive of a root file system",
                details=str(error),
                resolution="Give a tar archive: an Alpine minirootfs, or what docker export writes.",
            ) from error


def _inside(name: str) -> str:
    """An absolute path; ``..`` ends at the root, as in a directory that is the root."""
    return posixpath.normpath("/" + name.lstrip("/"))
