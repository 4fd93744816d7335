"""Defects of objects: what the loader, the processor or the C library would trip over."""

from __future__ import annotations

from struct import pack

from musllinux_build.arch import Arch
from tests.defects.model import (
    NARROW,
    Defect,
    Make,
    Planted,
    extension,
    in_extension,
    in_library,
    library,
    suffix,
    with_file,
)
from tests.elfgen import Obj, build

OTHER = {
    Arch.X86_64: Arch.AARCH64,
    Arch.AARCH64: Arch.X86_64,
    Arch.I686: Arch.ARMV7L,
    Arch.ARMV7L: Arch.I686,
    Arch.PPC64LE: Arch.AARCH64,
    Arch.S390X: Arch.PPC64LE,
}
OTHER_CLASS = {arch: Arch.X86_64 if arch in NARROW else Arch.I686 for arch in Arch}
OTHER_ORDER = {arch: Arch.X86_64 if arch is Arch.S390X else Arch.S390X for arch in Arch}
GLIBC_LOADERS = {
    Arch.X86_64: "/lib64/ld-linux-x86-64.so.2",
    Arch.AARCH64: "/lib/ld-linux-aarch64.so.1",
    Arch.I686: "/lib/ld-linux.so.2",
    Arch.PPC64LE: "/lib64/ld64.so.2",
    Arch.S390X: "/lib/ld64.so.1",
    Arch.ARMV7L: "/lib/ld-linux-armhf.so.3",
}
ABSOLUTE_32 = {Arch.X86_64: 10, Arch.AARCH64: 258, Arch.I686: 21, Arch.PPC64LE: 1, Arch.S390X: 4, Arch.ARMV7L: 3}
"""A relocation of each psABI that musl does not apply (R_X86_64_32, R_AARCH64_ABS32 and so on)."""
TLSDESC_ARM = 13


def _of_another(table: dict[Arch, Arch]) -> Make:
    return lambda arch: Planted(files={f"demo/x{suffix(arch)}": extension(table[arch])})


def _isa(level: int) -> bytes:
    """A .note.gnu.property with GNU_PROPERTY_X86_ISA_1_NEEDED."""
    row = pack("<IIII", 0xC0008002, 4, 1 << (level - 1), 0)
    return pack("<III4s", 4, len(row), 5, b"GNU\0") + row


def arm_attributes(cpu: int, vfp_args: int = 1) -> bytes:
    """.ARM.attributes with Tag_CPU_name, Tag_CPU_arch and Tag_ABI_VFP_args."""
    tags = b"\x05cortex\0" + bytes([6, cpu, 28, vfp_args])
    file_tags = b"\1" + pack("<I", 5 + len(tags)) + tags
    return b"A" + pack("<I", 4 + 6 + len(file_tags)) + b"aeabi\0" + file_tags


def _musl_itself(arch: Arch) -> Planted:
    name = arch.row.loader.replace(".so.1", "-60d0ed88.so.1")
    module = extension(arch, needed=[name], rpath="$ORIGIN/../demo.libs")
    copy = build(Obj(arch=arch, exports=["__libc_start_main", "stdin", "malloc"]))
    return Planted(files={f"demo/x{suffix(arch)}": module, f"demo.libs/{name}": copy})


def _found_first(arch: Arch) -> Planted:
    name = "liba-0123abcd.so.1"
    module = extension(arch, needed=[name], rpath="$ORIGIN/wrong:$ORIGIN/right")
    files = {f"demo/wrong/{name}": library(OTHER[arch]), f"demo/right/{name}": library(arch)}
    return Planted(files={f"demo/x{suffix(arch)}": module, **files})


def _two_files_one_name(arch: Arch) -> Planted:
    name = "liba-0123abcd.so.1"
    modules = {
        f"demo/{part}{suffix(arch)}": extension(arch, needed=[name], rpath=f"$ORIGIN/{part}") for part in ("x", "y")
    }
    return Planted(files={**modules, f"demo/x/{name}": library(arch), f"demo/y/{name}": library(arch, exports=["a"])})


def _out_of_reach(arch: Arch) -> Planted:
    name = "liba-0123abcd.so.1"
    return Planted(files={f"demo/x{suffix(arch)}": extension(arch, needed=[name]), f"demo.libs/{name}": library(arch)})


def _mixed_time(arch: Arch) -> Planted:
    name = "liba-0123abcd.so.1"
    module = extension(arch, needed=[name], rpath="$ORIGIN", undefined=["__clock_gettime64"])
    old = library(arch, undefined=["clock_gettime", "stat"])
    return Planted(files={f"demo/x{suffix(arch)}": module, f"demo/{name}": old})


def _on_old_musl(arch: Arch) -> Planted:
    module = extension(arch, undefined=["__stat_time64"])
    tag = {"tag": f"cp313-cp313-musllinux_1_1_{arch.value}"}
    return Planted(files={f"demo/x{suffix(arch)}": module}, settings=tag)


def _program(arch: Arch, **parts: object) -> bytes:
    loader = f"/lib/{arch.row.loader}"
    return library(arch, **{"interp": loader, "undefined": ["__libc_start_main"], **parts})


def _foreign_program(arch: Arch) -> Planted:
    program = _program(arch, interp=GLIBC_LOADERS[arch])
    files = {f"demo/x{suffix(arch)}": extension(arch), "demo/tool": program}
    return Planted(files=files, modes={"demo/tool": 0o755})


def _threads(arch: Arch) -> Planted:
    program = _program(arch, undefined=["__libc_start_main", "pthread_create"])
    files = {f"demo/x{suffix(arch)}": extension(arch), "demo/tool": program}
    return Planted(files=files, modes={"demo/tool": 0o755})


UNMARKED = in_extension(dynamic=[(30, 4)], read_only=True, undefined=["malloc"])


def _defect(name: str, rule: str, make: Make, *archs: Arch) -> Defect:
    return Defect(name=name, rule=rule, make=make, archs=frozenset(archs or Arch))


OBJECT_DEFECTS: tuple[Defect, ...] = (
    _defect("symbol of a newer musl", "symbol-too-new", in_extension(undefined=["statx"])),
    _defect("symbol of a newer musl in a library", "symbol-too-new", in_library(undefined=["pthread_getname_np"])),
    _defect("64-bit time below musl 1.2", "symbol-too-new", _on_old_musl, *NARROW),
    _defect("fortified symbol of glibc", "symbol-of-glibc", in_extension(undefined=["__memcpy_chk"])),
    _defect("C++ symbol of glibc", "symbol-of-glibc", in_library(undefined=["__cxa_thread_atexit_impl"])),
    _defect("fcntl64", "symbol-of-glibc", in_extension(undefined=["fcntl64"])),
    _defect("symbol nobody provides", "symbol-not-provided", in_extension(undefined=["forgotten"])),
    _defect("own symbol of a hidden version", "symbol-not-provided", in_library(hidden=["old"], own=["old"])),
    _defect("internal symbol of old musl", "symbol-of-musl-internals", in_extension(undefined=["__block_all_sigs"])),
    _defect("DT_RELR in an extension", "relr", in_extension(relr=True)),
    _defect("DT_RELR in a library", "relr", in_library(relr=True)),
    _defect("relocations packed for Android", "packed-relocations", in_library(dynamic=[(0x60000011, 64)])),
    Defect(
        name="relocation type musl does not apply",
        rule="unknown-relocation",
        make=lambda arch: in_library(relocations=[ABSOLUTE_32[arch]])(arch),
    ),
    _defect("indirect function", "ifunc", in_library(ifunc_used=True)),
    _defect("indirect function for others", "ifunc-exported", in_library(ifunc=True)),
    _defect("IRELATIVE relocation", "ifunc", in_extension(irelative=True)),
    _defect("initial-exec TLS", "initial-exec-tls", in_library(initial_exec=True, thread_data=8)),
    _defect("text relocations not marked", "text-relocations-unmarked", UNMARKED),
    _defect("text relocations", "text-relocations", in_extension(textrel=True)),
    _defect("executable stack", "executable-stack", in_library(exec_stack=True)),
    _defect("DF_STATIC_TLS without need", "static-tls-flag", in_extension(dynamic=[(30, 16)])),
    _defect("no symbol hash", "no-symbol-hash", in_library(no_hash=True)),
    _defect("misaligned segment", "segment-misaligned", in_library(skew=16)),
    _defect("segments for 4 KiB pages only", "page-size", in_library(skew=4096), Arch.AARCH64, Arch.PPC64LE),
    _defect("library nobody brings", "library-not-found", in_extension(needed=["libgone.so.3"])),
    _defect("library of glibc", "library-not-found", in_extension(needed=["libresolv.so.2"])),
    _defect("library only Alpine is sure to have", "library-of-the-system", in_extension(needed=["libz.so.1"])),
    _defect("library out of reach", "library-out-of-reach", _out_of_reach),
    Defect(
        name="wrong architecture found first",
        rule="library-not-loadable",
        make=_found_first,
        also=("wrong-architecture",),
    ),
    _defect("link to libpython", "libpython", in_extension(needed=["libpython3.13.so.1.0"])),
    _defect("wrong machine", "wrong-architecture", _of_another(OTHER)),
    _defect("wrong class", "wrong-architecture", _of_another(OTHER_CLASS)),
    _defect("wrong byte order", "wrong-architecture", _of_another(OTHER_ORDER)),
    _defect("soft-float arm", "wrong-abi-flags", in_extension(flags=0x05000200), Arch.ARMV7L),
    _defect("arm EABI 4", "wrong-abi-flags", in_extension(flags=0x04000000), Arch.ARMV7L),
    _defect("ELFv1 on powerpc64", "wrong-abi-flags", in_extension(flags=1), Arch.PPC64LE),
    _defect("glibc versions", "glibc-versions", in_library(versions={"libc.so.6": ["GLIBC_2.17"]})),
    _defect("program for glibc's loader", "foreign-interpreter", _foreign_program),
    _defect("musl grafted into the wheel", "libc-inside", _musl_itself),
    _defect("library called libm.", "reserved-library-name", in_library(name="libm.so.6")),
    _defect("library that exports what musl does", "interposed-by-musl", in_library(exports=["strlcpy", "crypt"])),
    _defect("two files, one library name", "one-name-two-files", _two_files_one_name),
    _defect("library without a name of its own", "name-not-unique", in_library(name="libfoo.so.1")),
    _defect(
        "an interpreter inside",
        "libpython-inside",
        in_library(exports=["Py_InitializeEx", "Py_BytesMain", "Py_RunMain"]),
    ),
    _defect("two sizes of time_t", "mixed-time64", _mixed_time, *NARROW),
    _defect("x86-64-v2 in an extension", "isa-above-baseline", in_extension(notes=_isa(2)), Arch.X86_64),
    _defect("x86-64-v3 in a library", "isa-above-baseline", in_library(notes=_isa(3)), Arch.X86_64),
    _defect("armv8 in a wheel for armv7", "cpu-above-baseline", in_library(attributes=arm_attributes(14)), Arch.ARMV7L),
    _defect("TLS descriptors on old arm", "tlsdesc-before-fix", in_library(relocations=[TLSDESC_ARM]), Arch.ARMV7L),
    _defect("$LIB in the search path", "search-path-token", in_extension(rpath="$ORIGIN/$LIB")),
    _defect("absolute search path", "search-path-absolute", in_extension(runpath="/usr/local/lib")),
    _defect("search path that escapes", "search-path-escapes", in_extension(runpath="$ORIGIN/../../../lib")),
    _defect("relative search path", "search-path-escapes", in_extension(rpath="demo.libs")),
    _defect("object file", "not-loadable", with_file("demo/x.o", lambda arch: library(arch, kind=1))),
    Defect(
        name="object file called like a library",
        rule="no-dynamic-section",
        make=with_file("demo/y.so", lambda arch: library(arch, kind=1)),
        also=("not-loadable",),
    ),
    _defect("pointer file for an extension", "not-an-object", with_file("demo/y.abi3.so", lambda _: b"version https")),
    _defect("firmware", "foreign-object", with_file("demo/fw.elf", lambda arch: library(arch, machine=83))),
    _defect("fixed addresses in a library", "not-shared", with_file("demo/y.so", lambda arch: library(arch, kind=2))),
    _defect(
        "library with an interpreter",
        "library-with-interpreter",
        lambda arch: in_library(interp=f"/lib/{arch.row.loader}", soname="liba.so")(arch),
    ),
    _defect("threads on the default stack", "small-thread-stack", _threads),
    _defect("program without permission", "program-not-executable", with_file("demo/tool", _program)),
)
