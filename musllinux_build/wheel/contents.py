"""A wheel: its name, its archive and what its metadata says, all found to agree."""

from __future__ import annotations

import hashlib
import mmap as mmap_module
import posixpath
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import mmap
from typing import NoReturn

from musllinux_build.errors import WheelError
from musllinux_build.tags import WheelName
from musllinux_build.wheel.archive import Archive, Limits, read_archive
from musllinux_build.wheel.codec import Buffer
from musllinux_build.wheel.layout import SITE, installed_path
from musllinux_build.wheel.metadata import WheelFile
from musllinux_build.wheel.record import (
    SIGNATURES,
    RecordEntry,
    check_content,
    check_listing,
    encode_digest,
    parse_record,
)
from musllinux_build.wheel.source import Source

LARGE = 8 << 20
"""Contents of so many bytes get large pages, and are hashed beside the reading of their facts."""
LARGEST_TEXT = 64 << 20
"""Of WHEEL and RECORD, in bytes: some hundred thousand rows."""


class Scratch(threading.local):
    """Each thread's memory for one content after the other; fresh pages would cost as much as hashing them."""

    KEPT = 1 << 20

    def __init__(self) -> None:
        self._kept = mmap(-1, self.KEPT)

    @contextmanager
    def room(self, size: int) -> Iterator[mmap]:
        """At least ``size`` bytes; pages of their own, given back at once, for more than is worth keeping."""
        if size <= self.KEPT:
            yield self._kept
            return
        with mmap(-1, size) as room:
            if size >= LARGE and hasattr(mmap_module, "MADV_HUGEPAGE"):
                # Touching a page costs as much as hashing it.
                room.madvise(mmap_module.MADV_HUGEPAGE)
            yield room


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel whose RECORD lists exactly its members; contents are compared with it as they are read."""

    name: WheelName
    archive: Archive
    dist_info: str
    wheel_file: WheelFile
    record: dict[str, RecordEntry]

    @property
    def data_dir(self) -> str:
        """``{distribution}-{version}.data``, whether the wheel has it or not."""
        return f"{self.dist_info.removesuffix('.dist-info')}.data"

    @property
    def files(self) -> tuple[str, ...]:
        """Every member but RECORD and its deprecated signatures (PEP 815), sorted."""
        own = {f"{self.dist_info}/{name}" for name in ("RECORD", *SIGNATURES)}
        return tuple(sorted(self.archive.members.keys() - own))

    def read(self, member: str) -> bytes:
        """The content of ``member``; see take."""
        return bytes(self.take(member))

    def take(self, member: str) -> bytearray:
        """The content of ``member``, to be changed in place; nothing else holds it.

        Raises:
            WheelError: it is not what the archive or RECORD says.
        """
        content = self.archive.read(member)
        self.check(member, content)
        return content

    def sha256(self, member: str) -> str:
        """The SHA-256 of ``member`` as RECORD writes it."""
        entry = self.record[member]
        if entry.algorithm == "sha256":
            return entry.digest
        return encode_digest(hashlib.sha256(self.take(member)).digest())

    @contextmanager
    def lent(self, member: str, scratch: Scratch) -> Iterator[memoryview]:
        """The content of ``member`` as long as the context lasts, in memory that is used again.

        Raises:
            WheelError: it is not what the archive or RECORD says.
        """
        size = self.archive.members[member].size
        with scratch.room(size) as room:
            self.archive.read_into(member, room)
            with memoryview(room) as whole, whole[:size] as content:
                if size < LARGE:
                    self.check(member, content)
                    yield content
                else:
                    with _beside(lambda: self.check(member, content)):
                        yield content

    def check(self, member: str, content: Buffer) -> None:
        """``content`` is what RECORD says of ``member``.

        Raises:
            WheelError: it is not.
        """
        if member in self.record:
            check_content(self.record[member], member, content, self.archive.label)


@contextmanager
def _beside(check: Callable[[], None]) -> Iterator[None]:
    """``check`` in a thread of its own as long as the context lasts; what it raises is raised, whatever else failed.

    Hashing a large content gives up the interpreter's lock, so its facts can be read meanwhile.
    """
    raised: list[Exception] = []

    def run() -> None:
        try:
            check()
        except Exception as error:  # noqa: BLE001 - raised below, in the caller's thread
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        if raised:
            raise raised[0]


def read_wheel(data: bytes | memoryview | Source, filename: str, limits: Limits | None = None) -> Wheel:
    """The wheel in ``data``, which is called ``filename``.

    Raises:
        WheelError: the name, the archive, the metadata directory or RECORD are not those of one wheel.
    """
    name = WheelName.parse(filename)
    archive = read_archive(data, filename, limits)
    tops = sorted({member.split("/", 1)[0] for member in archive.members})
    dist_infos = [top for top in tops if top.endswith(".dist-info")]
    if len(dist_infos) != 1 or not name.same_project(dist_infos[0].removesuffix(".dist-info")):
        found = ", ".join(dist_infos) or "none"
        _refuse(filename, f"it must have one .dist-info directory of its own project and has {found}")
    dist_info = dist_infos[0]
    for required in ("METADATA", "RECORD", "WHEEL"):
        if f"{dist_info}/{required}" not in archive.members:
            _refuse(filename, f"{dist_info}/{required} is not there")
    _check_spreading(archive.members, tops, dist_info.removesuffix(".dist-info"), filename)
    record = parse_record(_text(archive, f"{dist_info}/RECORD"), dist_info, filename)
    check_listing(record, archive.members, dist_info, filename)
    wheel_file = WheelFile.parse(_text(archive, f"{dist_info}/WHEEL"), filename)
    return Wheel(name=name, archive=archive, dist_info=dist_info, wheel_file=wheel_file, record=record)


def _check_spreading(members: Collection[str], tops: Sequence[str], stem: str, label: str) -> None:
    """What installers unpack from ``.data`` does not replace metadata or lie in the way of other files (PEP 427)."""
    data = f"{stem}.data"
    # pip spreads every top directory of that suffix, other installers only the wheel's own.
    if foreign := [top for top in tops if top.endswith(".data") and top != data]:
        _refuse(label, f"{foreign[0]!r} is the data of another project or version")
    files = {installed_path(member, data) for member in members}
    for member in members:
        path = installed_path(member, data)
        if member.startswith(f"{data}/") and path.removeprefix(f"{SITE}/").partition("/")[0].endswith(".dist-info"):
            _refuse(label, f"{member!r} would be installed into the metadata")
        above = posixpath.dirname(path)
        while len(above) > len(SITE):
            if above in files:
                _refuse(label, f"{member!r} would be installed below a file")
            above = posixpath.dirname(above)


def _text(archive: Archive, member: str) -> str:
    if archive.members[member].size > LARGEST_TEXT:
        _refuse(archive.label, f"{member} is larger than {LARGEST_TEXT} bytes")
    try:
        return archive.read(member).decode("utf-8")
    except UnicodeDecodeError:
        _refuse(archive.label, f"{member} is not UTF-8 text")


def _refuse(label: str, why: str) -> NoReturn:
    raise WheelError(f"{label}: not a valid wheel: {why}", resolution="Build the wheel again.")
