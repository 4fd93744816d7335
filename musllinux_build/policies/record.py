"""A root file system to the evidence of one release: read, and probed by running its loader.

What a loader exports stands in its symbol table; what it *does* is seen only by running it. Each probe is a program
that ends with ``EXIT_STATUS`` when the loader did what the program needs (see ``probes``).
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass

from musllinux_build.apkdb import ApkDatabase, read_database
from musllinux_build.arch import Arch
from musllinux_build.elf.closure import DEFAULT_PATH
from musllinux_build.elf.facts import ElfFacts, Hazard
from musllinux_build.elf.reader import read_elf
from musllinux_build.errors import ImageError, WheelError
from musllinux_build.policies.evidence import Evidence
from musllinux_build.policies.probes import EXIT_STATUS, Probe, probe_program, symbol_program
from musllinux_build.policy import MuslVersion
from musllinux_build.ports import Sysroot

ROLLING = "rolling"
"""The release of a distribution that does not number them."""
REFUSED = 127
"""Exit status of musl's loader when it does not start a program (ldso/dynlink.c)."""
CRASHED = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL})
_VERSION = re.compile(rb"(?<![\w.+\- ])(\d+\.\d+\.\d+(?:[-_]git[\w.+-]{0,60})?)(?=\0)")
_NOT_FOUND = re.compile(rb": ([^\s:]+): symbol not found")
_LIBC = b"musl libc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """A musl loader found in a root; ``path`` is where programs ask for it."""

    path: str
    arch: Arch
    content: bytes
    facts: ElfFacts

    @property
    def version(self) -> str | None:
        """The version in its bytes (``1.2.4_git20230717``), None unless there is exactly one."""
        found = {text.decode() for text in _VERSION.findall(self.content)}
        return found.pop() if len(found) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a program ended: its exit status, negative for a signal, and what the loader said."""

    status: int
    said: bytes


Run = Callable[[bytes], Ran]
"""Runs a program with the loader."""


def find_loader(root: Sysroot, arch: Arch | None = None) -> Loader:
    """The musl loader of a root, of ``arch`` when there may be several.

    Raises:
        ImageError: there is none, or more than one.
    """
    found = [loader for one in ([arch] if arch else Arch) if (loader := _loader(root, one))]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(loader.arch.value for loader in found)
        raise ImageError(f"the root has the musl loaders of {names}", resolution="Choose one with --arch.")
    raise ImageError(
        f"the root has no musl loader{f' of {arch.value}' if arch else ''}",
        resolution="Give a root file system of Alpine or another distribution with musl: it has /lib/ld-musl-*.so.1.",
    )


def _loader(root: Sysroot, arch: Arch) -> Loader | None:
    path = f"/lib/{arch.row.loader}"
    content = root.read(path)
    if content is None:
        return None
    try:
        facts = read_elf(content, path)
    except WheelError as error:
        raise ImageError(error.brief) from error
    if facts is None or not facts.fits(arch.row.elf) or _LIBC not in content:
        return None
    return Loader(path=path, arch=arch, content=content, facts=facts)


def record(
    root: Sysroot,
    loader: Loader,
    run: Run | None,
    *,
    candidates: Collection[str] = (),
    libraries: Collection[str] = (),
    distro: str | None = None,
    release: str | None = None,
) -> Evidence:
    """The evidence of a root. Without ``run`` nothing is executed, and nothing is said about what the loader applies.

    ``candidates`` are names that other releases export: the loader is asked which of them it resolves without
    exporting them. ``libraries`` are the names of those whose exports are recorded, too. ``distro`` and
    ``release`` replace what os-release says.

    Raises:
        ImageError: the root does not say what it is, or contradicts itself; or its loader cannot be run.
    """
    database = read_database(root.read)
    package, said = _package(database, loader, root), loader.version
    if said is None and package is None:
        raise ImageError(f"{loader.path}: neither a package database nor its bytes say which musl it is")
    if package and said and re.sub(r"-r\d+$", "", package) != said:
        raise ImageError(f"{loader.path} is musl {said}, the package database says {package}")
    musl = package or said or ""
    try:
        MuslVersion.parse(musl)
    except ValueError as error:
        raise ImageError(f"{loader.path}: {error}") from error
    name = distro or database.distribution
    if not name:
        raise ImageError("the root has no os-release that names it", resolution="Say what it is with --distro.")
    applies = {} if run is None else probe_loader(loader.arch, run)
    others = frozenset(candidates) - loader.facts.exports
    return Evidence(
        distro=name,
        release=release or database.release or ROLLING,
        arch=loader.arch,
        musl_package=musl,
        exports=loader.facts.exports,
        applies=applies,
        resolves=None if run is None else resolved_names(loader.arch, run, others),
        libraries={library: library_exports(root, library, loader.arch) for library in sorted(libraries)},
        loader_is_relr_packed=Hazard.RELR in loader.facts.hazards,
    )


def library_exports(root: Sysroot, name: str, arch: Arch) -> frozenset[str]:
    """What a library of the root exports, nothing when musl finds none of that name by its default path."""
    for directory in DEFAULT_PATH.split(":"):
        content = root.read(f"{directory}/{name}")
        facts = read_elf(content, name) if content else None
        if facts and facts.fits(arch.row.elf):
            return facts.exports
    return frozenset()


def probe_loader(arch: Arch, run: Run) -> dict[str, bool]:
    """What a loader applies, by the name of the probe.

    Raises:
        ImageError: it does not even run the control, or ends in no known way.
    """
    applies = {}
    for probe in Probe:
        program = probe_program(probe, arch)
        if program is None:
            continue
        ran = run(program)
        if probe is Probe.CONTROL and ran.status != EXIT_STATUS:
            raise _not_measurable(f"the loader does not run the simplest {arch.value} program", ran)
        if ran.status not in {EXIT_STATUS, REFUSED} and -ran.status not in CRASHED:
            raise _not_measurable(f"the loader ended in no known way on the probe {probe.value}", ran)
        applies[probe.value] = ran.status == EXIT_STATUS
    del applies[Probe.CONTROL.value]
    return applies


def resolved_names(arch: Arch, run: Run, names: Collection[str]) -> frozenset[str]:
    """Those of ``names`` that the loader finds for a program that needs them.

    Raises:
        ImageError: it says neither that all are there nor which are not.
    """
    ordered = sorted(names)
    ran = run(symbol_program(ordered, arch))
    missing = {name.decode("utf-8", "replace") for name in _NOT_FOUND.findall(ran.said)}
    if ran.status != (REFUSED if missing else EXIT_STATUS):
        raise _not_measurable("the loader does not say which symbols it lacks", ran)
    return frozenset(ordered) - missing


def _package(database: ApkDatabase, loader: Loader, root: Sysroot) -> str | None:
    """The version of the package that the loader is from; it may be a link to the packaged file."""
    owned = database.owner(loader.path) or database.owner(root.real_path(loader.path) or "")
    return owned.package.version if owned else None


def _not_measurable(what: str, ran: Ran) -> ImageError:
    status = f"signal {-ran.status}" if ran.status < 0 else f"exit status {ran.status}"
    return ImageError(
        what,
        details=f"{status}\n{ran.said.decode(errors='replace')[-2000:]}".strip(),
        resolution="Record without running it: --no-run.",
    )
