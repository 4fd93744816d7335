"""Where the names of an edit go in the dynamic string table, and who else uses what stands there.

Linkers share strings: ``z.so`` may be the end of ``libz.so``, and a symbol's name the end of a library's. So a name is
written over another only when nothing else points into it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from struct import Struct

from musllinux_build.elf.image import ElfImage
from musllinux_build.elf.layout import Layout
from musllinux_build.elf.numbers import TAG

STRING_TAGS = frozenset(
    TAG[name]
    for name in (
        "DT_NEEDED",
        "DT_SONAME",
        "DT_RPATH",
        "DT_RUNPATH",
        "DT_AUXILIARY",
        "DT_FILTER",
        "DT_CONFIG",
        "DT_DEPAUDIT",
        "DT_AUDIT",
    )
)
"""Dynamic entries whose value is an offset into the string table."""
DYNSYM = frozenset({11})
MOST_VERSIONS = 4096
MOST_CANDIDATES = 16
"""How many old copies of a name are looked at; each costs a look at every rename."""
VER_FLG_BASE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionName:
    """An offset into the string table that a version table holds at ``at`` in the file.

    ``is_file`` marks the name of a library that versions are needed of; the object's own name, in the base definition,
    has its hash at ``hash_at``.
    """

    at: int
    offset: int
    is_file: bool = False
    hash_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename:
    """A reference that points at ``offset`` (None: at nothing yet) and shall name ``text``."""

    offset: int | None
    text: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where each text is, what is written over old names, and what comes behind the table's end."""

    offsets: dict[bytes, int]
    overwrites: tuple[tuple[int, bytes], ...] = ()
    appended: bytes = b""

    def apply(self, table: bytes) -> bytes:
        """``table`` with the texts in it."""
        result = bytearray(table)
        for offset, text in self.overwrites:
            result[offset : offset + len(text)] = text
        return bytes(result) + self.appended


@dataclass(slots=True, kw_only=True)
class _Uses:
    """Offsets into the table that stay as they are; ``is_known`` is None until the first question is asked."""

    layout: Layout
    renames: Sequence[Rename]
    versions: Sequence[VersionName]
    kept: set[int] = field(default_factory=set)
    is_known: bool | None = None

    def other(self, start: int, end: int) -> bool:
        """Whether anything else points to ``start`` up to ``end``; yes when that cannot be known."""
        if self.is_known is None:
            symbols = _symbol_names(self.layout)
            self.is_known = symbols is not None
            # A multiset: two references may share a name, and only one of them be an edit's.
            named = Counter(value for tag, value in self.layout.dynamic if tag in STRING_TAGS)
            named.update(version.offset for version in self.versions)
            named.subtract(rename.offset for rename in self.renames if rename.offset is not None)
            self.kept.update((+named).keys(), symbols or ())
        return not self.is_known or not self.kept.isdisjoint(range(start, end))


def place_names(layout: Layout, table: bytes, renames: Sequence[Rename], versions: Sequence[VersionName]) -> Placed:
    """A place for the text of each rename: one it has already, else that of the name it replaces, else behind."""
    offsets: dict[bytes, int] = {}
    overwrites: list[tuple[int, bytes]] = []
    uses = _Uses(layout=layout, renames=renames, versions=versions)
    texts = list(dict.fromkeys(rename.text for rename in renames))
    for text in texts:
        found = table.find(text + b"\0")
        if found >= 0:
            offsets[text] = found
            uses.kept.add(found)
    appended = bytearray(b"" if table.endswith(b"\0") else b"\0")
    for text in texts:
        if text in offsets:
            continue
        place = next(_free_places(table, renames, text, uses), None)
        if place is None:
            offsets[text] = len(table) + len(appended)
            appended += text + b"\0"
        else:
            start, size = place
            offsets[text] = start
            overwrites.append((start, text.ljust(size, b"\0")))
    has_more = any(offset >= len(table) for offset in offsets.values())
    return Placed(offsets=offsets, overwrites=tuple(overwrites), appended=bytes(appended) if has_more else b"")


def _free_places(table: bytes, renames: Sequence[Rename], text: bytes, uses: _Uses) -> Iterator[tuple[int, int]]:
    """Start and size of the replaced names that are long enough for ``text`` and of which nobody uses a part."""
    replaced = dict.fromkeys(rename.offset for rename in renames if rename.text == text)
    for start in islice(replaced, MOST_CANDIDATES):
        if start is None or not start or table[start - 1]:
            continue
        end = table.find(b"\0", start)
        wanted = {rename.text for rename in renames if rename.offset is not None and start <= rename.offset < end}
        if end - start >= len(text) and wanted == {text} and not uses.other(start, end):
            yield start, end - start


def _symbol_names(layout: Layout) -> Sequence[int] | None:
    """st_name of every dynamic symbol; None when no section header tells how many there are."""
    address = dict(layout.dynamic).get(TAG["DT_SYMTAB"])
    section = layout.section_at(address, types=DYNSYM) if address is not None else None
    if section is None:
        return None
    step = 6 if layout.form.bits == 64 else 4
    view = layout.image.data[section.offset : section.offset + section.size // (4 * step) * (4 * step)]
    return layout.image.numbers(view, 4)[::step]


def read_version_places(layout: Layout) -> tuple[VersionName, ...]:
    """Every name that the version tables hold.

    Raises:
        WheelError: a chain leaves the file or does not end.
    """
    # Tables may lie over each other, so it is the sum that has to have an end.
    found = tuple(islice(_version_names(layout), MOST_VERSIONS + 1))
    if len(found) > MOST_VERSIONS:
        raise layout.image.corrupt(f"more than {MOST_VERSIONS} names in version tables")
    return found


def _version_names(layout: Layout) -> Iterator[VersionName]:
    tags = dict(layout.dynamic)
    if TAG["DT_VERNEED"] in tags:
        yield from _needs(layout.image, tags[TAG["DT_VERNEED"]], tags.get(TAG["DT_VERNEEDNUM"], 0))
    if TAG["DT_VERDEF"] in tags:
        yield from _definitions(layout.image, tags[TAG["DT_VERDEF"]], tags.get(TAG["DT_VERDEFNUM"], 0))


def _needs(image: ElfImage, address: int, count: int) -> Iterator[VersionName]:
    need, auxiliary = Struct(f"{image.mark}HHIII"), Struct(f"{image.mark}IHHII")
    for here, start in _chain(image, address, count, need, 4):
        _, names, library, first, _ = need.unpack_from(image.data, start)
        yield VersionName(at=start + 4, offset=library, is_file=True)
        for _, at in _chain(image, here + first, names, auxiliary, 4):
            yield VersionName(at=at + 8, offset=auxiliary.unpack_from(image.data, at)[3])


def _definitions(image: ElfImage, address: int, count: int) -> Iterator[VersionName]:
    definition, auxiliary = Struct(f"{image.mark}HHHHIII"), Struct(f"{image.mark}II")
    for here, start in _chain(image, address, count, definition, 6):
        _, flags, _, names, _, first, _ = definition.unpack_from(image.data, start)
        hash_at = start + 8 if flags & VER_FLG_BASE else None
        for _, at in _chain(image, here + first, names, auxiliary, 1):
            yield VersionName(at=at, offset=auxiliary.unpack_from(image.data, at)[0], hash_at=hash_at)
            hash_at = None


def _chain(image: ElfImage, address: int, count: int, shape: Struct, following: int) -> Iterator[tuple[int, int]]:
    """Addresses and file offsets of a linked table's entries; field ``following`` is the distance to the next one."""
    if count > MOST_VERSIONS:
        raise image.corrupt(f"{count} entries in a version table")
    for _ in range(count):
        offset, room = image.offset_of(address, "a version table")
        if room < shape.size:
            raise image.corrupt("a version table runs over the end of its segment")
        yield address, offset
        distance = shape.unpack_from(image.data, offset)[following]
        if not distance:
            return
        address += distance


def elf_hash(name: bytes) -> int:
    """The hash of the System V ABI, which version tables hold beside a name."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high & 0xFFFFFFFF
    return value
