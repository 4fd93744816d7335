"""What one ELF object says about itself, as far as musl's loader or the promise of a tag cares."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from musllinux_build.arch import Arch, ElfIdentity

GLIBC_VERSIONS = ("GLIBC_", "GLIBC_PRIVATE")


class ElfKind(Enum):
    """e_type of the ELF header (gABI, "ELF Header")."""

    RELOCATABLE = 1
    EXECUTABLE = 2
    SHARED = 3
    CORE = 4


class Hazard(Enum):
    """What a relocation or symbol kind does that musl's loader does not, or not everywhere."""

    IFUNC = "ifunc"
    """STT_GNU_IFUNC or R_*_IRELATIVE: musl has no indirect functions."""
    INITIAL_EXEC_TLS = "initial-exec-tls"
    """R_*_TPOFF: a library loaded by dlopen has no place in the static TLS block."""
    RELR = "relr"
    """DT_RELR: applied since musl 1.2.4, silently ignored before."""
    TEXT_RELOCATIONS = "text-relocations"
    EXECUTABLE_STACK = "executable-stack"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionNeed:
    """One DT_VERNEED entry: the versions (``GLIBC_2.17``) wanted of a library."""

    library: str
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfFacts:
    """One object. ``path`` is where it lies, for messages; strings are decoded with surrogateescape.

    ``exports`` are the definitions musl's symbol lookup accepts: global, weak or unique, not hidden by a version.
    ``undefined`` are the names its relocations must find, ``weak`` those they may miss. Neither holds a name that no
    relocation uses: the loader never looks for it.
    """

    path: str
    kind: ElfKind
    machine: int
    bits: Literal[32, 64]
    order: Literal["little", "big"]
    flags: int
    is_dynamic: bool = False
    interp: str | None = None
    soname: str | None = None
    needed: tuple[str, ...] = ()
    rpath: str | None = None
    runpath: str | None = None
    exports: frozenset[str] = frozenset()
    undefined: frozenset[str] = frozenset()
    weak: frozenset[str] = frozenset()
    version_needs: tuple[VersionNeed, ...] = ()
    hazards: frozenset[Hazard] = frozenset()
    strings: tuple[int, int] = field(default=(0, 0))
    """File offset and size of the dynamic string table."""

    @property
    def search_path(self) -> str | None:
        """What musl searches for this object's needs: DT_RUNPATH when there is one, else DT_RPATH."""
        return self.runpath if self.runpath is not None else self.rpath

    @property
    def arch(self) -> Arch | None:
        """Our name of its architecture, None for one that is not ours."""
        return next((arch for arch in Arch if self.fits(arch.row.elf)), None)

    @property
    def python_init(self) -> bool:
        """Whether CPython can import it: PEP 489's ``PyInit_``/``PyInitU_`` or PEP 793's ``PyModExport_``."""
        return any(name.startswith(("PyInit_", "PyInitU_", "PyModExport_")) for name in self.exports)

    def fits(self, identity: ElfIdentity) -> bool:
        """Whether machine, class, byte order and ABI flags are those of ``identity``."""
        return (
            self.machine == identity.machine
            and self.bits == identity.bits
            and self.order == identity.order
            and self.flags & identity.flags_mask == identity.flags_value
        )

    def describe(self) -> str:
        """``x86_64`` or, for what is not ours, ``machine 8, 32-bit big-endian``."""
        arch = self.arch
        return arch.value if arch else f"machine {self.machine}, {self.bits}-bit {self.order}-endian"
