"""musl-dev, linux-headers and gcc's runtime for an Alpine root, from Debian's packages of the same things."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.policy import PolicyRow
from tests.lab.apk import Entry, Kind, Package, moved
from tests.lab.commands import run
from tests.lab.cxx import GCC, Runtime
from tests.lab.debian import Apt
from tests.lab.targets import DEBIAN
from tests.lab.toolchain import write_wrappers

GCC_RUNTIME = re.compile(r"(?:crtbegin[ST]?|crtend[S]?|crtfastmath|crtprec\d+)\.o|libgcc(?:_eh)?\.a")

GETAUXVAL = """
unsigned long getauxval(unsigned long);
__attribute__((visibility("hidden"))) unsigned long __getauxval(unsigned long type) { return getauxval(type); }
"""
"""The atomics in Debian's aarch64 libgcc ask glibc's name; hidden, so that no linked file exports or imports it."""

LICENSES = {"musl-dev": "MIT", "linux-headers": "GPL-2.0-only", "gcc": "GPL-3.0-or-later"}

UNWINDER_FLAGS: dict[Arch, tuple[str, ...]] = {
    **dict.fromkeys(Arch, ()),
    # Here tables of C with exceptions ask for the unwinder (EHABI), and no C++ is there to give it the type of a type.
    Arch.ARMV7L: ("-fno-rtti",),
}

ATOMIC = Path(__file__).with_name("atomic.c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A package and what it installs."""

    package: Package
    entries: tuple[Entry, ...]


def read_tree(root: Path) -> tuple[Entry, ...]:
    """Every file and link below a directory, in order; directories follow from them."""
    entries = []
    for directory, _, _ in sorted(os.walk(root)):
        for path in sorted(Path(directory).iterdir()):
            name = str(path.relative_to(root))
            if path.is_symlink():
                entries.append(Entry(path=name, kind=Kind.LINK, content=str(path.readlink()).encode()))
            elif path.is_file():
                mode = 0o755 if path.stat().st_mode & 0o111 else 0o644
                entries.append(Entry(path=name, kind=Kind.FILE, mode=mode, content=path.read_bytes()))
    return tuple(entries)


def rebase(entries: Iterable[Entry], old: str, new: str) -> tuple[Entry, ...]:
    """The entries below ``old``, now below ``new``."""
    return tuple(moved(entry, new + entry.path.removeprefix(old)) for entry in entries if entry.path.startswith(old))


def install(entries: Iterable[Entry], root: Path) -> None:
    """Writes entries into a root, over what is there."""
    for entry in entries:
        path = root / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if entry.kind is Kind.LINK:
            path.symlink_to(entry.content.decode())
        elif entry.kind is Kind.FILE:
            path.write_bytes(entry.content)
            path.chmod(entry.mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class SysrootMaker:
    """Makes the sysroot of one architecture and the packages it consists of."""

    apt: Apt
    zig: Path
    arch: Arch
    directory: Path
    """Private to this architecture."""

    @property
    def sysroot(self) -> Path:
        return self.directory / "sysroot"

    def make(self, minirootfs: Path, branches: Sequence[PolicyRow]) -> tuple[tuple[Built, ...], Built, Built]:
        """musl-dev of every branch, linux-headers and gcc's runtime.

        They are also installed in a fresh ``self.sysroot`` beside the stock root's files.
        """
        shutil.rmtree(self.sysroot, ignore_errors=True)
        self.sysroot.mkdir(parents=True)
        with tarfile.open(minirootfs) as archive:
            # The stock root has absolute links, which only this filter keeps; Debian 12's Python knows no filters.
            archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
            archive.extractall(self.sysroot)
        entries, version = self._musl_dev()
        install(entries, self.sysroot)
        kernel = self._linux_headers({entry.path for entry in entries})
        install(kernel.entries, self.sysroot)
        runtime = self._runtime()
        install(runtime.entries, self.sysroot)
        return tuple(self._musl_package(row, entries, version) for row in branches), kernel, runtime

    def _unpacked(self, name: str) -> tuple[tuple[Entry, ...], str]:
        """The files of a Debian package, and its version without Debian's revision."""
        deb = self.apt.deb(name, DEBIAN[self.arch].architecture)
        target = self.directory / "unpacked" / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        run(["dpkg-deb", "--extract", deb, target])
        version = run(["dpkg-deb", "--field", deb, "Version"]).decode().strip()
        entries = read_tree(target)
        shutil.rmtree(target)
        return entries, re.split(r"[-+]", version)[0]

    def _package(self, name: str, version: str, description: str, depends: tuple[str, ...] = ()) -> Package:
        return Package(
            name=name,
            version=version,
            arch=self.arch.row.apk,
            description=description,
            license=LICENSES[name],
            origin=name.removesuffix("-dev"),
            depends=depends,
        )

    def _musl_dev(self) -> tuple[tuple[Entry, ...], str]:
        debian, version = self._unpacked("musl-dev")
        triple = self.arch.row.multiarch
        wanted = re.compile(r"usr/lib/(?:[^/]*crt[1in]\.o|lib(?!c\.a)[^/]*\.a)")
        libraries = rebase(debian, f"usr/lib/{triple}/", "usr/lib/")
        entries = (
            *rebase(debian, f"usr/include/{triple}/", "usr/include/"),
            *(entry for entry in libraries if wanted.fullmatch(entry.path)),
            # Links against the root's musl and no other: a symbol it lacks fails the link. The link must be
            # relative, or it would lead out of a sysroot.
            Entry(path="usr/lib/libc.so", kind=Kind.LINK, content=f"../../lib/{self.arch.row.loader}".encode()),
        )
        return entries, version

    def _musl_package(self, branch: PolicyRow, entries: tuple[Entry, ...], version: str) -> Built:
        pinned = branch.musl_package
        description = f"musl development files (headers and crt of Debian's musl {version}, libc of musl {pinned})"
        package = self._package("musl-dev", pinned, description, depends=(f"musl={pinned}",))
        return Built(package=package, entries=entries)

    def _linux_headers(self, taken: set[str]) -> Built:
        debian, version = self._unpacked("linux-libc-dev")
        multiarch = f"usr/include/{DEBIAN[self.arch].multiarch}/"
        common = (entry for entry in debian if entry.path.startswith("usr/include/"))
        entries = (
            *(entry for entry in common if not entry.path.startswith(multiarch) and entry.path not in taken),
            *rebase(debian, multiarch, "usr/include/"),
        )
        package = self._package("linux-headers", f"{version}-r0", "Linux kernel headers (Debian's linux-libc-dev)")
        return Built(package=package, entries=entries)

    def _runtime(self) -> Built:
        debian, version = self._unpacked(f"libgcc-{GCC}-dev")
        target = f"usr/lib/gcc/{self.arch.row.triple}/{GCC}/"
        runtime = rebase(debian, f"usr/lib/gcc/{DEBIAN[self.arch].gcc}/{GCC}/", target)
        kept = [entry for entry in runtime if GCC_RUNTIME.fullmatch(entry.path.removeprefix(target))]
        if self.arch is Arch.AARCH64:
            archive = next(entry for entry in kept if entry.path.endswith("/libgcc.a"))
            kept[kept.index(archive)] = self._with_getauxval(archive)
        archive = next(entry for entry in kept if entry.path.endswith("/libgcc_eh.a"))
        kept[kept.index(archive)] = self._unwinder(archive)
        kept.append(Entry(path=f"{target}libatomic.a", kind=Kind.FILE, content=self._libatomic()))
        # Release 0 had no compiler, release 1 an empty libatomic.
        package = self._package("gcc", f"{version}-r2", "gcc's runtime files", depends=("musl-dev",))
        return Built(package=package, entries=tuple(kept))

    def _unwinder(self, archive: Entry) -> Entry:
        tools = write_wrappers(self.zig, self.arch, self.sysroot, self.directory / "tools")
        maker = Runtime(lib=self.zig.parent / "lib", tools=tools, scratch=self.directory / "runtime")
        return Entry(
            path=archive.path, kind=Kind.FILE, content=maker.unwinder(archive.content, *UNWINDER_FLAGS[self.arch])
        )

    def _with_getauxval(self, archive: Entry) -> Entry:
        scratch = self._scratch("libgcc")
        library, source = scratch / "libgcc.a", scratch / "getauxval.c"
        library.write_bytes(archive.content)
        source.write_text(GETAUXVAL)
        return Entry(path=archive.path, kind=Kind.FILE, content=self._added(source, library))

    def _libatomic(self) -> bytes:
        return self._added(ATOMIC, self._scratch("libatomic") / "libatomic.a")

    def _scratch(self, name: str) -> Path:
        scratch = self.directory / name
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        return scratch

    def _added(self, source: Path, library: Path) -> bytes:
        """An archive with one more object, or with one alone; what it defines is hidden in what it is linked into."""
        tools = write_wrappers(self.zig, self.arch, self.sysroot, self.directory / "tools")
        compiled = library.with_name(f"{source.stem}.o")
        run([tools / "cc", "-O2", "-fPIC", "-fvisibility=hidden", "-c", source, "-o", compiled])
        run([tools / "ar", "crsD", library, compiled])
        return library.read_bytes()
