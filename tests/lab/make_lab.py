"""Makes the lab: an offline directory of Alpine bases, sources and signed packages (see README.md beside this file)."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from musllinux_build import arch as arch_table
from musllinux_build import policy as policy_table
from musllinux_build.arch import Arch
from musllinux_build.policy import Policy, PolicyRow
from tests.lab import apk, debian, packages, store, sysroot, targets, toolchain
from tests.lab.commands import LabError, say, step

MACHINE_PACKAGES = (
    "autoconf",
    "automake",
    "binutils",
    "dpkg-dev",
    "gcc",
    "libc6-dev",
    "libltdl-dev",
    "libtool",
    "m4",
    "make",
    "mmdebstrap",
    "openssl",
    "perl",
    "pkg-config",
    "xz-utils",
)

RELEASE = Policy.MUSLLINUX_1_2.row
"""The base the repository is for."""


def text_of(*modules: object) -> tuple[Path, ...]:
    """The program texts a result depends on."""
    return tuple(Path(inspect.getfile(module)) for module in modules)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """One run: every method makes one part of the layout unless it is there."""

    store: store.Store
    shared: Path
    archs: tuple[Arch, ...]
    release: PolicyRow

    def make(self) -> None:
        """Everything, in the order others wait for it."""
        apt = debian.Apt(
            directory=self.store.work / "apt",
            architectures=("amd64", *(targets.DEBIAN[arch].architecture for arch in self.archs)),
        )
        self.bases()
        self.sources(apt)
        for arch in self.archs:
            self.sysroot(apt, arch)
        self.builder_root(apt)
        for arch in self.archs:
            self.packages(arch)

    def bases(self) -> None:
        """The stock roots of the architectures."""
        alpine = self.shared / "alpine"
        ends = tuple(f"-{arch.row.apk}.tar.gz" for arch in self.archs)
        names = sorted(path.name for path in alpine.glob("alpine-minirootfs-*") if path.name.endswith(ends))
        digest = store.digest_of(alpine / "SHA512SUMS", names)
        if not self.store.fresh("bases", digest):
            with step("bases"):
                paths = store.copy_bases(alpine, self.store.directory / "bases", names)
                self.store.made("bases", digest, paths)

    def sources(self, apt: debian.Apt) -> None:
        """Upstream's tarballs."""
        directory = self.store.directory / "sources"
        directory.mkdir(parents=True, exist_ok=True)
        for row in debian.SOURCES:
            name = f"source-{row.package}"
            # What makes a row optional does not change what it fetches.
            digest = store.digest_of(row.name, row.package, row.suite)
            if not self.store.fresh(name, digest):
                self.source(apt, row, name, digest)

    def source(self, apt: debian.Apt, row: debian.SourceRow, name: str, digest: str) -> None:
        """One tarball; an optional one may be missing from Debian's archive today."""
        try:
            path = apt.source(row, self.store.directory / "sources")
        except LabError as error:
            if not row.optional:
                raise
            say(f"without {row.package} of {row.suite}: {str(error).splitlines()[-1]}")
            return
        self.store.replace_made(name, [path])
        self.store.made(name, digest, [path])

    def sysroot_digest(self) -> str:
        """What a sysroot, and so everything linked against it, is made from."""
        return store.digest_of(*text_of(sysroot, apk, targets, toolchain, arch_table, policy_table), self.release)

    def sysroot(self, apt: debian.Apt, arch: Arch) -> None:
        """musl-dev, linux-headers and gcc, and the private sysroot they make with the stock root."""
        name = f"sysroot-{arch.value}"
        if self.store.fresh(name, digest := self.sysroot_digest()):
            return
        zig = toolchain.fetch(self.store.work)
        with step(name):
            maker = sysroot.SysrootMaker(
                apt=apt, zig=zig, arch=arch, release=self.release, directory=self.store.work / arch.value
            )
            stock = f"alpine-minirootfs-{self.release.base}-{arch.row.apk}.tar.gz"
            built = maker.make(self.store.directory / "bases" / stock)
            self.store.publish(name, digest, built, self.store.repository(arch, self.release))

    def builder_root(self, apt: debian.Apt) -> None:
        """The Debian that runs native compilers."""
        path = self.store.directory / "bases" / "debian-12-amd64.tar"
        digest = store.digest_of(inspect.getsource(debian.make_builder_root), debian.BUILDER_PACKAGES)
        if not self.store.fresh("builder-root", digest):
            with step(path.name):
                debian.make_builder_root(apt.origin, path)
                self.store.made("builder-root", digest, [path])

    def packages(self, arch: Arch) -> None:
        """The cross-built packages."""
        zig = toolchain.fetch(self.store.work)
        directory = self.store.work / arch.value
        tools = toolchain.write_wrappers(zig, arch, directory / "sysroot", directory / "tools")
        builder = packages.Builder(arch=arch, tools=tools, sysroot=directory / "sysroot", directory=directory)
        for row in packages.BUILDS:
            (tarball,) = (self.store.directory / "sources").glob(f"{row.source}-*")
            name = f"{row.source}-{arch.value}"
            description = (row.source, row.license, row.parts, row.release, packages.DROPPED, tarball.name)
            recipe = (inspect.getsource(row.build), inspect.getsource(packages.Workbench))
            digest = store.digest_of(self.sysroot_digest(), description, recipe)
            if not self.store.fresh(name, digest):
                with step(name):
                    built = builder.build(row, tarball)
                    self.store.publish(name, digest, built, self.store.repository(arch, self.release))


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path.home() / ".cache" / "musllinux-build" / "lab")
    parser.add_argument("--shared", type=Path, default=Path("..") / "shared", help="has alpine/ with the minirootfs")
    parser.add_argument("--arch", type=Arch, action="append", choices=list(Arch), metavar="ARCH")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Exit status 0 when everything is in place, 1 with the reason on standard error."""
    options = parse_arguments(arguments)
    lab = Lab(
        store=store.Store(directory=options.output.resolve()),
        shared=options.shared.resolve(),
        archs=tuple(dict.fromkeys(options.arch or (Arch.X86_64, Arch.AARCH64))),
        release=RELEASE,
    )
    try:
        with lab.store.locked():
            debian.install_missing(MACHINE_PACKAGES)
            lab.make()
    except LabError as error:
        print(f"make_lab: {error}", file=sys.stderr)
        return 1
    say(f"ready: {lab.store.directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
