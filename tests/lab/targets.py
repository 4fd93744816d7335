"""What Debian calls the six architectures, one row each; all other names are in ``musllinux_build.arch``."""

from __future__ import annotations

from dataclasses import dataclass

from musllinux_build.arch import Arch


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianNames:
    """Debian's names of one architecture."""

    architecture: str
    multiarch: str
    """Directory of the kernel's ``asm`` headers below /usr/include."""
    gcc: str
    """Directory of gcc's runtime below /usr/lib/gcc."""


DEBIAN: dict[Arch, DebianNames] = {
    Arch.X86_64: DebianNames(architecture="amd64", multiarch="x86_64-linux-gnu", gcc="x86_64-linux-gnu"),
    Arch.AARCH64: DebianNames(architecture="arm64", multiarch="aarch64-linux-gnu", gcc="aarch64-linux-gnu"),
    Arch.I686: DebianNames(architecture="i386", multiarch="i386-linux-gnu", gcc="i686-linux-gnu"),
    Arch.PPC64LE: DebianNames(architecture="ppc64el", multiarch="powerpc64le-linux-gnu", gcc="powerpc64le-linux-gnu"),
    Arch.S390X: DebianNames(architecture="s390x", multiarch="s390x-linux-gnu", gcc="s390x-linux-gnu"),
    Arch.ARMV7L: DebianNames(architecture="armhf", multiarch="arm-linux-gnueabihf", gcc="arm-linux-gnueabihf"),
}
