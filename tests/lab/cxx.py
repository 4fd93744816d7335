"""A static C++ library and an unwinder for an Alpine root, from LLVM's sources inside the ziglang wheel.

They lie where a gcc has its own, so that every clang driver that looks for libstdc++ and libgcc_eh finds them: the
compiler of the lab's packages as well as the product's.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.lab.apk import Entry, Kind
from tests.lab.commands import run

GCC = "12"
"""Debian's gcc release, the last part of the directories clang finds a gcc's runtime and C++ headers in."""

HEADERS = f"usr/include/c++/{GCC}/"
LIBRARY = "usr/lib/libstdc++.a"

ZIG_REMARK = "/* zig patch: instead of including __config_site, zig adds -D flags when compiling */"
"""What stands in the wheel's headers where LLVM includes the site's configuration."""

CONFIG_SITE = """#ifndef _LIBCPP___CONFIG_SITE
#define _LIBCPP___CONFIG_SITE
#define _LIBCPP_ABI_VERSION 1
#define _LIBCPP_ABI_NAMESPACE __1
#define _LIBCPP_HAS_THREADS 1
#define _LIBCPP_HAS_MONOTONIC_CLOCK 1
#define _LIBCPP_HAS_TERMINAL 1
#define _LIBCPP_HAS_MUSL_LIBC 1
#define _LIBCPP_HAS_THREAD_API_PTHREAD 1
#define _LIBCPP_HAS_THREAD_API_EXTERNAL 0
#define _LIBCPP_HAS_THREAD_API_WIN32 0
#define _LIBCPP_HAS_THREAD_API_C11 0
#define _LIBCPP_HAS_VENDOR_AVAILABILITY_ANNOTATIONS 0
#define _LIBCPP_HAS_FILESYSTEM 1
#define _LIBCPP_HAS_RANDOM_DEVICE 1
#define _LIBCPP_HAS_LOCALIZATION 1
#define _LIBCPP_HAS_UNICODE 1
#define _LIBCPP_HAS_WIDE_CHARACTERS 1
#define _LIBCPP_HAS_TIME_ZONE_DATABASE 0
#define _LIBCPP_INSTRUMENTED_WITH_ASAN 0
#define _LIBCPP_HARDENING_MODE_DEFAULT 2
#define _LIBCPP_ASSERTION_SEMANTIC_DEFAULT 2
#define _LIBCPP_PSTL_BACKEND_SERIAL
#define _LIBCPP_LIBC_PICOLIBC 0
#define _LIBCPP_LIBC_NEWLIB 0
#endif
"""

# Hidden: what is linked into a shared library stays in it.
COMMON = ("-O2", "-fPIC", "-w", "-DNDEBUG", "-D_GNU_SOURCE", "-ffunction-sections", "-fdata-sections")
HIDDEN = ("-fvisibility=hidden", "-fvisibility-inlines-hidden")

LEFT_OUT = ("cxa_noexception.cpp", "int128_builtins.cpp")
"""For builds without exceptions, and for compilers without libgcc."""

UNWINDER = (
    "libunwind.cpp",
    "Unwind-EHABI.cpp",
    "UnwindLevel1.c",
    "UnwindLevel1-gcc-ext.c",
    "gcc_personality_v0.c",
    "UnwindRegistersRestore.S",
    "UnwindRegistersSave.S",
)


def read_headers(lib: Path) -> tuple[Entry, ...]:
    """libc++'s headers as LLVM installs them."""
    entries = [Entry(path=f"{HEADERS}__config_site", kind=Kind.FILE, content=CONFIG_SITE.encode())]
    for root in (lib / "libcxx" / "include", lib / "libcxxabi" / "include"):
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            content = path.read_bytes().replace(ZIG_REMARK.encode(), b"#include <__config_site>")
            entries.append(Entry(path=f"{HEADERS}{path.relative_to(root)}", kind=Kind.FILE, content=content))
    return tuple(entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Compiles the wheel's ``lib`` for one architecture with the cross compiler in ``tools``."""

    lib: Path
    tools: Path
    scratch: Path

    def unwinder(self, kept: bytes, *flags_of_arch: str) -> bytes:
        """``libgcc_eh.a``: LLVM's unwinder, and of gcc's archive what is not about unwinding.

        gcc's own asks for glibc's ``_dl_find_object``, which no musl has.
        """
        home = self.lib / "libunwind"
        sources = [home / "src" / name for name in UNWINDER]
        flags = (
            f"-I{home / 'include'}",
            "-fno-exceptions",
            "-funwind-tables",
            "-nostdinc++",
            "-D_LIBUNWIND_IS_NATIVE_ONLY",
            *flags_of_arch,
        )
        objects = self._compile("unwind", sources, (*COMMON, "-fvisibility=hidden", *flags))
        old = objects[0].parent / "gcc.a"
        old.write_bytes(kept)
        run([self.tools / "ar", "x", old, "emutls.o"], cwd=old.parent)
        return self._archive([*objects, old.parent / "emutls.o"])

    def standard_library(self, headers: Path) -> bytes:
        """``libstdc++.a``: libc++ and libc++abi in one archive."""
        cxx, abi = self.lib / "libcxx", self.lib / "libcxxabi"
        sources = [
            path
            for directory in (cxx / "src", cxx / "src" / "ryu", cxx / "src" / "filesystem", abi / "src")
            for path in sorted(directory.glob("*.cpp"))
            if path.name not in LEFT_OUT
        ]
        flags = ["-std=c++23", "-nostdinc++", "-isystem", str(headers), "-D_LIBCPP_BUILDING_LIBRARY"]
        flags += ["-DLIBCXX_BUILDING_LIBCXXABI", "-D_LIBCXXABI_BUILDING_LIBRARY"]
        flags += ["-DLIBC_NAMESPACE=__llvm_libc_common_utils"]
        flags += [f"-I{path}" for path in (cxx / "src", cxx / "libc", abi / "include", abi / "src")]
        return self._archive(self._compile("cxx", sources, (*COMMON, *HIDDEN, *flags)))

    def _compile(self, name: str, sources: Sequence[Path], flags: Sequence[str]) -> list[Path]:
        place = self.scratch / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)

        def compile_one(source: Path) -> Path:
            # Two directories have a file of the same name.
            made = place / f"{source.parent.parent.name}-{source.name}.o"
            driver = "c++" if source.suffix == ".cpp" else "cc"
            prefix = f"-ffile-prefix-map={self.lib}=."
            run([self.tools / driver, *(flags if driver == "c++" else c_flags), prefix, "-c", source, "-o", made])
            return made

        c_flags = [flag for flag in flags if flag not in ("-nostdinc++", "-fvisibility-inlines-hidden")]
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(compile_one, sources))

    def _archive(self, objects: Sequence[Path]) -> bytes:
        made = objects[0].parent / "library.a"
        run([self.tools / "ar", "crsD", made, *objects])
        return made.read_bytes()
