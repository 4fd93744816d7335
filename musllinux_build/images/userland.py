"""The data image of the native userland, made from the engine's own stock Alpine and pinned packages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.errors import ImageError
from musllinux_build.images.bases import ensure_base, file_sha256
from musllinux_build.images.context import context_tar
from musllinux_build.images.ingredients import package_files, shipped_files
from musllinux_build.images.recipe import apk_branch
from musllinux_build.images.supplies import Supplies
from musllinux_build.policy import Policy
from musllinux_build.ports import LABEL, BuildSpec, Engine, Progress
from musllinux_build.userland import FOREIGN, USERLAND_PACKAGES

DOCKERFILE = "userland.Dockerfile"


def ensure_userland_image(
    engine: Engine, arch: Arch, policy: Policy, *, toolchain: str, supplies: Supplies, progress: Progress
) -> str:
    """The tag of the data image for an engine of ``arch`` and containers of ``policy``'s Alpine, built if need be.

    ``toolchain`` is the tag of the compiler's data image, which has the program behind the names.

    Raises:
        ImageError: a base, a package or a step of the build is not to be had.
        FetchError: a package is not the lock's.
    """
    base = ensure_base(engine, policy.row.base, arch, supplies, progress)
    files = {**shipped_files(DOCKERFILE), **package_files(supplies, policy, arch, _is_wanted)}
    local = supplies.apk_directory() is not None
    args = {
        "ENGINE_BASE": base,
        "ENGINE_PLATFORM": arch.oci_platform,
        "TOOLCHAIN_IMAGE": toolchain,
        "APK_MIRROR": "" if local else supplies.apk_mirror or "",
        "APK_BRANCH": apk_branch(policy.row.base),
        "USERLAND_PACKAGES": " ".join(_packages(supplies, policy, arch)),
        "USERLAND_FOREIGN": " ".join(FOREIGN),
    }
    tag = f"musllinux-build/userland:{policy.value}-{arch.value}-{_key(engine, files, args)}"
    if engine.image(tag) is not None:
        return tag
    spec = BuildSpec(
        context=context_tar(files, ("apk",)),
        dockerfile=DOCKERFILE,
        tag=tag,
        platform="",
        args=args,
        labels={LABEL: "userland"},
        network="none" if supplies.offline and local else "default",
    )
    with progress.step(f"native userland for {arch.value} engines (once per engine)"):
        engine.build(spec, progress.detail)
    return tag


_WANTED = re.compile(rf"(?:musl|{'|'.join(USERLAND_PACKAGES)})-\d")
"""Files of these packages: a mirror's compilers are large, and nobody asks for them here."""


def _is_wanted(filename: str) -> bool:
    return _WANTED.match(filename) is not None


def _packages(supplies: Supplies, policy: Policy, arch: Arch) -> tuple[str, ...]:
    """The packages as the lock of the engine's own image pins them, musl held as it is there."""
    row = supplies.lock.apk(policy, arch)
    pinned = [text for text in row.image if text.partition("=")[0] in USERLAND_PACKAGES]
    missing = set(USERLAND_PACKAGES) - {text.partition("=")[0] for text in pinned}
    if missing:
        raise ImageError(f"the lock has no {', '.join(sorted(missing))} for {policy.platform_tag(arch)}")
    return (f"musl={policy.row.musl_package}", *pinned)


def _key(engine: Engine, files: Mapping[str, Path], args: Mapping[str, str]) -> str:
    """16 hexadecimal digits that change with anything the image is made from."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path}\0{file_sha256(files[path])}\0".encode())
    for name, value in sorted(args.items()):
        found = engine.image(value) if name in ("ENGINE_BASE", "TOOLCHAIN_IMAGE") else None
        digest.update(f"{name}={found.id if found else value}\0".encode())
    return digest.hexdigest()[:16]
