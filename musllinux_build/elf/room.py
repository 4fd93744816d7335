"""Room in an object for tables that have outgrown their places.

The last segment grows: its zeroed part (.bss) comes into the file, the tables behind it, and what the file has behind
its segments (symbols, section headers) moves on. So no program header is added and none moves, and strip, patchelf and
debuggers find an object as linkers lay it out. A second edit adds only what is new.

Where the last segment cannot grow, one more PT_LOAD above everything maps the end of the file. For its program header
the table of program headers moves there, too: musl takes it from wherever e_phoff says, and shows it to the unwinder
(dl_iterate_phdr) when a PT_LOAD holds it. Turning a PT_NOTE into the PT_LOAD would spare the move and lose the note,
which not every library has. GNU strip, though, spoils such an object: it writes program headers where they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from musllinux_build.elf.layout import NOBITS, Layout, Program
from musllinux_build.elf.numbers import SEGMENT
from musllinux_build.elf.reader import MOST_SEGMENTS
from musllinux_build.errors import RepairError

PF_X, PF_W, PF_R = 1, 2, 4
PAGE = 0x1000
LARGE_PAGES = {183: 0x10000, 21: 0x10000}
"""The largest page size of a kernel where it is not 4 KiB: AArch64 and PPC64."""
LARGEST_PAGE = 0x10000
ALIGN = 16
MOST_PADDING = 1 << 26
MOST_ZEROS = 1 << 22
"""The largest zeroed part that comes into a file; deflated, four MiB of zeros are four KiB."""

_Laid = tuple[tuple[int, ...], int]
_Programs = tuple[Program, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The first ``keep`` bytes of the file stay; each piece has its offset and address behind them.

    What began at ``tail_from`` in the file begins at ``tail_to`` now. ``programs`` are the program headers as they must
    be written to ``programs_at``.
    """

    keep: int
    offsets: tuple[int, ...]
    addresses: tuple[int, ...]
    tail_from: int
    tail_to: int
    programs: tuple[Program, ...]
    programs_at: int


def growing_segment(layout: Layout, *, writable: bool) -> Program | None:
    """The segment that is last in memory and in the file, when it may become larger."""
    last = max(layout.loads, key=lambda row: row.end, default=None)
    if last is None or last.flags & PF_X or last.memory_size - last.file_size not in range(MOST_ZEROS):
        return None
    # A segment of ours may become writable; to make a linker's read-only data so would take a protection away.
    ours = last.offset <= layout.programs_at < last.file_end
    if writable and not last.flags & PF_W and not ours:
        return None
    if any(row.file_size and row.file_end > last.file_end for row in layout.programs):
        return None
    return last if _tail_can_move(layout, last.file_end) else None


def _tail_can_move(layout: Layout, start: int) -> bool:
    """Whether all that the file has from ``start`` on is known from section headers, and none of it is mapped."""
    if start == len(layout.image.data):
        return True
    rows = [row for row in layout.sections if row.type not in {0, NOBITS}]
    apart = all(row.offset >= start or row.offset + row.size <= start for row in rows)
    return bool(rows) and apart and not any(row.is_mapped and row.offset >= start for row in rows)


def make_room(layout: Layout, sizes: Sequence[int], *, cut: int | None, writable: bool) -> Room:
    """Offsets and addresses for pieces of ``sizes`` bytes; a growing segment is ``cut`` off at that offset first.

    Raises:
        RepairError: there is no address left, or too many program headers.
    """
    growing = growing_segment(layout, writable=writable)
    if growing is not None:
        keep = growing.file_end if cut is None else cut
        start = growing.offset + growing.memory_size if cut is None else cut
        laid = _lay_out(start, sizes)
        size = laid[1] - growing.offset
        flags = growing.flags | (PF_W if writable else 0)
        larger = replace(growing, flags=flags, file_size=size, memory_size=size)
        programs = tuple(larger if row is growing else row for row in layout.programs)
        tail = growing.file_end
        shift = growing.address - growing.offset
        return _room(layout, (keep, tail), laid, shift, (programs, layout.programs_at))
    start, address = _behind(layout)
    spare = any(row.type == SEGMENT["PT_NULL"] for row in layout.programs)
    table = 0 if spare else (len(layout.programs) + 1) * layout.form.program.size
    laid = _lay_out(start + table, sizes)
    added = Program(
        type=SEGMENT["PT_LOAD"],
        flags=PF_R | (PF_W if writable else 0),
        offset=start,
        address=address,
        physical=address,
        file_size=laid[1] - start,
        memory_size=laid[1] - start,
        align=_page(layout),
    )
    programs_at = layout.programs_at if spare else start
    return _room(layout, (len(layout.image.data),) * 2, laid, address - start, (_with_load(layout, added), programs_at))


def _room(
    layout: Layout,
    kept: tuple[int, int],
    laid: tuple[tuple[int, ...], int],
    shift: int,
    table: tuple[tuple[Program, ...], int],
) -> Room:
    """The room whose pieces are ``laid`` out, with addresses ``shift`` above their offsets."""
    (keep, tail), (offsets, end), (programs, programs_at) = kept, laid, table
    # The tail keeps its alignment.
    tail_to = end + (tail - end) % ALIGN if tail < len(layout.image.data) else end
    if end + shift > 1 << layout.form.bits or len(programs) > MOST_SEGMENTS:
        raise RepairError(
            f"{layout.image.path}: no address is left for longer tables",
            resolution="Please report this with the library; linking it statically avoids the edit.",
        )
    size = len(programs) * layout.form.program.size
    place = {"offset": programs_at, "address": programs_at + shift, "physical": programs_at + shift}
    if programs_at != layout.programs_at:
        programs = tuple(
            replace(row, **place, file_size=size, memory_size=size) if row.type == SEGMENT["PT_PHDR"] else row
            for row in programs
        )
    addresses = tuple(offset + shift for offset in offsets)
    return Room(
        keep=keep,
        offsets=offsets,
        addresses=addresses,
        tail_from=tail,
        tail_to=tail_to,
        programs=programs,
        programs_at=programs_at,
    )


def _lay_out(start: int, sizes: Sequence[int]) -> _Laid:
    """Aligned offsets from ``start`` on, and the end."""
    offsets = []
    for size in sizes:
        start = _up(start, ALIGN)
        offsets.append(start)
        start += size
    return tuple(offsets), start


def _behind(layout: Layout) -> tuple[int, int]:
    """File offset and address of a new segment, the one as far into a page as the other.

    That costs a library nothing, even for pages larger than its architecture has: only address space is passed over.

    Kernels before 5.18 tell a program that its headers lie at the load address plus e_phoff; that is so when all the
    file up to there is as far from its address as the first segment is.
    """
    page, size = _page(layout), len(layout.image.data)
    first = min(layout.loads, key=lambda row: row.address)
    top = max(row.end for row in layout.loads)
    if not layout.kernel_loads:
        start = _up(size, ALIGN)
        return start, _up(top, LARGEST_PAGE) + start % LARGEST_PAGE
    shift = first.address - first.offset
    address = _up(max(top, size + shift), page)
    if address - shift - size > MOST_PADDING:
        raise RepairError(
            f"{layout.image.path}: its program headers can only be moved behind {address - shift - size} empty bytes",
            resolution="Link the program with -Wl,-rpath so that nothing must be changed.",
        )
    return address - shift, address


def _with_load(layout: Layout, added: Program) -> _Programs:
    """The program headers with one more PT_LOAD, which has the highest address and must be the last of its kind."""
    rows = list(layout.programs)
    spare = next((row for row in rows if row.type == SEGMENT["PT_NULL"]), None)
    if spare is not None:
        rows.remove(spare)
    last = max(at for at, row in enumerate(rows) if row.type == SEGMENT["PT_LOAD"])
    rows.insert(last + 1, added)
    return tuple(rows)


def _page(layout: Layout) -> int:
    return LARGE_PAGES.get(layout.image.machine, PAGE)


def _up(value: int, step: int) -> int:
    return (value + step - 1) // step * step
