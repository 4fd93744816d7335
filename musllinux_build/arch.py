"""The six architectures, one row each: every name an architecture goes by has its only home here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfIdentity:
    """What the ELF header of every object of an architecture says (gABI, "ELF Header" and the psABI of each).

    ``flags_mask`` and ``flags_value`` are applied to ``e_flags``; a zero mask accepts all.
    """

    machine: int
    bits: Literal[32, 64]
    order: Literal["little", "big"]
    flags_mask: int = 0
    flags_value: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchRow:
    """Every name of one architecture."""

    oci_architecture: str
    oci_variant: str | None
    uname: str
    """``uname -m`` under the right personality; also the last part of the platform tag (PEP 656)."""
    apk: str
    """Alpine's CARCH, the directory below a repository."""
    triple: str
    """Alpine's compiler triple: ``/usr/lib/gcc/<triple>/<version>`` and ``--target``."""
    multiarch: str
    """CPython's PLATFORM_TRIPLET on musl: ``cpython-311-<multiarch>.so`` (3.11 and later)."""
    elf: ElfIdentity
    loader: str
    """File name of the loader below ``/lib``, the PT_INTERP of every executable."""
    libc_soname: str
    """SONAME of Alpine's libc, a link to the loader."""
    personality: Literal["linux32"] | None = None
    """Prefix of every command when the kernel is 64-bit (personality(2))."""
    qemu: str
    """Suffix of the qemu-user binary and of Debian's binfmt entry."""


class Arch(Enum):
    """An architecture of the platform tag; ``Arch("aarch64")`` parses, ``.value`` formats."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"
    I686 = "i686"
    PPC64LE = "ppc64le"
    S390X = "s390x"
    ARMV7L = "armv7l"

    @property
    def row(self) -> ArchRow:
        """The names of this architecture."""
        return ROWS[self]

    @property
    def oci_platform(self) -> str:
        """``os/architecture[/variant]`` as OCI image indexes and ``--platform`` write it."""
        variant = f"/{self.row.oci_variant}" if self.row.oci_variant else ""
        return f"linux/{self.row.oci_architecture}{variant}"

    @classmethod
    def from_oci(cls, architecture: str, variant: str | None = None) -> Arch | None:
        """The architecture an OCI image configuration names, None for one that is not ours."""
        for arch, row in ROWS.items():
            # Older engines leave the variant out; ours is the only one of its architecture.
            if row.oci_architecture == architecture and (not row.oci_variant or variant in (row.oci_variant, "", None)):
                return arch
        return None

    @classmethod
    def from_machine(cls, machine: str) -> Arch | None:
        """The architecture of ``uname -m`` or an engine's ``Architecture``; None for one that is not ours."""
        try:
            return cls(machine)
        except ValueError:
            return _MACHINES.get(machine)

    def runs_natively_on(self, engine: Arch) -> bool:
        """Whether a kernel of ``engine`` executes this architecture without an emulator.

        i686 on x86_64 always does; armv7l on aarch64 depends on the processor's EL0 and is proven by executing.
        """
        return self is engine or (self is Arch.I686 and engine is Arch.X86_64)


ROWS: dict[Arch, ArchRow] = {
    Arch.X86_64: ArchRow(
        oci_architecture="amd64",
        oci_variant=None,
        uname="x86_64",
        apk="x86_64",
        triple="x86_64-alpine-linux-musl",
        multiarch="x86_64-linux-musl",
        elf=ElfIdentity(machine=62, bits=64, order="little"),
        loader="ld-musl-x86_64.so.1",
        libc_soname="libc.musl-x86_64.so.1",
        qemu="x86_64",
    ),
    Arch.AARCH64: ArchRow(
        oci_architecture="arm64",
        oci_variant=None,
        uname="aarch64",
        apk="aarch64",
        triple="aarch64-alpine-linux-musl",
        multiarch="aarch64-linux-musl",
        elf=ElfIdentity(machine=183, bits=64, order="little"),
        loader="ld-musl-aarch64.so.1",
        libc_soname="libc.musl-aarch64.so.1",
        qemu="aarch64",
    ),
    Arch.I686: ArchRow(
        oci_architecture="386",
        oci_variant=None,
        uname="i686",
        apk="x86",
        triple="i586-alpine-linux-musl",
        multiarch="i386-linux-musl",
        elf=ElfIdentity(machine=3, bits=32, order="little"),
        loader="ld-musl-i386.so.1",
        libc_soname="libc.musl-x86.so.1",
        personality="linux32",
        qemu="i386",
    ),
    Arch.PPC64LE: ArchRow(
        oci_architecture="ppc64le",
        oci_variant=None,
        uname="ppc64le",
        apk="ppc64le",
        triple="powerpc64le-alpine-linux-musl",
        multiarch="powerpc64le-linux-musl",
        # ELFv2: the low two bits of e_flags (OpenPOWER ELF V2 ABI, 4.1).
        elf=ElfIdentity(machine=21, bits=64, order="little", flags_mask=0x3, flags_value=0x2),
        loader="ld-musl-powerpc64le.so.1",
        libc_soname="libc.musl-ppc64le.so.1",
        qemu="ppc64le",
    ),
    Arch.S390X: ArchRow(
        oci_architecture="s390x",
        oci_variant=None,
        uname="s390x",
        apk="s390x",
        triple="s390x-alpine-linux-musl",
        multiarch="s390x-linux-musl",
        elf=ElfIdentity(machine=22, bits=64, order="big"),
        loader="ld-musl-s390x.so.1",
        libc_soname="libc.musl-s390x.so.1",
        qemu="s390x",
    ),
    Arch.ARMV7L: ArchRow(
        oci_architecture="arm",
        oci_variant="v7",
        uname="armv7l",
        apk="armv7",
        triple="armv7-alpine-linux-musleabihf",
        multiarch="arm-linux-musleabihf",
        # EABI version 5 (ELF for the Arm Architecture, EF_ARM_EABIMASK); the float ABI flag is optional in objects.
        elf=ElfIdentity(machine=40, bits=32, order="little", flags_mask=0xFF000000, flags_value=0x05000000),
        loader="ld-musl-armhf.so.1",
        libc_soname="libc.musl-armv7.so.1",
        personality="linux32",
        qemu="arm",
    ),
}

_MACHINES: Mapping[str, Arch] = MappingProxyType(
    {"amd64": Arch.X86_64, "arm64": Arch.AARCH64, "i386": Arch.I686, "i586": Arch.I686, "armv8l": Arch.ARMV7L}
)
"""What kernels and engines call them besides."""

OTHER_NAMES: Mapping[str, Arch] = MappingProxyType(
    {
        **_MACHINES,
        **dict.fromkeys(("x64", "x86-64"), Arch.X86_64),
        **dict.fromkeys(("x86", "386"), Arch.I686),
        **dict.fromkeys(("arm", "armv7", "armhf", "arm/v7"), Arch.ARMV7L),
        **dict.fromkeys(("ppc64el", "powerpc64le"), Arch.PPC64LE),
        "arm64v8": Arch.AARCH64,
    }
)
"""What people used to other tools write: known, to say what is meant, and not taken."""
