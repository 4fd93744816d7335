"""The files that a lock pins, from directories or the network: none is used whose hash is another."""

from __future__ import annotations

from pathlib import Path

from musllinux_build.errors import FetchError
from musllinux_build.images.bases import file_sha256
from musllinux_build.images.lock import MEASURE, SourceRow, WheelRow
from musllinux_build.images.supplies import Supplies


def pinned_file(row: SourceRow | WheelRow, scratch: Path, supplies: Supplies) -> Path:
    """The file of a row: from its directory where there is one, else fetched into ``scratch``.

    Raises:
        FetchError: it cannot be had, or has another hash.
    """
    if isinstance(row, WheelRow):
        platforms = wheel_platforms(row)
        if supplies.wheelhouse is None:
            return supplies.fetch.wheel(row, scratch, platforms)
        path = supplies.wheelhouse / row.filename
        if path.is_file():
            return checked_file(path, row.sha256)
        if supplies.offline:
            raise _not_there(row.filename, supplies.wheelhouse)
        return supplies.fetch.wheel(row, scratch, platforms)
    here = supplies.mirrored(row)
    if here is not None:
        return checked_file(here, row.sha256)
    if supplies.source_mirror is not None and supplies.offline:
        raise _not_there(row.archive, supplies.source_mirror)
    return supplies.fetch.source(row, scratch / row.archive)


def wheel_platforms(row: SourceRow | WheelRow) -> tuple[str, ...]:
    """The platform tags of a wheel for one architecture, among whose wheels pip would choose for this machine."""
    if not isinstance(row, WheelRow) or row.arch is None:
        return ()
    return tuple(row.filename.removesuffix(".whl").rpartition("-")[2].split("."))


def _not_there(name: str, directory: Path) -> FetchError:
    return FetchError(
        f"{name} is not in the offline directory",
        details=str(directory),
        resolution="Fill it (musllinux-build images mirror), or leave --offline out.",
    )


def checked_file(path: Path, sha256: str) -> Path:
    """``path``, whose content has this hash.

    Raises:
        FetchError: it has another one.
    """
    if (found := file_sha256(path)) != sha256:
        raise FetchError(
            f"{path.name} is not the pinned file",
            details=f"{path}\nexpected sha256 {sha256}\nreceived sha256 {found}",
            resolution="Replace it; archives of sources and bases may also be measured where they are:\n"
            f"{MEASURE} --source-mirror DIR --base-archives DIR",
        )
    return path
