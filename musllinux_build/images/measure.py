"""A lock for other supplies: the rows of one lock with what directories of the user really hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.images.lock import ApkRow, BaseRow, Lock, SourceRow
from musllinux_build.images.recipe import LIBRARIES, apk_branch
from musllinux_build.images.supplies import archive_name

SOURCES = ("cpython", *LIBRARIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredFile:
    """A file of a directory: its name, SHA-256 and bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What directories hold; None for a directory that was not named.

    ``packages`` maps (branch, architecture) to version by package name; ``absent`` are the packages that a mirror may
    lack, and images that cannot be made of it, by their tags; each with the reason.
    """

    bases: Sequence[MeasuredFile] | None = None
    sources: Sequence[MeasuredFile] | None = None
    packages: Mapping[tuple[str, Arch], Mapping[str, str]] | None = None
    absent: Mapping[str, str] = field(default_factory=dict)


def unmeasured(lock: Lock) -> int:
    """How many values nobody has measured."""
    return sum(map(len, unmeasured_rows(lock).values()))


def unmeasured_rows(lock: Lock) -> Mapping[str, Sequence[str]]:
    """What nobody has measured, by row: hashes, digests, sizes, closures, and the names of packages without a version.

    A builder is its image's digest or an archive's hash, whichever is at hand.
    """
    found: dict[str, list[str]] = {}
    for base in lock.bases:
        values = {"digest": base.digest, "sha256": base.sha256, "size": base.size}
        found[f"base {base.release} {base.arch.value}"] = [name for name, value in values.items() if value is None]
    for builder in lock.builders:
        there = builder.digest is not None or builder.sha256 is not None
        found[f"builder {builder.arch.value}"] = [] if there else ["digest", "sha256"]
    for source in lock.sources:
        found[f"source {source.name} {source.version}"] = ["size"] if source.size is None else []
    for apk in lock.apks:
        names = [name for name in (*apk.sysroot, *apk.image, *apk.extra) if "=" not in name]
        found[f"apk {apk.policy.platform_tag(apk.arch)}"] = names + ([] if apk.closure else ["closure"])
    return {name: values for name, values in found.items() if values}


def measure(lock: Lock, holdings: Holdings) -> Lock:
    """``lock`` with its rows measured against the holdings.

    Sources and packages become what is there and nothing else; bases keep the rows that are not there.

    Raises:
        UsageError: a package of the lock is not in the mirror's index, and not among those that may be absent.
    """
    if holdings.bases is not None:
        found = {file.name: file for file in holdings.bases}
        lock = replace(
            lock,
            bases=tuple(_measured_base(row, found.get(row.filename)) for row in lock.bases),
            builders=tuple(
                replace(row, sha256=found[row.filename].sha256) if row.filename in found else row
                for row in lock.builders
            ),
        )
    if holdings.sources is not None:
        lock = replace(lock, sources=_measured_sources(lock.sources, holdings.sources))
    if holdings.packages is not None:
        lock = replace(lock, apks=_measured_packages(lock.apks, holdings.packages, holdings.absent))
    return lock


def _measured_base(row: BaseRow, file: MeasuredFile | None) -> BaseRow:
    return replace(row, sha256=file.sha256, size=file.size) if file is not None else row


def _measured_sources(rows: Sequence[SourceRow], files: Sequence[MeasuredFile]) -> tuple[SourceRow, ...]:
    """A row for every archive of a source we know; a known hash keeps its addresses."""
    known = {row.sha256: row for row in rows}
    measured = []
    for file in sorted(files, key=lambda one: one.name):
        named = archive_name(file.name)
        if named is None or named[0] not in SOURCES:
            continue
        same = known.get(file.sha256)
        measured.append(
            SourceRow(
                name=named[0],
                version=named[1],
                filename=file.name,
                urls=same.urls if same is not None else (),
                sha256=file.sha256,
                size=file.size,
            )
        )
    return tuple(measured)


def _measured_packages(
    rows: Sequence[ApkRow], packages: Mapping[tuple[str, Arch], Mapping[str, str]], absent: Mapping[str, str]
) -> tuple[ApkRow, ...]:
    missing: list[str] = []

    def pinned(row: ApkRow, requests: Sequence[str]) -> tuple[str, ...]:
        branch = apk_branch(row.policy.row.base)
        index = packages[branch, row.arch]
        names = [request.partition("=")[0] for request in requests]
        unmade = row.policy.platform_tag(row.arch) in absent
        names = [name for name in names if name in index or not (unmade or name in absent)]
        missing.extend(f"{branch}/{row.arch.row.apk}: {name}" for name in names if name not in index)
        return tuple(f"{name}={index.get(name, '')}" for name in names)

    measured = tuple(
        replace(
            row,
            sysroot=pinned(row, row.sysroot),
            image=pinned(row, row.image),
            extra=pinned(row, row.extra),
            unmade=absent.get(row.policy.platform_tag(row.arch), ""),
        )
        for row in rows
        if (apk_branch(row.policy.row.base), row.arch) in packages
    )
    if missing:
        raise UsageError(
            "the package mirror lacks packages of the image",
            details="\n".join(sorted(set(missing))),
            resolution="Name those that may be missing, and why, in a file given with --absent.",
        )
    return measured


def parse_apkindex(text: str) -> dict[str, str]:
    """Version by package name in an APKINDEX (apk-tools 2: ``P:`` and ``V:`` lines, an empty line ends a record).

    Of several versions of a package the last one stands.
    """
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("P:"):
            name = line[2:]
        elif line.startswith("V:") and name:
            found[name] = line[2:]
        elif not line:
            name = ""
    return found
