"""DT_RELR expanded into ordinary relative relocations, which every musl applies.

musl has known DT_RELR since 1.2.4 and silently ignores it before. A table is a sequence of words: an even one is the
address of a word to relocate, an odd one a bitmap of the 63 (31) words that follow the last one (gABI proposal
"RELR relative relocations", as adopted for DT_RELR 36).
"""

from __future__ import annotations

from array import array
from struct import Struct
from sys import byteorder

from musllinux_build.elf.image import ElfImage
from musllinux_build.elf.psabi import HAS_ADDEND, RELATIVE
from musllinux_build.errors import RepairError


def expand_relr(image: ElfImage, address: int, size: int) -> bytes:
    """The relative relocations that the DT_RELR table of ``size`` bytes at ``address`` stands for.

    Their addends are what lies at the places; where the machine keeps addends there, they stay.

    Raises:
        WheelError: a place lies outside the loaded segments, or there are more than they have words.
        RepairError: the machine is not one of the six.
    """
    kind = RELATIVE.get(image.machine)
    if kind is None:
        raise RepairError(
            f"{image.path}: no relative relocation is known for machine {image.machine}",
            resolution="Build the library with -Wl,-z,nopack-relative-relocs.",
        )
    places = relr_places(image, address, size)
    addends = _addends(image, places)
    if image.machine not in HAS_ADDEND:
        return _table(image, (places, array("Q", [kind]) * len(places)))
    return _table(image, (places, array("Q", [kind]) * len(places), addends))


def relr_places(image: ElfImage, address: int, size: int) -> array[int]:
    """The addresses that a DT_RELR table relocates, in its order.

    Raises:
        WheelError: there are more than the segments have words, so the table lies.
    """
    word = image.word
    most = sum(segment.file_size for segment in image.segments if segment.type == 1) // word
    table = image.words(address, size // word, 8 if word == 8 else 4, "DT_RELR")
    places = array("Q")
    here, furthest = 0, (1 << image.bits) - image.bits * word
    for entry in table:
        if not entry & 1:
            places.append(entry)
            here = entry + word
        else:
            bits, at = entry >> 1, here
            while bits:
                if bits & 1:
                    places.append(at)
                bits >>= 1
                at += word
            here += (8 * word - 1) * word
        if len(places) > most or here > furthest:
            raise image.corrupt("DT_RELR relocates more words than there are")
    return places


def _addends(image: ElfImage, places: array[int]) -> array[int]:
    """The words at ``places``, every one inside a loaded segment's part of the file."""
    one = Struct(f"{image.mark}{'Q' if image.word == 8 else 'I'}")
    addends = array("Q")
    first, last, shift = 1, 0, 0
    for place in places:
        if not first <= place <= last:
            offset, room = image.offset_of(place, "a word that DT_RELR relocates")
            if room < image.word:
                raise image.corrupt("a word that DT_RELR relocates runs over the end of its segment")
            first, last, shift = place, place + room - image.word, offset - place
        addends.append(one.unpack_from(image.data, place + shift)[0])
    return addends


def _table(image: ElfImage, columns: tuple[array[int], ...]) -> bytes:
    """Rows of the ``columns``' words in the object's class and order."""
    rows = array("Q", bytes(8 * len(columns) * len(columns[0])))
    for at, column in enumerate(columns):
        rows[at :: len(columns)] = column
    if image.word == 4:
        rows = array("I", rows)
    if image.order != byteorder:
        rows.byteswap()
    return rows.tobytes()
