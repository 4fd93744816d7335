"""Directories that belong to a process: whoever finds one whose process is gone may have it.

The lock on a directory ends with its process, however that ends (flock(2)), so that no process numbers are compared,
which come again and mean nothing in another container. Where a file system has no such locks, nothing counts as left.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

STAGING = ".musllinux-build-"
"""How names of directories begin in which files are made before they are whole."""


@contextmanager
def claimed(parent: Path, prefix: str = STAGING) -> Iterator[Path]:
    """A new directory in ``parent`` that is this process's for the duration of the block.

    What is renamed out of it stays; so does the directory itself when it has another name at the end.

    Raises:
        OSError: it cannot be made.
    """
    path, handle = _claim(parent, prefix)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def _claim(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # taken for abandoned before it was locked
            continue
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        if path.is_dir():
            return path, handle
        os.close(handle)


@contextmanager
def taken_over(parent: Path, prefix: str = STAGING) -> Iterator[list[Path]]:
    """The directories whose processes are gone; nobody else gets them during the block."""
    with ExitStack() as stack:
        found = []
        for path in sorted(parent.glob(f"{prefix}*")):
            with suppress(OSError):
                handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                stack.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.is_dir():  # another process may have had it meanwhile
                    found.append(path)
        yield found


def remove_abandoned(parent: Path, prefix: str = STAGING) -> None:
    """Remove what killed processes left in ``parent``; what cannot be removed stays."""
    with taken_over(parent, prefix) as found:
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
