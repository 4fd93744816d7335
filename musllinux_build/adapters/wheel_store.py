"""builds.finished.Store in a directory: one directory per key, with the wheel and what is said of it."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from musllinux_build.adapters.files import file_digest
from musllinux_build.kept import Entry, beyond
from musllinux_build.report import BuiltWheel
from musllinux_build.staging import STAGING, claimed, remove_abandoned
from musllinux_build.times import check_version

SCHEMA = 1
RECORD = "wheel.json"
ATTEMPTS = 5


class WheelStore:
    """A directory of wheels. A directory appears in it by one rename, so that what is there is whole.

    When a wheel was last used is the time of its record.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sound: dict[str, Path] = {}
        """By their hashes, files in the store whose bytes this process has seen."""

    def find(self, key: str) -> BuiltWheel | None:
        """What the record under ``key`` says, where it and the wheel beside it are what they should be."""
        record = self.root / key / RECORD
        try:
            wheel = _parse(record.read_text(encoding="utf-8"), record.parent)
            if wheel.path.lstat().st_size != wheel.size:
                return None
            os.utime(record)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return wheel

    def take(self, kept: BuiltWheel, directory: Path) -> BuiltWheel | None:
        """Copy a found wheel into ``directory``; None when its bytes are not what they were.

        Raises:
            OSError: it cannot be read, or not be written there.
        """
        directory.mkdir(parents=True, exist_ok=True)
        # Beside the finished wheels, as in the pipeline: the last step is one rename on one file system.
        with claimed(directory) as staging:
            copy, final = staging / kept.path.name, directory / kept.path.name
            if file_digest(kept.path, copy_to=copy) != kept.sha256:
                return None
            copy.replace(final)
        self._sound[kept.sha256] = kept.path
        return replace(kept, path=final)

    def keep(self, key: str, wheel: BuiltWheel) -> None:
        """Keep a copy under ``key``, in the place of what was there.

        Raises:
            OSError: it cannot be written, or was changed meanwhile.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with claimed(self.root) as staging:
            self._copy(wheel, staging / wheel.path.name)
            (staging / RECORD).write_text(_format(wheel), encoding="utf-8")
            _put(staging, self.root / key)
        self._sound[wheel.sha256] = self.root / key / wheel.path.name

    def _copy(self, wheel: BuiltWheel, place: Path) -> None:
        """One wheel that serves many Pythons (abi3) is kept under many keys, and once on the disk."""
        if wheel.sha256 in self._sound:
            with suppress(OSError):
                os.link(self._sound[wheel.sha256], place)
                return
        if file_digest(wheel.path, copy_to=place) != wheel.sha256:
            raise OSError(errno.EIO, "was changed since it was proven", str(wheel.path))

    def entries(self) -> list[Entry]:
        """What is kept, the last used first; bytes that several share are counted for the first of them."""
        found, seen = [], set[tuple[int, int]]()
        for path in self._by_use():
            size = 0
            for file in path.iterdir() if path.is_dir() else (path,):
                with suppress(FileNotFoundError):
                    status = file.lstat()
                    size += status.st_size if (status.st_dev, status.st_ino) not in seen else 0
                    seen.add((status.st_dev, status.st_ino))
            found.append(Entry(name=path.name, size=size))
        return found

    def _by_use(self) -> list[Path]:
        paths = [path for path in self.root.iterdir() if not path.name.startswith(STAGING)] if self._there else []
        return sorted(paths, key=lambda path: (_last_use(path), path.name), reverse=True)

    @property
    def _there(self) -> bool:
        return self.root.is_dir()

    def limit(self, most: int, *, dry_run: bool = False) -> list[Entry]:
        """Remove what was not used for longest until no more than ``most`` bytes are left; what was removed."""
        surplus = beyond(self.entries(), most)
        if not dry_run:
            for entry in surplus:
                shutil.rmtree(self.root / entry.name, ignore_errors=True)
            remove_abandoned(self.root)
        return surplus


def _last_use(path: Path) -> float:
    """Nothing uses what has no record."""
    try:
        return (path / RECORD).stat().st_mtime
    except OSError:
        return 0.0


def _put(staging: Path, place: Path) -> None:
    """Rename a directory to ``place``; what is there goes."""
    for attempt in range(ATTEMPTS):
        try:
            staging.rename(place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) or attempt + 1 == ATTEMPTS:
                raise
            # Another run may do the same at the same time: whoever renames last has the place.
            with claimed(place.parent) as old, suppress(FileNotFoundError):
                place.rename(old / "old")
        else:
            return


def _format(wheel: BuiltWheel) -> str:
    document = {
        "version": SCHEMA,
        "name": wheel.path.name,
        "size": wheel.size,
        "sha256": wheel.sha256,
        "floor": wheel.floor,
        "grafted": list(wheel.grafted),
        "proven": list(wheel.proven),
        "caveat": wheel.caveat,
        "fallbacks": [list(pair) for pair in wheel.fallbacks],
        "emulated": wheel.emulated,
    }
    return json.dumps(document, indent=2) + "\n"


def _parse(text: str, directory: Path) -> BuiltWheel:
    """Raises ValueError, KeyError or TypeError for anything that ``_format`` did not write."""
    row = _mapping(json.loads(text))
    check_version(row["version"], SCHEMA)
    name = str(row["name"])
    if name != Path(name).name or not name.endswith(".whl"):
        raise ValueError(f"{name!r} is no name of a wheel")
    return BuiltWheel(
        path=directory / name,
        size=int(row["size"]),
        sha256=str(row["sha256"]),
        floor=str(row["floor"]),
        grafted=tuple(map(str, row["grafted"])),
        proven=tuple(map(str, row["proven"])),
        caveat=str(row["caveat"]),
        fallbacks=tuple((str(reason), str(source)) for reason, source in row["fallbacks"]),
        emulated=bool(row["emulated"]),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"no table: {value!r}"[:200])
    return value
