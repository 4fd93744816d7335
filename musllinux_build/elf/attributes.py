"""``.ARM.attributes``: what an arm object says it was compiled for (Addenda to the ABI for the Arm Architecture).

The one thing that is read through section headers. It decides nothing about loading and is never trusted: whatever does
not fit ends the reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct

SECTION = 0x70000003
"""SHT_ARM_ATTRIBUTES."""
CPU_ARCH, VFP_ARGS = 6, 28
STRINGS = frozenset({4, 5, 65, 67})
COMPATIBILITY = 32
MOST_SECTIONS = 4096
LARGEST = 4096
ARCH_NAMES = (
    "pre-v4",
    "v4",
    "v4T",
    "v5T",
    "v5TE",
    "v5TEJ",
    "v6",
    "v6KZ",
    "v6T2",
    "v6K",
    "v7",
    "v6-M",
    "v6S-M",
    "v7E-M",
)
V7, V8 = 10, 14
"""Values of Tag_CPU_arch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmAttributes:
    """``cpu`` is Tag_CPU_arch; ``hard_float`` whether Tag_ABI_VFP_args says that arguments go in VFP registers."""

    cpu: int | None = None
    hard_float: bool | None = None

    @property
    def cpu_name(self) -> str:
        """``v7``, ``v8`` or ``unknown``."""
        if self.cpu is None:
            return "unknown"
        return ARCH_NAMES[self.cpu] if self.cpu < len(ARCH_NAMES) else "v8" if self.cpu == V8 else "v8 or later"


def read_arm_attributes(data: memoryview) -> ArmAttributes:
    """The file-wide attributes of the 32-bit little-endian object in ``data``."""
    values = _parse(_find_section(data))
    found = values.get(VFP_ARGS)
    return ArmAttributes(cpu=values.get(CPU_ARCH), hard_float=None if found is None else found == 1)


def _find_section(data: memoryview) -> bytes:
    start, size, count = (int.from_bytes(data[at : at + width], "little") for at, width in ((32, 4), (46, 2), (48, 2)))
    row = Struct("<10I")
    if not start or size != row.size or count > MOST_SECTIONS or start + size * count > len(data):
        return b""
    for _, kind, _, _, offset, length, *_ in row.iter_unpack(data[start : start + size * count]):
        if kind == SECTION and offset + length <= len(data):
            return bytes(data[offset : offset + min(length, LARGEST)])
    return b""


def _parse(content: bytes) -> Mapping[int, int]:
    """Version ``A``, then one subsection: length, vendor, and the file-wide tags (tag 1, length)."""
    vendor_end = content.find(b"\0", 5)
    if content[:1] != b"A" or content[5 : max(vendor_end, 5)] != b"aeabi":
        return {}
    position = vendor_end + 1
    if content[position : position + 1] != b"\1":
        return {}
    end = min(len(content), position + int.from_bytes(content[position + 1 : position + 5], "little"))
    position += 5
    values: dict[int, int] = {}
    while position < end:
        tag, position = _uleb(content, position)
        if tag == COMPATIBILITY:
            _, position = _uleb(content, position)
        if tag in STRINGS or tag == COMPATIBILITY or (tag > COMPATIBILITY and tag % 2):
            position = content.find(b"\0", position, end) + 1 or end
        else:
            values[tag], position = _uleb(content, position)
    return values


def _uleb(content: bytes, position: int) -> tuple[int, int]:
    """A number in ULEB128 and the position behind it; ends with the content."""
    value = shift = 0
    while position < len(content) and shift < 64:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return value, position
