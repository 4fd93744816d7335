"""Where the makings of an image come from: the network by default, directories of the user where named."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.version import Version

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.images.fetching import Fetch, NoFetch
from musllinux_build.images.lock import Lock, SourceRow, WheelRow, parse_lock
from musllinux_build.images.recipe import NEWEST, OLDEST
from musllinux_build.python import PythonTag
from musllinux_build.shipped import shipped, tool_files

OFFLINE_PARTS = ("bases", "sources", "apk", "wheels", "lock.toml")
"""What an offline directory may have (docs/offline.md)."""
_ARCHIVE = re.compile(r"(?P<name>[a-z][a-z0-9]*(?:-[a-z]+)*)-(?P<version>\d+\.[\w.+]*?)\.(?:tar\.\w+|tgz)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplies:
    """A lock and the places that serve it.

    ``apk_mirror`` is a URL, a directory, or None for what the base itself is configured with. ``wheelhouse`` holds
    wheels by file name. ``offline`` says that no registry is to be asked; ``fetch`` gets what no directory holds,
    ``tool`` the files of this tool, which is in every image.
    """

    lock: Lock
    base_archives: Path | None = None
    source_mirror: Path | None = None
    apk_mirror: str | None = None
    wheelhouse: Path | None = None
    offline: bool = False
    fetch: Fetch = field(default_factory=NoFetch)
    tool: Callable[[], Mapping[str, Path]] = tool_files

    @classmethod
    def from_offline(cls, directory: Path, *, fetch: Fetch | None = None) -> Supplies:
        """The supplies in an offline directory: ``bases/``, ``sources/``, ``apk/``, ``wheels/`` and ``lock.toml``.

        Raises:
            UsageError: its lock is not valid.
        """
        return cls.chosen(offline=directory, fetch=fetch)

    @classmethod
    def chosen(
        cls,
        *,
        offline: Path | None = None,
        base_archives: Path | None = None,
        source_mirror: Path | None = None,
        apk_mirror: str | None = None,
        lock: Path | None = None,
        fetch: Fetch | None = None,
    ) -> Supplies:
        """What the options say; a single one wins over the offline directory, which wins over the network.

        Raises:
            UsageError: the lock cannot be read or is not valid, or the offline directory has nothing of one.
        """
        if offline is not None and not any((offline / part).exists() for part in OFFLINE_PARTS):
            raise UsageError(
                f"{offline} has none of {', '.join(OFFLINE_PARTS)}",
                resolution=f"Fill it where there is a network: musllinux-build images mirror {offline}",
            )

        def inside(name: str) -> Path | None:
            found = offline / name if offline is not None else None
            return found if found is not None and found.exists() else None

        path = lock or inside("lock.toml") or shipped("dockerfiles") / "lock.toml"
        packages = inside("apk")
        return cls(
            lock=read_lock(path),
            base_archives=base_archives or inside("bases"),
            source_mirror=source_mirror or inside("sources"),
            apk_mirror=apk_mirror or (str(packages) if packages is not None else None),
            wheelhouse=inside("wheels"),
            offline=offline is not None,
            fetch=fetch or NoFetch(),
        )

    def apk_directory(self) -> Path | None:
        """The package mirror, where it is a directory of this machine."""
        if self.apk_mirror is None or "://" in self.apk_mirror:
            return None
        return Path(self.apk_mirror)

    def toolchain_wheel(self, arch: Arch) -> WheelRow:
        """The compiler's wheel for engines of ``arch``.

        Raises:
            UsageError: the lock has none.
        """
        rows = self.lock.wheel_group("toolchain", arch)
        if not rows:
            raise UsageError(f"the lock has no compiler for engines of {arch.value}")
        return rows[0]

    def mirrored(self, row: SourceRow) -> Path | None:
        """The file of a source in the mirror, None where it has none; the hash is not looked at."""
        if self.source_mirror is None:
            return None
        for name in (row.archive, row.filename):
            if (path := self.source_mirror / name).is_file():
                return path
        for path in sorted(self.source_mirror.glob(f"{row.name}-{row.version}.*")):
            if archive_name(path.name) == (row.name, row.version):
                return path
        return None

    def source(self, name: str, minor: str | None = None) -> SourceRow | None:
        """The newest release of a source, of one Python where ``minor`` names it.

        A mirror selects what it has, where it has any of them.
        """

        def wanted(row: SourceRow) -> bool:
            return minor in (None, row.minor)

        here = self.lock.newest(name, lambda row: wanted(row) and self.mirrored(row) is not None)
        return here or self.lock.newest(name, wanted)

    def pythons(self) -> Sequence[PythonTag]:
        """The interpreters an image has by default: those with a source, and their free-threaded builds.

        A free-threaded 3.13 was an experiment (PEP 703) and is built only where it is asked for.
        """
        minors = sorted(
            {row.minor for row in self.lock.sources if row.name == "cpython"},
            key=lambda minor: [int(part) for part in minor.split(".")],
        )
        there = [PythonTag.parse(minor) for minor in minors if self.source("cpython", minor) is not None]
        return [
            PythonTag(tag.major, tag.minor, free_threaded)
            for tag in there
            for free_threaded in (False, True)
            if OLDEST <= (tag.major, tag.minor) <= NEWEST and (not free_threaded or tag.minor >= 14)
        ]

    def prereleases(self) -> Mapping[PythonTag, str]:
        """Of the interpreters an image has by default the alphas and betas, with their versions.

        CPython's ABI is frozen from the first release candidate on.
        """
        rows = ((tag, self.source("cpython", tag.version)) for tag in self.pythons())
        return {tag: row.version for tag, row in rows if row is not None and _abi_may_change(row.version)}


def _abi_may_change(version: str) -> bool:
    phase = Version(version).pre
    return phase is not None and phase[0] in ("a", "b")


def archive_name(filename: str) -> tuple[str, str] | None:
    """(name, version) of ``<name>-<version>.tar.*`` or ``.tgz``, None for another file."""
    found = _ARCHIVE.fullmatch(filename)
    return (found["name"], found["version"]) if found else None


def read_lock(path: Path) -> Lock:
    """The lock in a file.

    Raises:
        UsageError: it cannot be read or is not valid.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the lock {path}", details=str(error)) from error
    return parse_lock(text, path.name)
