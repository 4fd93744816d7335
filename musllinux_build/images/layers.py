"""An image's layers as one normalised layer: the same files give the same bytes, wherever and whenever it was built.

Layers are applied in order with their whiteouts (OCI image specification 1.1, "Image Layer Filesystem Changeset"),
what only tells of the build is left out, and what remains is written sorted, with one clock, numeric owners and no
extended headers but for long names. The archive is compressed without name and time (RFC 1952).
"""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from musllinux_build.errors import ImageError

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
LEVEL = 6
CHUNK = 1 << 20
MOST_ENTRIES = 500_000
KINDS = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE}

LEFT_OUT: Mapping[str, str] = {
    ".dockerenv": "the engine's mark",
    "dev/": "made by the engine when a container starts",
    "proc/": "a mount point",
    "sys/": "a mount point",
    "tmp/": "nobody's but a container's",
    "var/cache/": "grows by use",
    "var/log/": "tells of one build",
    "root/.cache/": "grows by use",
    "run/": "state of a running system",
    "lib/apk/db/lock": "state of a running apk",
}
"""What no image keeps, and why. A name with a slash at its end stands for what is below it, not for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of the image and the layer archive that holds its content."""

    info: tarfile.TarInfo
    layer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A layer on disk. ``digest`` names the compressed bytes, ``diff_id`` the archive itself; sizes in bytes."""

    digest: str
    diff_id: str
    size: int
    entries: int


def apply_layers(layers: Sequence[tarfile.TarFile]) -> dict[str, Entry]:
    """The files of an image by path without leading slash.

    Raises:
        ImageError: a layer has a device, a path that leaves the root, or absurdly many entries.
    """
    files: dict[str, Entry] = {}
    for number, layer in enumerate(layers):
        # What this layer adds is not what its own whiteouts remove.
        added: dict[str, Entry] = {}
        for info in layer:
            path = _inside(info.name)
            directory, name = posixpath.split(path)
            if name == OPAQUE:
                _remove_below(files, directory)
            elif name.startswith(WHITEOUT):
                gone = posixpath.join(directory, name.removeprefix(WHITEOUT))
                files.pop(gone, None)
                _remove_below(files, gone)
            elif path and not _is_left_out(path):
                _refuse_odd(info, path)
                known = files.get(path)
                if known is not None and known.info.isdir() and not info.isdir():
                    _remove_below(files, path)
                added[path] = Entry(info=info, layer=number)
        files.update(added)
        if len(files) > MOST_ENTRIES:
            raise ImageError(f"the image has more than {MOST_ENTRIES} files")
    return files


def _inside(name: str) -> str:
    path = posixpath.normpath(name.lstrip("/"))
    if path.startswith("../") or path == "..":
        raise ImageError(f"a layer has the path {name!r}, which leaves the image")
    return "" if path == "." else path


def _refuse_odd(info: tarfile.TarInfo, path: str) -> None:
    if info.type not in KINDS:
        raise ImageError(f"a layer has {path!r}, which is neither a file, a directory nor a link")


def _is_left_out(path: str) -> bool:
    return any(path == name or (name.endswith("/") and path.startswith(name)) for name in LEFT_OUT)


def _remove_below(files: dict[str, Entry], directory: str) -> None:
    for path in [path for path in files if path.startswith(f"{directory}/") or not directory]:
        del files[path]


def write_layer(files: Mapping[str, Entry], layers: Sequence[tarfile.TarFile], target: Path, clock: int) -> Written:
    """Write the one layer of an image; every entry is dated ``clock`` (seconds since 1970, UTC)."""
    plain, packed = hashlib.sha256(), hashlib.sha256()
    with target.open("wb") as stream:
        sink = _Hashing(stream, packed)
        # Name and time would be in the header: an empty name leaves the former out.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=sink, mtime=0) as deflater:
            for chunk in _archive(files, layers, clock):
                plain.update(chunk)
                deflater.write(chunk)
    return Written(
        digest=f"sha256:{packed.hexdigest()}",
        diff_id=f"sha256:{plain.hexdigest()}",
        size=target.stat().st_size,
        entries=len(files),
    )


class _Hashing:
    """A stream that remembers the hash of what was written."""

    def __init__(self, stream: IO[bytes], digest: hashlib._Hash) -> None:
        self._stream, self._digest = stream, digest

    def write(self, chunk: bytes) -> int:
        """Pass on."""
        self._digest.update(chunk)
        return self._stream.write(chunk)

    def flush(self) -> None:
        """Pass on."""
        self._stream.flush()


def _archive(files: Mapping[str, Entry], layers: Sequence[tarfile.TarFile], clock: int) -> Iterator[bytes]:
    # A hard link may stand before its target in the sorted order, and may lead into another layer.
    linked = _links(files)
    for path in sorted(files):
        entry = linked.get(path, files[path])
        yield from _entry(path, entry, layers, clock)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _links(files: Mapping[str, Entry]) -> dict[str, Entry]:
    """Hard links whose first name in sorted order holds the content, the others leading there."""
    groups: dict[tuple[int, str], list[str]] = {}
    for path, entry in files.items():
        if entry.info.islnk():
            groups.setdefault((entry.layer, _inside(entry.info.linkname)), []).append(path)
    result: dict[str, Entry] = {}
    for (layer, target), paths in groups.items():
        held = files.get(target)
        content = held if held is not None and held.layer == layer and held.info.isreg() else None
        names = sorted([*paths, target] if content is not None else paths)
        if content is None:
            raise ImageError(f"{names[0]} is a link to {target}, which a later layer replaced or removed")
        result[names[0]] = content
        for name in names[1:]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = tarfile.LNKTYPE, names[0], content.info.mode
            result[name] = Entry(info=info, layer=layer)
    return result


def _entry(path: str, entry: Entry, layers: Sequence[tarfile.TarFile], clock: int) -> Iterator[bytes]:
    info = tarfile.TarInfo(path)
    info.type = tarfile.REGTYPE if entry.info.isreg() else entry.info.type
    info.mode = entry.info.mode & 0o7777
    info.uid, info.gid = entry.info.uid, entry.info.gid
    info.mtime = clock
    info.linkname = entry.info.linkname if entry.info.issym() or entry.info.islnk() else ""
    info.size = entry.info.size if info.isreg() else 0
    yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if not info.isreg():
        return
    stream = layers[entry.layer].extractfile(entry.info)
    assert stream is not None
    left = info.size
    while left:
        chunk = stream.read(min(CHUNK, left))
        if not chunk:
            raise ImageError(f"a layer ends within {path}")
        left -= len(chunk)
        yield chunk
    yield bytes(-info.size % tarfile.BLOCKSIZE)
