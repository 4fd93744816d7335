"""Files and directories that are there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from musllinux_build.errors import DiskFullError, MergeError, MusllinuxBuildError, UsageError
from musllinux_build.staging import claimed, remove_abandoned

BLOCK = 1 << 20


def file_digest(path: Path, copy_to: Path | None = None) -> str:
    """The sha256 of a file in hexadecimal, copied while it is read when ``copy_to`` is given."""
    digest = hashlib.sha256()
    with path.open("rb") as stream, (copy_to or Path(os.devnull)).open("wb") as copy:
        while block := stream.read(BLOCK):
            digest.update(block)
            copy.write(block)
    return digest.hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that a reader at any time sees the old text or the new one.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with claimed(path.parent) as staging:
        new = staging / path.name
        new.write_text(text, encoding="utf-8")
        new.chmod(0o644)
        new.replace(path)


def place_whole(files: Mapping[Path, str], directory: Path) -> bool:
    """Make ``directory`` of copies of ``files`` (with their sha256) by one rename; False when it is that already.

    Raises:
        UsageError: it is there and something else, or cannot be written.
        DiskFullError: no room.
        MergeError: a file changed meanwhile.
    """
    try:
        if directory.is_dir() and any(directory.iterdir()):
            if _holds(directory, files):
                return False
            raise UsageError(f"{directory} is not empty", resolution="Name another --output, or empty it.")
        directory.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(directory.parent)
        with claimed(directory.parent) as staging:
            whole = staging / "whole"
            whole.mkdir()
            for path, sha256 in files.items():
                if file_digest(path, copy_to=whole / path.name) != sha256:
                    raise MergeError(
                        f"{path} changed while it was read", resolution="Start again; nothing was written."
                    )
                shutil.copystat(path, whole / path.name)
            whole.replace(directory)  # over an empty directory, too (rename(2))
    except OSError as error:
        raise _refused(directory, error) from error
    return True


def _holds(directory: Path, files: Mapping[Path, str]) -> bool:
    wanted = {path.name: sha256 for path, sha256 in files.items()}
    there = {path.name: file_digest(path) if path.is_file() else "" for path in directory.iterdir()}
    return there == wanted


def _refused(directory: Path, error: OSError) -> MusllinuxBuildError:
    brief = f"cannot write {directory}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(brief, resolution="Free some space there, or name another --output.")
    return UsageError(brief, resolution="Name another --output.")
