"""What an image is made from and with: a target and the lock → build arguments, labels, tag and files, as data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.images.lock import ApkRow, Lock, SourceRow, WheelRow, format_lock
from musllinux_build.images.reference import image_reference
from musllinux_build.policy import Policy
from musllinux_build.ports import LABEL, POLICY_LABEL, PYTHONS_LABEL

STAGES = ("3.11", "3.13")
"""The interpreters that the Dockerfile has stages for; one that is not selected gets no version and is left out."""

LIBRARIES = ("openssl", "zlib", "bzip2", "xz", "libffi", "sqlite")
"""The sources that every interpreter is linked with."""

OPENSSL_TARGETS: dict[Arch, str] = {
    # OpenSSL's Configurations/10-main.conf: the configuration with the architecture's assembler.
    Arch.X86_64: "linux-x86_64",
    Arch.AARCH64: "linux-aarch64",
    Arch.I686: "linux-x86",
    Arch.PPC64LE: "linux-ppc64le",
    Arch.S390X: "linux64-s390x",
    Arch.ARMV7L: "linux-armv4",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFile:
    """A pinned file and its path in the build context."""

    path: str
    row: SourceRow | WheelRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecipe:
    """One image build, but for the references of its bases and its compiler, which the engine knows.

    ``directories`` have to exist in the context even when they are empty.
    """

    policy: Policy
    arch: Arch
    tag: str
    args: Mapping[str, str]
    labels: Mapping[str, str]
    files: tuple[ContextFile, ...]
    directories: tuple[str, ...]


def apk_branch(release: str) -> str:
    """``v3.13``: the directory of a release's packages on a mirror."""
    return f"v{'.'.join(release.split('.')[:2])}"


def lock_digest(lock: Lock) -> str:
    """16 hexadecimal digits that change with any row of the lock."""
    return hashlib.sha256(format_lock(lock).encode()).hexdigest()[:16]


def plan_image(
    policy: Policy,
    arch: Arch,
    lock: Lock,
    *,
    pythons: Sequence[SourceRow],
    libraries: Sequence[SourceRow],
    engine: Arch,
    registry: str,
) -> ImageRecipe:
    """The recipe for an image with these interpreters, built on an engine of architecture ``engine``.

    Raises:
        UsageError: there is no stage for an interpreter, two of one feature release, or a library is missing.
    """
    selected = _selected(pythons)
    missing = [name for name in LIBRARIES if name not in {row.name for row in libraries}]
    if missing:
        raise UsageError(f"the lock does not have {', '.join(missing)}")
    files = (
        *(ContextFile(path=f"sources/{row.name}/{row.archive}", row=row) for row in libraries),
        *(ContextFile(path=f"sources/cpython-{row.minor}/{row.archive}", row=row) for row in selected.values()),
        *(ContextFile(path=f"wheels/{row.filename}", row=row) for row in lock.wheel_group("python", arch)),
    )
    return ImageRecipe(
        policy=policy,
        arch=arch,
        tag=image_reference(registry, policy, arch),
        args={
            **_target_args(policy, arch, lock.apk(policy, arch)),
            **{f"CPYTHON_{minor.replace('.', '_')}": _version(selected, minor) for minor in STAGES},
            "BUILDER_PLATFORM": engine.oci_platform,
            "TARGET_PLATFORM": arch.oci_platform,
        },
        labels=_labels(policy, arch, lock, [row.version for row in selected.values()]),
        files=files,
        directories=("apk", "wheels", *(f"sources/cpython-{minor}" for minor in STAGES)),
    )


def _selected(pythons: Sequence[SourceRow]) -> dict[str, SourceRow]:
    selected: dict[str, SourceRow] = {}
    for row in sorted(pythons, key=lambda one: one.order):
        if row.minor not in STAGES:
            raise UsageError(f"there is no stage for CPython {row.minor}", resolution=f"Known: {', '.join(STAGES)}.")
        if row.minor in selected:
            raise UsageError(f"CPython {row.version} and {selected[row.minor].version} cannot be in one image")
        selected[row.minor] = row
    if not selected:
        raise UsageError("an image needs an interpreter", resolution=f"Known: {', '.join(STAGES)}.")
    return selected


def _version(selected: Mapping[str, SourceRow], minor: str) -> str:
    return selected[minor].version if minor in selected else ""


def _target_args(policy: Policy, arch: Arch, packages: ApkRow) -> dict[str, str]:
    """The names of the target; every one comes from a table."""
    musl = f"musl={policy.row.musl_package}"
    return {
        "POLICY": policy.value,
        "MUSL_PACKAGE": policy.row.musl_package,
        "APK_BRANCH": apk_branch(policy.row.base),
        "SYSROOT_PACKAGES": " ".join((musl, *packages.sysroot)),
        "IMAGE_PACKAGES": " ".join((musl, *packages.image)),
        "TARGET_ARCH": arch.value,
        "TARGET_TRIPLE": arch.row.triple,
        "TARGET_MULTIARCH": arch.row.multiarch,
        "TARGET_LOADER": arch.row.loader,
        "TARGET_LIBC": arch.row.libc_soname,
        "TARGET_ELF": f"{arch.row.elf.machine}:{arch.row.elf.bits}",
        "OPENSSL_TARGET": OPENSSL_TARGETS[arch],
    }


def _labels(policy: Policy, arch: Arch, lock: Lock, pythons: Sequence[str]) -> dict[str, str]:
    base = lock.base(policy.row.base, arch)
    ours = LABEL.rpartition(".")[0]
    labels = {
        LABEL: "image",
        POLICY_LABEL: policy.value,
        f"{ours}.arch": arch.value,
        f"{ours}.musl": policy.row.musl_package,
        f"{ours}.alpine": policy.row.base,
        PYTHONS_LABEL: ",".join(pythons),
        f"{ours}.lock": lock_digest(lock),
        "org.opencontainers.image.title": policy.platform_tag(arch),
        "org.opencontainers.image.description": f"Builds {policy.value} wheels for {arch.value}",
        "org.opencontainers.image.source": "https://github.com/musllinux-build/musllinux-build",
        "org.opencontainers.image.base.name": f"docker.io/library/alpine:{policy.row.base}",
    }
    if base.digest is not None:
        labels["org.opencontainers.image.base.digest"] = base.digest
    return labels
