"""The bytes of an archive, read where they are wanted: from memory, or from a file that is never loaded whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from musllinux_build.errors import WheelError

CHUNK = 1 << 20
"""Bytes read at a time by what copies, hashes or inflates in a stream."""


class Source(Protocol):
    """Random access to ``size`` bytes; safe to use from several threads."""

    @property
    def size(self) -> int:
        """Number of bytes there are."""

    def read(self, offset: int, size: int) -> bytes | memoryview:
        """The ``size`` bytes from ``offset`` on, fewer at the end."""


class MemorySource:
    """Source over bytes that are already in memory."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self.size = len(self._data)

    def read(self, offset: int, size: int) -> bytes | memoryview:
        """A view, nothing is copied."""
        return self._data[offset : offset + size]


class FileSource:
    """Source over an open file. It is read at offsets and not mapped: touched pages of a map count as memory."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, offset: int, size: int) -> bytes:
        """A copy; the kernel may give less than was asked for, also before the end."""
        content = os.pread(self._descriptor, size, offset)
        if len(content) == size or not content:
            return content
        parts = [content]
        while content:
            got = sum(map(len, parts))
            content = os.pread(self._descriptor, size - got, offset + got) if got < size else b""
            parts.append(content)
        return b"".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """``size`` bytes of a source, from ``offset`` on."""

    source: Source
    offset: int
    size: int

    def __len__(self) -> int:
        return self.size

    def chunks(self) -> Iterator[bytes | memoryview]:
        """The bytes, a chunk at a time."""
        return chunks(self.source, self.offset, self.size)


@contextmanager
def opened(path: Path) -> Iterator[FileSource]:
    """The file at ``path`` as a source, open as long as the context lasts.

    Raises:
        WheelError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as reason:
        raise WheelError(f"{path} cannot be read: {reason.strerror}", resolution="Check the path.") from reason
    try:
        yield FileSource(descriptor)
    finally:
        os.close(descriptor)


def chunks(source: Source, offset: int, size: int) -> Iterator[bytes | memoryview]:
    """``size`` bytes from ``offset`` on, a chunk at a time."""
    for position in range(offset, offset + size, CHUNK):
        yield source.read(position, min(CHUNK, offset + size - position))
