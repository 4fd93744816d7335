"""What one ELF object says about itself, as far as musl's loader or the promise of a tag cares."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Literal

from musllinux_build.arch import Arch, ElfIdentity
from musllinux_build.elf.attributes import ArmAttributes

GLIBC_LIBRARY = re.compile(
    r"ld-linux|ld64\.so|lib(?:c|pthread|rt|m|dl|util|resolv|nsl|crypt|anl|mvec|thread_db|BrokenLocale)\.so"
)
"""The file names of glibc's own libraries."""
GLIBC_SIGN = re.compile(r"ld-linux|ld64\.so|libc\.so\.6$")
DF_1_PIE = 0x08000000


class ElfKind(Enum):
    """e_type of the ELF header (gABI, "ELF Header")."""

    RELOCATABLE = 1
    EXECUTABLE = 2
    SHARED = 3
    CORE = 4
    OTHER = 0
    """A number of an operating system or a processor, or none at all."""


class Hazard(Enum):
    """What a relocation or symbol kind does that musl's loader does not, or not everywhere."""

    IFUNC = "ifunc"
    """A use of STT_GNU_IFUNC or R_*_IRELATIVE: musl has no indirect functions."""
    EXPORTED_IFUNC = "ifunc-exported"
    """STT_GNU_IFUNC of which it makes no use itself; musl does not find it for others."""
    INITIAL_EXEC_TLS = "initial-exec-tls"
    """R_*_TPOFF: a library loaded by dlopen has no place in the static TLS block."""
    RELR = "relr"
    """DT_RELR: applied since musl 1.2.4, silently ignored before."""
    TEXT_RELOCATIONS = "text-relocations"
    UNMARKED_TEXT_RELOCATIONS = "text-relocations-unmarked"
    """DF_TEXTREL without DT_TEXTREL and a relocation in code: musl looks for the tag alone and writes all the same."""
    EXECUTABLE_STACK = "executable-stack"
    PACKED_RELOCATIONS = "packed-relocations"
    """DT_ANDROID_REL or DT_ANDROID_RELA: only Android's loader unpacks them."""
    STATIC_TLS_FLAG = "static-tls-flag"
    """DF_STATIC_TLS in DT_FLAGS, which musl ignores: the relocations decide."""


class LibcFlavour(Enum):
    """For which C library an object was linked, as far as it says."""

    MUSL = "musl"
    GLIBC = "glibc"
    NEUTRAL = "neutral"


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
    relocation_types: frozenset[int] = frozenset()
    has_hash: bool = True
    """Whether there is a DT_HASH or DT_GNU_HASH: musl's symbol lookup does not survive an object with neither."""
    has_tls: bool = False
    dynamic_flags: int = 0
    """DT_FLAGS_1."""
    stack_size: int = 0
    """p_memsz of PT_GNU_STACK."""
    page_size: int = 1 << 16
    """The largest page, up to 64 KiB, on which every segment's address and offset agree; less than 4096 is broken."""
    build_id: str | None = None
    isa: int = 0
    """The x86-64 level its .note.gnu.property names (2, 3, 4); 1 is the baseline, 0 says nothing."""
    arm: ArmAttributes | None = None

    @property
    def search_path(self) -> str | None:
        """What musl searches for this object's needs: DT_RUNPATH when there is one, else DT_RPATH."""
        return self.runpath if self.runpath is not None else self.rpath

    @property
    def is_program(self) -> bool:
        """Whether it is started, not loaded; a library may have an interpreter too, to print its version."""
        if self.kind is ElfKind.EXECUTABLE:
            return True
        if self.python_init:
            return False
        named_library = self.soname is not None or ".so" in self.path.rpartition("/")[2]
        return bool(self.dynamic_flags & DF_1_PIE) or (self.interp is not None and not named_library)

    @property
    def glibc_versions(self) -> tuple[str, ...]:
        """The versions it wants of glibc's own libraries, sorted."""
        # libgcc_s has a version GLIBC_2.0 of its own on some architectures; only glibc's libraries count.
        wanted = (need for need in self.version_needs if GLIBC_LIBRARY.match(need.library))
        return tuple(sorted({name for need in wanted for name in need.versions if name.startswith("GLIBC_")}))

    @property
    def libc(self) -> LibcFlavour:
        """Which C library it was linked for."""
        names = (*self.needed, (self.interp or "").rpartition("/")[2])
        if self.glibc_versions or any(GLIBC_SIGN.match(name) for name in names):
            return LibcFlavour.GLIBC
        if any(name.startswith(("libc.musl-", "ld-musl-")) for name in names):
            return LibcFlavour.MUSL
        return LibcFlavour.NEUTRAL

    @property
    def arch(self) -> Arch | None:
        """Our name of its architecture, None for one that is not ours."""
        return next((arch for arch in Arch if self.fits(arch.row.elf)), None)

    @property
    def python_init(self) -> bool:
        """Whether CPython can import it: PEP 489's ``PyInit_``/``PyInitU_`` or PEP 793's ``PyModExport_``."""
        # Nearly always it is called like its file, and the names need not be looked through.
        return f"PyInit_{posixpath.basename(self.path).partition('.')[0]}" in self.exports or _has_init(self.exports)

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


@lru_cache(maxsize=256)
def _has_init(exports: frozenset[str]) -> bool:
    # Asked for several times, of sets with a hundred thousand names, which keep their hash.
    return any(name.startswith(("PyInit_", "PyInitU_", "PyModExport_")) for name in exports)
