"""The cross-built packages, one row each, and how a row becomes installed files.

Nothing that is built is run: every configure gets both ``--build`` and ``--host``.
"""

from __future__ import annotations

import fnmatch
import re
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.arch import Arch
from tests.lab.apk import Entry, Kind, Package
from tests.lab.commands import LabError, run
from tests.lab.sysroot import Built, install, read_tree

JOBS = 2
LDFLAGS = "-Wl,-s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """Where one source is built for one architecture."""

    arch: Arch
    tools: Path
    source: Path
    stage: Path
    """What ``make install`` fills."""

    @property
    def cflags(self) -> str:
        """Warnings about other people's code are left out: the reason of a failure should be seen."""
        return f"-O2 -w -ffile-prefix-map={self.source}=."

    def environment(self) -> dict[str, str]:
        """Adds to the caller's: the wrappers by name, so that no build writes their path into what it installs."""
        return {
            "PATH": f"{self.tools}:/usr/sbin:/usr/bin:/sbin:/bin",
            "CC": "cc",
            "AR": "ar",
            "RANLIB": "ranlib",
            "CC_FOR_BUILD": "/usr/bin/gcc",
            "CFLAGS": self.cflags,
            "LDFLAGS": LDFLAGS,
            "SOURCE_DATE_EPOCH": "0",
            "LC_ALL": "C",
        }

    def run(self, *words: str) -> None:
        """A command in the source directory."""
        run(words, cwd=self.source, env=self.environment())

    def configure(self, *options: str) -> None:
        """GNU configure for a program of the root."""
        triple = self.arch.row.triple
        places = ("--prefix=/usr", "--sysconfdir=/etc", "--mandir=/usr/share/man", "--infodir=/usr/share/info")
        self.run("./configure", "--build=x86_64-pc-linux-gnu", f"--host={triple}", *places, *options)

    def make(self, *words: str) -> None:
        """Builds and installs into the stage."""
        self.run("make", f"-j{JOBS}", *words)
        self.run("make", "install", f"DESTDIR={self.stage}", *words)


def build_libyaml(bench: Workbench) -> None:
    bench.run("autoreconf", "-fi")
    bench.configure("--disable-static")
    bench.make()


def build_libffi(bench: Workbench) -> None:
    bench.run("autoreconf", "-fi")
    bench.configure("--disable-static", "--disable-docs", "--disable-multi-os-directory", "--with-pic")
    bench.make()


def build_bash(bench: Workbench) -> None:
    # What configure would run a program for; true of musl on Linux.
    known = (
        "bash_cv_getcwd_malloc=yes",
        "bash_cv_job_control_missing=present",
        "bash_cv_sys_named_pipes=present",
        "bash_cv_unusable_rtsigs=no",
        "bash_cv_func_sigsetjmp=present",
        "bash_cv_func_strcoll_broken=no",
        "bash_cv_func_ctype_nonascii=no",
        "bash_cv_func_strtoimax=yes",
        "bash_cv_must_reinstall_sighandlers=no",
        "bash_cv_dup2_broken=no",
        "bash_cv_pgrp_pipe=no",
        "bash_cv_wcontinued_broken=no",
        "bash_cv_wexitstatus_offset=8",
        "bash_cv_printf_a_format=yes",
        "bash_cv_ulimit_maxfds=yes",
        "bash_cv_getenv_redef=yes",
        "ac_cv_rl_lib_readline_version=8.2",
    )
    # bash's own allocator needs glibc's hooks; the bundled readline and termcap need no other package.
    options = ("--bindir=/bin", "--without-bash-malloc", "--without-curses", "--disable-nls", "--enable-readline")
    # The bundled termcap is C of a time before prototypes.
    bench.configure(*options, *known, f"CFLAGS={bench.cflags} -Wno-implicit-function-declaration")
    bench.make()


def build_make(bench: Workbench) -> None:
    # Debian's tarball is without the manual, which configure and make still ask for.
    manual = bench.source / "doc" / "Makefile.in"
    if not manual.exists():
        manual.parent.mkdir(exist_ok=True)
        manual.write_text("all install:\n")
        (manual.parent / "make.1").touch()
    bench.configure("--without-guile", "--disable-nls")
    bench.make()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One package of a build: the paths that go into it. Of two parts that match a path the first gets it."""

    name: str
    description: str
    patterns: tuple[str, ...]
    depends: tuple[str, ...] = ()
    """``{version}`` stands for the build's own version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRow:
    """A source tarball by its name in the lab, how it is built and how its files are divided."""

    source: str
    license: str
    build: Callable[[Workbench], None]
    parts: tuple[Part, ...]
    release: int = 0


DEVELOPMENT = ("usr/include/*", "usr/lib/*.so", "usr/lib/pkgconfig/*")
DROPPED = (
    "usr/share/*",
    "usr/lib/*.la",
    "usr/lib/bash/*",
    "bin/bashbug",
    "usr/lib/pkgconfig/bash.pc",
    "usr/include/bash/*",
)
"""Documentation, and what only someone who extends the program needs."""

BUILDS = (
    BuildRow(
        source="libyaml",
        license="MIT",
        build=build_libyaml,
        parts=(
            Part(name="yaml-dev", description="libyaml (headers)", patterns=DEVELOPMENT, depends=("yaml={version}",)),
            Part(name="yaml", description="YAML parser and emitter", patterns=("usr/lib/*.so.*",)),
        ),
    ),
    BuildRow(
        source="libffi",
        license="MIT",
        build=build_libffi,
        parts=(
            Part(
                name="libffi-dev", description="libffi (headers)", patterns=DEVELOPMENT, depends=("libffi={version}",)
            ),
            Part(name="libffi", description="Foreign function interface", patterns=("usr/lib/*.so.*",)),
        ),
    ),
    BuildRow(
        source="make",
        license="GPL-3.0-or-later",
        build=build_make,
        parts=(Part(name="make", description="GNU make", patterns=("usr/bin/make", "usr/include/gnumake.h")),),
    ),
    BuildRow(
        source="bash",
        license="GPL-3.0-or-later",
        build=build_bash,
        parts=(Part(name="bash", description="The GNU Bourne Again shell", patterns=("bin/bash",)),),
    ),
)


def divide(entries: tuple[Entry, ...], parts: tuple[Part, ...]) -> dict[str, tuple[Entry, ...]]:
    """The entries of each part by its name.

    Raises:
        LabError: a path belongs to no part.
    """
    divided: dict[str, tuple[Entry, ...]] = {part.name: () for part in parts}
    for entry in entries:
        if any(fnmatch.fnmatch(entry.path, pattern) for pattern in DROPPED):
            continue
        owners = (part.name for part in parts if any(fnmatch.fnmatch(entry.path, glob) for glob in part.patterns))
        owner = next(owners, None)
        if owner is None:
            raise LabError(f"{entry.path} belongs to none of {', '.join(divided)}")
        divided[owner] = (*divided[owner], entry)
    return divided


@dataclass(frozen=True, slots=True, kw_only=True)
class Linkage:
    """The names in an ELF file's dynamic section."""

    soname: str | None
    needed: tuple[str, ...]
    tags: frozenset[str]


def parse_dynamic(text: str) -> Linkage:
    """What ``readelf --dynamic`` wrote."""
    rows = re.findall(r"^ *0x[0-9a-f]+ \((\w+)\)(?: +[^\[\n]*\[([^\]\n]*)\])?", text, flags=re.MULTILINE)
    sonames = [name for tag, name in rows if tag == "SONAME"]
    needed = tuple(name for tag, name in rows if tag == "NEEDED")
    return Linkage(soname=next(iter(sonames), None), needed=needed, tags=frozenset(tag for tag, _ in rows))


def requirements(entries: tuple[Entry, ...], links: Mapping[str, Linkage]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """``depend`` and ``provides`` that follow from a part's ELF files, as abuild derives them."""
    needed = {f"so:{name}" for link in links.values() for name in link.needed}
    provided = set()
    for path, link in links.items():
        if link.soname:
            version = path.rpartition(".so.")[2] or "0"
            provided.add((f"so:{link.soname}", version))
    for entry in entries:
        if entry.path.startswith("usr/lib/pkgconfig/"):
            stated = re.search(r"^Version:\s*(\S+)", entry.content.decode(), flags=re.MULTILINE)
            provided.add((f"pc:{Path(entry.path).stem}", stated[1] if stated else "0"))
    names = {name for name, _ in provided}
    return tuple(sorted(needed - names)), tuple(f"{name}={version}" for name, version in sorted(provided))


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """Builds rows for one architecture."""

    arch: Arch
    tools: Path
    sysroot: Path
    directory: Path

    def build(self, row: BuildRow, tarball: Path) -> tuple[Built, ...]:
        """The packages of a row; its libraries are also installed in the sysroot for rows that follow."""
        place = self.directory / "build" / row.source
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        with tarfile.open(tarball) as archive:
            # Times are kept: a newer configure.ac would make automake run itself again.
            archive.extraction_filter = getattr(tarfile, "tar_filter", None)
            archive.extractall(place)
        (source,) = place.iterdir()
        stage = place / "stage"
        row.build(Workbench(arch=self.arch, tools=self.tools, source=source, stage=stage))
        version = f"{tarball.name.removeprefix(f'{row.source}-').partition('.tar')[0]}-r{row.release}"
        divided = divide(read_tree(stage), row.parts)
        built = tuple(self._package(row, part, version, divided[part.name], stage) for part in row.parts)
        for each in built:
            install(each.entries, self.sysroot)
        shutil.rmtree(place)
        return built

    def _package(self, row: BuildRow, part: Part, version: str, entries: tuple[Entry, ...], stage: Path) -> Built:
        links = {
            entry.path: self._linkage(stage / entry.path)
            for entry in entries
            if entry.kind is Kind.FILE and entry.content.startswith(b"\x7fELF")
        }
        depends, provides = requirements(entries, links)
        package = Package(
            name=part.name,
            version=version,
            arch=self.arch.row.apk,
            description=part.description,
            license=row.license,
            origin=row.parts[-1].name,
            depends=(*(name.format(version=version) for name in part.depends), *depends),
            provides=provides,
        )
        return Built(package=package, entries=entries)

    def _linkage(self, path: Path) -> Linkage:
        linkage = parse_dynamic(run(["readelf", "--wide", "--dynamic", path]).decode())
        if "RELR" in linkage.tags:
            raise LabError(f"{path.name}: has DT_RELR, which musl before 1.2.4 ignores")
        if "GNU_HASH" not in linkage.tags:
            raise LabError(f"{path.name}: has no DT_GNU_HASH")
        if linkage.needed != (self.arch.row.libc_soname,):
            raise LabError(f"{path.name}: needs {linkage.needed}, not the root's libc alone")
        return linkage
