"""Entries → an uncompressed tar as byte chunks: what engines unpack and build from."""

from __future__ import annotations

import errno
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from typing import IO

CHUNK = 1 << 20

Content = bytes | IO[bytes]
"""The bytes of an entry: all of them, or a stream at its start that is open until the next entry is asked for."""


def file_entry(name: str, size: int, mode: int = 0o644) -> tarfile.TarInfo:
    """A regular file."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, mode
    return entry


def directory_entry(name: str, mode: int = 0o755) -> tarfile.TarInfo:
    """A directory."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    return entry


def tar_stream(entries: Iterable[tuple[tarfile.TarInfo, Content]]) -> Iterator[bytes]:
    """Entries as a tar, chunk by chunk, owned by root.

    The format is GNU's: it keeps names that are not UTF-8 as they are.

    Raises:
        OSError: a stream ended before the size of its entry.
    """
    for entry, content in entries:
        entry.uid = entry.gid = 0
        yield entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        if isinstance(content, bytes):
            yield content
        else:
            yield from _chunks(entry, content)
        yield bytes(-entry.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def tar_of(files: Mapping[str, bytes], *, mode: int = 0o644) -> bytes:
    """A tar of regular files by name; parents are made by whoever unpacks it."""
    return b"".join(tar_stream((file_entry(name, len(data), mode), data) for name, data in files.items()))


def _chunks(entry: tarfile.TarInfo, stream: IO[bytes]) -> Iterator[bytes]:
    """Exactly the promised size: a file that grows while it is read must not shift the entries after it."""
    left = entry.size
    while left:
        chunk = stream.read(min(left, CHUNK))
        if not chunk:
            raise OSError(errno.EIO, "became shorter while it was read", entry.name)
        left -= len(chunk)
        yield chunk


def read_at_most(chunks: Iterable[bytes], limit: int) -> bytes | None:
    """What a stream has; None, without reading on, when that is more than ``limit`` bytes."""
    found = bytearray()
    for chunk in chunks:
        found += chunk
        if len(found) > limit:
            return None
    return bytes(found)


def only_file(archive: bytes) -> bytes | None:
    """The content of the first regular file of a tar, None when there is none."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.isreg() else None
            if stream is not None:
                return stream.read()
    return None
