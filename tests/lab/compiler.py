"""The packages gcc and g++: clang and lld of the ziglang wheel for the root's own architecture, under gcc's names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.toolchain import clang_cfg, target_names
from tests.lab.apk import Entry, Kind, Package
from tests.lab.commands import run
from tests.lab.cxx import HEADERS, LIBRARY, Runtime, read_headers
from tests.lab.sysroot import Built, install, read_tree, rebase
from tests.lab.toolchain import VERSION, read_executable

HERE = Path(__file__).parent
LAUNCHER = HERE.parents[1] / "toolchains" / "launcher.c"
HOME = "usr/libexec/gcc/"
"""Not below usr/lib, which is copied into sysroots for cross compilers."""

DESCRIPTION = f"clang of ziglang {VERSION} under the names of gcc; runtime files of gcc (Debian's), LLVM's unwinder"
CXX_DESCRIPTION = "clang's C++ driver under the names of g++; libc++ and libc++abi as a static libstdc++"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerMaker:
    """Makes the compiler of one architecture; ``work`` has the wheels, ``tools`` the cross compiler."""

    arch: Arch
    work: Path
    zig: Path
    tools: Path
    sysroot: Path
    scratch: Path

    def make(self, runtime: Built) -> tuple[Built, Built]:
        """gcc, which has ``runtime``'s files too, and g++; what g++ compiles with is also put in the sysroot."""
        launcher = self._launcher()
        names = [name for name in target_names(self.arch) if "clang" not in name]
        cxx = [name for name in names if name.endswith("++")]
        plain = [name for name in names if name not in cxx]
        executable = read_executable(self.work, self.arch)
        home = f"{HOME}targets/{self.arch.value}/"
        entries = (
            *runtime.entries,
            Entry(path=f"{HOME}zig", kind=Kind.FILE, mode=0o755, content=executable),
            Entry(path=f"{home}clang.cfg", kind=Kind.FILE, content=clang_cfg(self.arch).encode()),
            *self._resources(),
            *self._commands(plain, launcher),
        )
        gcc = Built(package=self._package("gcc", runtime.package, ("musl-dev",)), entries=tuple(entries))
        libraries = self._libraries()
        gxx = Built(
            package=self._package("g++", runtime.package, (f"gcc={runtime.package.version}", "musl-dev")),
            entries=(*libraries, *self._commands(cxx, launcher)),
        )
        return gcc, gxx

    def _package(self, name: str, like: Package, depends: tuple[str, ...]) -> Package:
        return Package(
            name=name,
            version=like.version,
            arch=like.arch,
            description=DESCRIPTION if name == "gcc" else CXX_DESCRIPTION,
            license="Apache-2.0 WITH LLVM-exception AND GPL-3.0-or-later WITH GCC-exception-3.1 AND MIT",
            origin="gcc",
            depends=depends,
            url="https://llvm.org/",
        )

    def _launcher(self) -> bytes:
        """The command behind every name, of the root's architecture."""
        made = self.scratch / "compiler"
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        flags = ["-D_GNU_SOURCE", "-Os", "-w", f"-I{LAUNCHER.parent}", "-Wl,-s"]
        run([self.tools / "cc", *flags, HERE / "compiler.c", "-o", made])
        return made.read_bytes()

    def _resources(self) -> tuple[Entry, ...]:
        """clang's own headers."""
        return rebase(read_tree(self.zig.parent / "lib" / "include"), "", f"{HOME}lib/include/")

    def _commands(self, names: list[str], launcher: bytes) -> Iterator[Entry]:
        """The names, each a program of its own as the launcher wants it, and links to them in PATH."""
        place = f"{HOME}targets/{self.arch.value}/bin/"
        for name in names:
            yield Entry(path=f"{place}{name}", kind=Kind.FILE, mode=0o755, content=launcher)
            if name != "ld.lld":
                target = f"../{place.removeprefix('usr/')}{name}"
                yield Entry(path=f"usr/bin/{name}", kind=Kind.LINK, content=target.encode())

    def _libraries(self) -> tuple[Entry, ...]:
        headers = read_headers(self.zig.parent / "lib")
        install(headers, self.sysroot)
        maker = Runtime(lib=self.zig.parent / "lib", tools=self.tools, scratch=self.scratch)
        library = Entry(path=LIBRARY, kind=Kind.FILE, content=maker.standard_library(self.sysroot / HEADERS))
        install((library,), self.sysroot)
        return (*headers, library)
