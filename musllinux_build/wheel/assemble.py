"""A wheel from an old one: members as they were packed, and new ones made, packed and proven on all cores.

A new member is made when its turn to be packed comes, deflated, and at once freed again: what is in memory is what is
being worked on. Largest come first, so packed contents wait in a scratch file, and the archive is put together from it
in the order of the names; neither the order nor the bytes depend on how many cores there are.
"""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from musllinux_build.errors import RepairError
from musllinux_build.wheel.archive import DEFLATED, read_archive
from musllinux_build.wheel.codec import BLOCK, SMALL, Buffer
from musllinux_build.wheel.contents import Wheel
from musllinux_build.wheel.crew import cores, share
from musllinux_build.wheel.record import encode_digest, format_record
from musllinux_build.wheel.source import Extent, FileSource, Source
from musllinux_build.wheel.writer import EARLIEST, LEVEL, Packed, member_order, pack, write_archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A member that is new or changed. ``make`` gives its content and is called once, in any thread.

    ``weight`` is about how many bytes are in memory meanwhile.
    """

    member: str
    weight: int
    make: Callable[[], Buffer]
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written: SHA-256 in hexadecimal and size in bytes of the file."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A wheel to write: ``wheel`` with ``products`` and without ``removed``.

    ``executable`` are the members with that permission; ``epoch`` dates all (seconds, UTC), ``level`` is zlib's.
    """

    wheel: Wheel
    products: Sequence[Product]
    removed: Collection[str] = ()
    executable: Collection[str] = ()
    epoch: int = EARLIEST
    level: int | None = None
    workers: int | None = None


def assemble(recipe: Recipe, out: BinaryIO, spool: BinaryIO) -> Written:
    """Write the wheel to ``out``; ``spool`` is an empty file for what waits.

    Raises:
        RepairError: what was written is not what was meant.
    """
    shelf, workers = _Shelf(spool), recipe.workers or cores()
    level = LEVEL if recipe.level is None else recipe.level

    def finish(product: Product) -> tuple[Packed, str]:
        content = product.make()
        digest = encode_digest(hashlib.sha256(content).digest())
        packed = pack(
            product.member,
            content,
            executable=product.executable,
            level=level,
            spread=lambda work, count: share(range(count), lambda _: BLOCK, work, workers),
        )
        del content
        _prove(packed)
        return replace(packed, content=shelf.put(packed.content)), digest

    finished = share(recipe.products, lambda product: product.weight, finish, workers)
    made = {packed.name: (packed, digest) for packed, digest in finished}
    members = list(_members(recipe, made, level))
    written = _write(write_archive(members, epoch=recipe.epoch), out)
    _read_back(FileSource(out.fileno()), members, written.sha256)
    return written


def copy(source: Source, out: BinaryIO) -> Written:
    """Write all of ``source`` to ``out``."""
    return _write(Extent(source=source, offset=0, size=source.size).chunks(), out)


def _write(parts: Iterable[Buffer], out: BinaryIO) -> Written:
    digest, size = hashlib.sha256(), 0
    for part in parts:
        out.write(part)
        digest.update(part)
        size += len(part)
    out.flush()
    return Written(sha256=digest.hexdigest(), size=size)


def _members(recipe: Recipe, made: Mapping[str, tuple[Packed, str]], level: int) -> Iterator[Packed]:
    """Every member in order, RECORD last."""
    wheel, rows = recipe.wheel, {}
    names = {*wheel.files, *made} - set(recipe.removed)
    for name in sorted(names, key=lambda name: member_order(name, wheel.dist_info)):
        if name in made:
            packed, digest = made[name]
        else:
            packed, digest = _as_it_was(wheel, name), wheel.sha256(name)
        rows[name] = digest, packed.size
        yield replace(packed, executable=packed.executable or name in recipe.executable)
    yield pack(f"{wheel.dist_info}/RECORD", format_record(rows, wheel.dist_info), executable=False, level=level)


def _as_it_was(wheel: Wheel, name: str) -> Packed:
    known = wheel.archive.members[name]
    return Packed(
        name=name,
        method=known.method,
        crc=known.crc,
        size=known.size,
        content=wheel.archive.raw(name),
        executable=known.executable,
    )


class _Shelf:
    """Packed contents in a file, in the order they come."""

    def __init__(self, spool: BinaryIO) -> None:
        self._source = FileSource(spool.fileno())
        self._descriptor = spool.fileno()
        self._end = 0
        self._lock = threading.Lock()

    def put(self, content: Buffer | Extent) -> Extent:
        """Where ``content`` is from now on."""
        assert not isinstance(content, Extent)
        size = len(content)
        with self._lock:
            offset, self._end = self._end, self._end + size
        with memoryview(content) as view:
            done = 0
            while done < size:
                done += os.pwrite(self._descriptor, view[done : done + (1 << 30)], offset + done)
        return Extent(source=self._source, offset=offset, size=size)


def _prove(packed: Packed) -> None:
    """Inflate with zlib, which installers use, whatever deflated: nothing but the content comes out."""
    if packed.method != DEFLATED:
        return
    assert not isinstance(packed.content, Extent)
    inflater, crc, size = zlib.decompressobj(-zlib.MAX_WBITS), 0, 0
    with memoryview(packed.content) as view:
        for start in range(0, len(view), SMALL):
            piece: bytes | memoryview = view[start : start + SMALL]
            more = True
            while more:
                chunk = inflater.decompress(piece, BLOCK)
                crc, size = zlib.crc32(chunk, crc), size + len(chunk)
                piece = inflater.unconsumed_tail
                more = bool(piece) or len(chunk) == BLOCK
    if not inflater.eof or inflater.unused_data or (crc, size) != (packed.crc, packed.size):
        raise _miswritten(packed.name)


def _read_back(source: FileSource, members: Sequence[Packed], sha256: str) -> None:
    """The file is read again: its bytes are those that were given out, and its directory names what they are.

    With the proofs of every packed content, old ones in the inventory and new ones above, this says as much as
    inflating all of it once more would.
    """
    archive = read_archive(source, "the result")
    stated = [(item.name, item.method, item.crc, item.packed, item.size) for item in archive.members.values()]
    meant = [(item.name, item.method, item.crc, len(item.content), item.size) for item in members]
    digest = hashlib.sha256()
    for chunk in Extent(source=source, offset=0, size=source.size).chunks():
        digest.update(chunk)
    if stated != meant or digest.hexdigest() != sha256:
        raise _miswritten("the result")


def _miswritten(what: str) -> RepairError:
    return RepairError(
        f"{what} cannot be read back as it was written", resolution="Check the disk and memory of this machine."
    )
