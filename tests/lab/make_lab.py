"""Makes the lab: an offline directory of Alpine bases, sources and signed packages (see README.md beside this file)."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.policy import Policy, PolicyRow
from musllinux_build.toolchain import TARGETS, clang_cfg, target_names
from tests.lab import (
    apk,
    certificates,
    compiler,
    cxx,
    debian,
    packages,
    recipes,
    store,
    sysroot,
    targets,
    toolchain,
)
from tests.lab.commands import LabError, say, step
from tests.lab.packages import Builder, BuildRow

MACHINE_PACKAGES = (
    "autoconf",
    "automake",
    "binutils",
    "dpkg-dev",
    "file",
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
    "tcl",
    "xz-utils",
)

BOTH = (Policy.MUSLLINUX_1_1, Policy.MUSLLINUX_1_2)

JOBS = 2
"""Architectures that are made at once: configure scripts run on one core."""


def text_of(*modules: object) -> tuple[Path, ...]:
    """The program texts a result depends on."""
    return tuple(Path(inspect.getfile(module)) for module in modules)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Branches:
    """The repositories of one architecture, and the release whose root everything is compiled against.

    What is linked against the lower musl runs on the higher, where time_t is the same in both: one compilation serves
    both branches. Debian's headers have the 64-bit time_t of musl 1.2, so on a 32-bit architecture only that branch
    gets programs; the other has the headers, and what is compiled with them does not link there.
    """

    sysroot: PolicyRow
    programs: tuple[PolicyRow, ...]
    headers: tuple[PolicyRow, ...]

    @classmethod
    def of(cls, arch: Arch, policies: Sequence[Policy]) -> Branches:
        """The branches of an architecture for the policies asked for."""
        rows = tuple(policy.row for policy in policies)
        if arch.row.elf.bits == 64:
            return cls(sysroot=Policy.MUSLLINUX_1_1.row, programs=rows, headers=rows)
        newer = Policy.MUSLLINUX_1_2.row
        return cls(sysroot=newer, programs=tuple(row for row in rows if row == newer), headers=rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """One run: every method makes one part of the layout unless it is there."""

    store: store.Store
    shared: Path
    wanted: Mapping[Arch, tuple[Policy, ...]]

    @property
    def archs(self) -> tuple[Arch, ...]:
        """The architectures of this run."""
        return tuple(self.wanted)

    def make(self) -> None:
        """Everything, in the order others wait for it."""
        apt = debian.Apt(
            directory=self.store.work / "apt",
            architectures=("amd64", *(targets.DEBIAN[arch].architecture for arch in self.archs)),
        )
        self.bases()
        self.sources(apt)
        self.builder_root(apt)
        toolchain.fetch(self.store.work)
        self.store.signer()
        done: dict[tuple[int, Arch], Future[None]] = {}
        rows = (None, *recipes.BUILDS)
        # The first architecture is one row ahead: the others take configure's answers from it.
        order = sorted(
            (index + (arch is not self.archs[0]), index, self.archs.index(arch))
            for index in range(len(rows))
            for arch in self.archs
        )
        with ThreadPoolExecutor(JOBS) as pool:
            for _, index, place in order:
                arch = self.archs[place]
                before = [done[key] for key in ((index - 1, arch), (index, self.archs[0])) if key in done]
                done[index, arch] = pool.submit(self.architecture, apt, arch, rows[index], before)
        for each in done.values():
            each.result()

    def architecture(self, apt: debian.Apt, arch: Arch, row: BuildRow | None, before: Sequence[Future[None]]) -> None:
        """One row of one architecture's repositories after those it needs; None is what comes before all rows."""
        for each in before:
            each.result()
        branches = Branches.of(arch, self.wanted[arch])
        if row is not None and branches.programs:
            self.packages(arch, branches, row)
        elif row is None:
            self.sysroot(apt, arch, branches)
            self.certificates(apt, arch, branches)

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
            name = f"source-{row.name}-{row.package}"
            # What makes a row optional does not change what it fetches.
            digest = store.digest_of(row.name, row.package, row.suite, row.pinned)
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

    def sysroot_digest(self, arch: Arch, branches: Branches) -> str:
        """What a sysroot, and so everything linked against it, is made from. Nothing in C++ is among the packages."""
        release = branches.sysroot
        texts = text_of(sysroot, apk, targets, toolchain)
        return store.digest_of(*texts, sysroot.ATOMIC, arch.row, TARGETS[arch], release.base, release.musl_package)

    def sysroot(self, apt: debian.Apt, arch: Arch, branches: Branches) -> None:
        """musl-dev, linux-headers, gcc and g++, and the private sysroot they make with the stock root."""
        name = f"sysroot-{arch.value}"
        compilers = store.digest_of(*text_of(compiler, cxx), compiler.LAUNCHER, compiler.HERE / "compiler.c")
        flags = (clang_cfg(arch), target_names(arch), branches.sysroot.base)
        digest = store.digest_of(self.sysroot_digest(arch, branches), compilers, flags)
        stale = [row for row in branches.headers if not self.store.fresh(f"{name}-{store.branch_of(row)}", digest)]
        if not stale:
            return
        zig = toolchain.fetch(self.store.work)
        with step(name):
            directory = self.store.work / arch.value
            maker = sysroot.SysrootMaker(apt=apt, zig=zig, arch=arch, directory=directory)
            stock = f"alpine-minirootfs-{branches.sysroot.base}-{arch.row.apk}.tar.gz"
            musl, kernel, runtime = maker.make(self.store.directory / "bases" / stock, stale)
            gcc, gxx = compiler.CompilerMaker(
                arch=arch,
                work=self.store.work,
                zig=zig,
                tools=directory / "tools",
                sysroot=maker.sysroot,
                scratch=directory / "runtime",
            ).make(runtime)
            for row, package in zip(stale, musl, strict=True):
                built = (package, kernel, gcc, *((gxx,) if row in branches.programs else ()))
                branch = store.branch_of(row)
                self.store.publish(name, digest, built, branch, self.store.repository(arch, row))

    def certificates(self, apt: debian.Apt, arch: Arch, branches: Branches) -> None:
        """The certificates of authorities, which are no program."""
        name, digest = f"ca-certificates-{arch.value}", store.digest_of(*text_of(certificates))
        for row in branches.programs:
            branch = store.branch_of(row)
            if not self.store.fresh(f"{name}-{branch}", digest):
                built = certificates.make(apt.deb("ca-certificates", "all"), arch)
                self.store.publish(name, digest, (built,), branch, self.store.repository(arch, row))

    def builder_root(self, apt: debian.Apt) -> None:
        """The Debian that runs native compilers."""
        path = self.store.directory / "bases" / "debian-12-amd64.tar"
        digest = store.digest_of(inspect.getsource(debian.make_builder_root), debian.BUILDER_PACKAGES)
        if not self.store.fresh("builder-root", digest):
            with step(path.name):
                debian.make_builder_root(apt.origin, path)
                self.store.made("builder-root", digest, [path])

    def packages(self, arch: Arch, branches: Branches, row: BuildRow) -> None:
        """The packages of one source."""
        directory = self.store.work / arch.value
        (tarball,) = (self.store.directory / "sources").glob(f"{row.source}-*")
        description = (row.source, row.license, row.parts, row.release, row.dropped, row.needs, packages.DROPPED)
        recipe = (inspect.getsource(row.build), inspect.getsource(packages.Workbench))
        source = store.digest_of(description, tarball.name, recipe)
        digest = store.digest_of(self.sysroot_digest(arch, branches), source)
        name, built = f"{row.source}-{arch.value}", tuple[sysroot.Built, ...]()
        for release in branches.programs:
            branch, repository = store.branch_of(release), self.store.repository(arch, release)
            if self.store.fresh(f"{name}-{branch}", digest):
                continue
            others = [store.branch_of(policy.row) for policy in BOTH]
            if not self.store.adopt(name, digest, branch, others, repository):
                with step(name):
                    tools = toolchain.write_wrappers(
                        toolchain.fetch(self.store.work), arch, directory / "sysroot", directory / "tools"
                    )
                    builder = Builder(arch=arch, tools=tools, sysroot=directory / "sysroot", directory=directory)
                    built = built or builder.build(row, tarball, source)
                    self.store.publish(name, digest, built, branch, repository)


def wanted(archs: Sequence[Arch], policies: Sequence[Policy], *, everything: bool) -> dict[Arch, tuple[Policy, ...]]:
    """What a run makes: by default x86_64 for both policies and aarch64 for the newer, as the checks need them."""
    if everything:
        return dict.fromkeys(Arch, BOTH)
    chosen = tuple(dict.fromkeys(archs or (Arch.X86_64, Arch.AARCH64)))
    if policies:
        return dict.fromkeys(chosen, tuple(policy for policy in BOTH if policy in policies))
    return {arch: BOTH if arch is Arch.X86_64 else BOTH[1:] for arch in chosen}


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path.home() / ".cache" / "musllinux-build" / "lab")
    parser.add_argument("--shared", type=Path, default=Path("..") / "shared", help="has alpine/ with the minirootfs")
    parser.add_argument("--arch", type=Arch, action="append", choices=list(Arch), metavar="ARCH")
    parser.add_argument("--policy", type=Policy, action="append", choices=BOTH, metavar="POLICY")
    parser.add_argument("--all", action="store_true", help="every architecture, both policies")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Exit status 0 when everything is in place, 1 with the reason on standard error."""
    options = parse_arguments(arguments)
    lab = Lab(
        store=store.Store(directory=options.output.resolve()),
        shared=options.shared.resolve(),
        wanted=wanted(options.arch or (), options.policy or (), everything=options.all),
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
