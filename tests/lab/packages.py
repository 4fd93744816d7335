"""How a source tarball becomes packages; the rows themselves are in ``recipes.py``.

Nothing that is built is run: every configure gets both ``--build`` and ``--host``.
"""

from __future__ import annotations

import fnmatch
import re
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from musllinux_build.arch import Arch
from tests.lab.apk import Entry, Kind, Package
from tests.lab.commands import LabError, run
from tests.lab.sysroot import Built, install, read_tree

JOBS = 2
LDFLAGS = "-Wl,-s"


_OF_THE_ARCHITECTURE = re.compile(
    r"ac_cv_(?:env_|prog_|path_|host|build|target)|sizeof|alignof|endian|float|double|long|bits|size_t|ptrdiff|wint"
    r"|_max|limit|int\d|stdint|inttypes|tool|lt_|stack|asm|time_t|cpu"
)


def same_everywhere(cache: str) -> str:
    """The lines of a configure cache that hold for the same package on every root.

    All roots have the same libc, the oldest of them on every 64-bit architecture; what a processor's types or a
    toolchain's names decide is left out.
    """
    rows = (line for line in cache.splitlines() if re.match(r"\w+=\$\{\w+=.*\}$", line))
    return "".join(f"{line}\n" for line in rows if not _OF_THE_ARCHITECTURE.search(line.partition("=")[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """Where one source is built for one architecture."""

    arch: Arch
    tools: Path
    source: Path
    stage: Path
    """What ``make install`` fills."""
    sysroot: Path
    answers: Path
    """What configure found out about another architecture's root."""

    @property
    def cflags(self) -> str:
        """Warnings about other people's code are left out: the reason of a failure should be seen."""
        return f"-O2 -w -ffile-prefix-map={self.source}=."

    def environment(self) -> dict[str, str]:
        """Adds to the caller's: the wrappers by name, so that no build writes their path into what it installs."""
        return {
            "PATH": f"{self.tools}:/usr/sbin:/usr/bin:/sbin:/bin",
            "CC": "cc",
            "CXX": "c++",
            "AR": "ar",
            "RANLIB": "ranlib",
            "CC_FOR_BUILD": "/usr/bin/gcc",
            "CFLAGS": self.cflags,
            "LDFLAGS": LDFLAGS,
            "SOURCE_DATE_EPOCH": "0",
            "LC_ALL": "C",
            # What pkg-config answers is of the sysroot, whose paths the compiler knows already.
            "PKG_CONFIG_LIBDIR": str(self.sysroot / "usr" / "lib" / "pkgconfig"),
            "FORCE_UNSAFE_CONFIGURE": "1",
            # Not there for the first architecture.
            "CONFIG_SITE": str(self.answers),
        }

    def at(self, directory: str) -> Workbench:
        """The same for a directory of the source."""
        return replace(self, source=self.source / directory)

    def run(self, *words: str) -> None:
        """A command in the source directory."""
        run(words, cwd=self.source, env=self.environment())

    def configure(self, *options: str) -> None:
        """GNU configure for a program of the root."""
        triple = self.arch.row.triple
        places = ("--prefix=/usr", "--sysconfdir=/etc", "--mandir=/usr/share/man", "--infodir=/usr/share/info")
        words = ("--build=x86_64-pc-linux-gnu", f"--host={triple}", "--cache-file=config.cache", *places, *options)
        self.run("./configure", *words)
        if not self.answers.exists():
            self.answers.parent.mkdir(parents=True, exist_ok=True)
            partial = self.answers.with_name(f".{self.answers.name}.{self.arch.value}")
            partial.write_text(same_everywhere((self.source / "config.cache").read_text()))
            partial.replace(self.answers)

    def put(self, source: str, path: str) -> None:
        """Copies a file of the source into the stage."""
        target = self.stage / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.source / source, target)

    def write(self, path: str, text: str) -> None:
        """A file of the stage."""
        (self.stage / path).parent.mkdir(parents=True, exist_ok=True)
        (self.stage / path).write_text(text)

    def link(self, path: str, target: str) -> None:
        """A link in the stage."""
        (self.stage / path).parent.mkdir(parents=True, exist_ok=True)
        (self.stage / path).symlink_to(target)

    def make(self, *words: str) -> None:
        """Builds and installs into the stage."""
        self.run("make", f"-j{JOBS}", *words)
        self.run("make", "install", f"DESTDIR={self.stage}", *words)


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
    dropped: tuple[str, ...] = ()
    """What is installed and in no package, beside documentation."""
    needs: tuple[str, ...] = ()
    """Libraries of the stock root that are linked beside its libc."""


DROPPED = (
    "usr/share/doc/*",
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "usr/share/gtk-doc/*",
    "usr/lib/*.la",
)
"""Documentation, and what only someone who extends a program needs."""


def divide(
    entries: tuple[Entry, ...], parts: tuple[Part, ...], dropped: tuple[str, ...] = ()
) -> dict[str, tuple[Entry, ...]]:
    """The entries of each part by its name.

    Raises:
        LabError: a path belongs to no part.
    """
    divided: dict[str, tuple[Entry, ...]] = {part.name: () for part in parts}
    for entry in entries:
        if any(fnmatch.fnmatch(entry.path, pattern) for pattern in (*DROPPED, *dropped)):
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

    def build(self, row: BuildRow, tarball: Path, digest: str) -> tuple[Built, ...]:
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
        # Answers of another recipe for the same source would be wrong.
        answers = self.directory.parent / "answers" / f"{row.source}-{digest}"
        bench = Workbench(
            arch=self.arch, tools=self.tools, source=source, stage=stage, sysroot=self.sysroot, answers=answers
        )
        row.build(bench)
        version = f"{tarball.name.removeprefix(f'{row.source}-').partition('.tar')[0]}-r{row.release}"
        divided = divide(read_tree(stage), row.parts, row.dropped)
        built = tuple(self._package(row, part, version, divided[part.name], stage) for part in row.parts)
        for each in built:
            install(each.entries, self.sysroot)
        shutil.rmtree(place)
        return built

    def _package(self, row: BuildRow, part: Part, version: str, entries: tuple[Entry, ...], stage: Path) -> Built:
        links = {
            entry.path: self._linkage(stage / entry.path, row.needs)
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

    def _linkage(self, path: Path, needs: tuple[str, ...]) -> Linkage:
        linkage = parse_dynamic(run(["readelf", "--wide", "--dynamic", path]).decode())
        if "RELR" in linkage.tags:
            raise LabError(f"{path.name}: has DT_RELR, which musl before 1.2.4 ignores")
        if "GNU_HASH" not in linkage.tags:
            raise LabError(f"{path.name}: has no DT_GNU_HASH")
        if not {self.arch.row.libc_soname} <= set(linkage.needed) <= {self.arch.row.libc_soname, *needs}:
            raise LabError(f"{path.name}: needs {linkage.needed}, which the root does not have")
        return linkage
