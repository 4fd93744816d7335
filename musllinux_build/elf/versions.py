"""DT_VERNEED: the symbol versions an object wants of other libraries; musl ignores them, glibc's give it away."""

from __future__ import annotations

from struct import Struct

from musllinux_build.elf.facts import VersionNeed
from musllinux_build.elf.image import ElfImage, StringTable

MOST = 4096


def read_version_needs(image: ElfImage, strings: StringTable, address: int, count: int) -> tuple[VersionNeed, ...]:
    """The entries of the table at ``address``, in order.

    Raises:
        WheelError: the chain leaves the file or does not end.
    """
    if not address:
        return ()
    if count > MOST:
        raise image.corrupt(f"{count} version needs")
    need = Struct(f"{image.mark}HHIII")
    found = []
    left = MOST
    for _ in range(count):
        _, names, library, first, following = need.unpack(image.at(address, need.size, "a version need"))
        # Tables may lie over each other, so it is the sum that has to have an end.
        if names > left:
            raise image.corrupt(f"more than {MOST} versions of libraries")
        left -= names
        versions = _names(image, strings, address + first, names)
        found.append(VersionNeed(library=strings.name(library), versions=versions))
        if not following:
            break
        address += following
    return tuple(found)


def _names(image: ElfImage, strings: StringTable, address: int, count: int) -> tuple[str, ...]:
    entry = Struct(f"{image.mark}IHHII")
    names = []
    for _ in range(count):
        *_, name, following = entry.unpack(image.at(address, entry.size, "a version name"))
        names.append(strings.name(name))
        if not following:
            break
        address += following
    return tuple(names)
