"""A cross clang for an Alpine root: plain ``zig clang`` with lld, against the root's own musl.

``zig cc`` is another thing: it brings its own musl, and what it links can ask for symbols the root lacks.
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.toolchain import TARGETS
from tests.lab.commands import run, step

VERSION = "0.17.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """The ziglang wheel whose executable runs on one architecture."""

    platform: str
    sha256: str


WHEELS: dict[Arch, Wheel] = {
    Arch.X86_64: Wheel(
        platform="manylinux_2_12_x86_64", sha256="ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54"
    ),
    Arch.AARCH64: Wheel(
        platform="manylinux_2_17_aarch64", sha256="b7c5f02fccd40f89b999ee16a1f5ddced56e6182370f8affe494bcf8a28cf07e"
    ),
    Arch.I686: Wheel(
        platform="manylinux_2_12_i686", sha256="d0549d5db63961ad9ed83ef628a45e3309542410dbcb6010116f4f2a3274d966"
    ),
    Arch.PPC64LE: Wheel(
        platform="manylinux_2_17_ppc64le", sha256="d3bf27478d4593f2df7daf5c59b616a543b8f9e2cc9235bef84d8e54862a4334"
    ),
    Arch.S390X: Wheel(
        platform="manylinux_2_17_s390x", sha256="87f24e5cdca55f5d47c1e20570eebb61a53957fafe4c35c69740e13affe407ba"
    ),
    Arch.ARMV7L: Wheel(
        platform="manylinux_2_17_armv7l", sha256="7ec229ead4a08f3bc537ed33fa8c0f811739b81a0d05afbea89db30afb4df1cc"
    ),
}
"""The wheels differ in the executable alone; what belongs to it is taken from the build machine's."""


def download(directory: Path, arch: Arch) -> Path:
    """The wheel of an architecture, from the package index pip is configured for."""
    wheel = WHEELS[arch]
    downloads = directory / "downloads" / arch.value
    if not (found := tuple(downloads.glob(f"ziglang-{VERSION}-*.whl"))):
        with step(f"ziglang {VERSION} for {arch.value}"):
            shutil.rmtree(downloads, ignore_errors=True)
            partial = downloads.with_name(f".{arch.value}.partial")
            partial.mkdir(parents=True, exist_ok=True)
            wanted = partial / "requirements.txt"
            wanted.write_text(f"ziglang=={VERSION} --hash=sha256:{wheel.sha256}\n")
            options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--disable-pip-version-check"]
            command = [sys.executable, "-m", "pip", "download", "--quiet", *options, "--platform", wheel.platform]
            run([*command, "--requirement", wanted, "--dest", partial])
            partial.replace(downloads)
            found = tuple(downloads.glob(f"ziglang-{VERSION}-*.whl"))
    return found[0]


def fetch(directory: Path) -> Path:
    """The zig executable of the build machine, which is x86_64 as the builder root, with all that belongs to it."""
    home = directory / f"ziglang-{VERSION}"
    executable = home / "ziglang" / "zig"
    if not executable.exists():
        partial = home.with_name(f".{home.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(download(directory, Arch.X86_64)) as archive:
            archive.extractall(partial)
        (partial / "ziglang" / "zig").chmod(0o755)
        shutil.rmtree(home, ignore_errors=True)
        partial.replace(home)
    return executable


def read_executable(directory: Path, arch: Arch) -> bytes:
    """The zig executable that runs on an architecture."""
    with zipfile.ZipFile(download(directory, arch)) as archive:
        return archive.read("ziglang/zig")


def write_wrappers(zig: Path, arch: Arch, sysroot: Path, directory: Path) -> Path:
    """A directory with cc, c++, ar, ranlib and the linkers, to be first in PATH."""
    directory.mkdir(parents=True, exist_ok=True)
    flags = [
        f"--target={arch.row.triple}",
        *TARGETS[arch],
        f"--sysroot={sysroot}",
        f"--gcc-toolchain={sysroot}/usr",
        f"-resource-dir={zig.parent / 'lib'}",
        f"-B{directory}",
        "-fuse-ld=lld",
        "-static-libgcc",
        "-Wno-unused-command-line-argument",
    ]
    clang = [str(zig), "clang", "--driver-mode=gcc", *flags]
    commands = {
        "cc": clang,
        "gcc": clang,
        "c++": [str(zig), "clang", "--driver-mode=g++", *flags],
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
