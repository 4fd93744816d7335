"""Files and directories that are there whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from musllinux_build.errors import DiskFullError, MergeError, MusllinuxBuildError, UsageError

BLOCK = 1 << 20
STAGING = ".musllinux-build-merge-"


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
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        os.fchmod(handle, 0o644)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


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
        _clear_abandoned(directory.parent)
        with tempfile.TemporaryDirectory(prefix=STAGING, dir=directory.parent) as staging, _locked(Path(staging)):
            whole = Path(staging) / "whole"
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


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The lock on a directory, which ends with its process, however that ends.

    Raises:
        BlockingIOError: another process has it.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _clear_abandoned(directory: Path) -> None:
    """Remove what killed processes left."""
    for path in directory.glob(f"{STAGING}*"):
        with suppress(OSError), _locked(path):
            shutil.rmtree(path)


def _holds(directory: Path, files: Mapping[Path, str]) -> bool:
    wanted = {path.name: sha256 for path, sha256 in files.items()}
    there = {path.name: file_digest(path) if path.is_file() else "" for path in directory.iterdir()}
    return there == wanted


def _refused(directory: Path, error: OSError) -> MusllinuxBuildError:
    brief = f"cannot write {directory}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(brief, resolution="Free some space there, or name another --output.")
    return UsageError(brief, resolution="Name another --output.")
