"""A cross clang for an Alpine root: plain ``zig clang`` with lld, against the root's own musl.

``zig cc`` is another thing: it brings its own musl, and what it links can ask for symbols the root lacks.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from musllinux_build.arch import Arch
from tests.lab.commands import run, step

VERSION = "0.17.1"
WHEEL_SHA256 = "ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54"
"""The wheel for x86_64 build machines, which the builder root is for, too."""


def fetch(directory: Path) -> Path:
    """The zig executable, from the package index pip is configured for."""
    home = directory / f"ziglang-{VERSION}"
    executable = home / "ziglang" / "zig"
    if not executable.exists():
        with step(f"ziglang {VERSION}"):
            downloads = directory / "downloads"
            downloads.mkdir(parents=True, exist_ok=True)
            wanted = downloads / "requirements.txt"
            wanted.write_text(f"ziglang=={VERSION} --hash=sha256:{WHEEL_SHA256}\n")
            options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--disable-pip-version-check"]
            command = [sys.executable, "-m", "pip", "download", "--quiet", *options]
            run([*command, "--requirement", wanted, "--dest", downloads])
            (wheel,) = downloads.glob(f"ziglang-{VERSION}-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(home)
            wheel.unlink()
            executable.chmod(0o755)
    return executable


def write_wrappers(zig: Path, arch: Arch, sysroot: Path, directory: Path) -> Path:
    """A directory with cc, ar, ranlib and the linkers, to be first in PATH."""
    directory.mkdir(parents=True, exist_ok=True)
    clang = [
        str(zig),
        "clang",
        "--driver-mode=gcc",
        f"--target={arch.row.triple}",
        f"--sysroot={sysroot}",
        f"--gcc-toolchain={sysroot}/usr",
        f"-resource-dir={zig.parent / 'lib'}",
        f"-B{directory}",
        "-fuse-ld=lld",
        "-static-libgcc",
        "-Wno-unused-command-line-argument",
    ]
    commands = {
        "cc": clang,
        "gcc": clang,
        "ar": [str(zig), "ar"],
        "ranlib": [str(zig), "ranlib"],
        "ld": [str(zig), "ld.lld"],
        "ld.lld": [str(zig), "ld.lld"],
    }
    for name, words in commands.items():
        path = directory / name
        path.write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n')
        path.chmod(0o755)
    return directory
