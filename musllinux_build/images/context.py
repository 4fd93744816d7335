"""A build context as an uncompressed tar: sorted, without times and owners, the same bytes for the same files."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

CHUNK = 1 << 20


def context_tar(files: Mapping[str, Path], directories: Iterable[str] = ()) -> Iterator[bytes]:
    """The tar of ``files`` (path in the context → file here), its directories first.

    ``directories`` are there even when nothing is in them. A script is what starts with ``#!``: a file's mode here
    depends on how the tool was installed, and would change the builder's cache keys.

    Raises:
        OSError: a file cannot be read.
    """
    parents = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    for name in directories:
        parents |= {name, *(str(parent) for parent in PurePosixPath(name).parents)}
    for directory in sorted(parents - {"."}):
        yield _header(f"{directory}/", 0, 0o755, tarfile.DIRTYPE)
    for path in sorted(files):
        with files[path].open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(0)
            first = stream.read(CHUNK)
            yield _header(path, size, 0o755 if first.startswith(b"#!") else 0o644, tarfile.REGTYPE)
            while first:
                yield first
                first = stream.read(CHUNK)
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _header(path: str, size: int, mode: int, kind: bytes) -> bytes:
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.type = size, mode, kind
    return info.tobuf(tarfile.GNU_FORMAT)
