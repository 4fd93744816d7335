"""What goes into a stage's build context beside pinned files: the shipped Dockerfile, its scripts, packages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.errors import FetchError, ImageError
from musllinux_build.images.apkfile import INDEX, REPOSITORIES, Package, check_package
from musllinux_build.images.recipe import apk_branch
from musllinux_build.images.supplies import Supplies
from musllinux_build.policy import Policy
from musllinux_build.shipped import shipped


def declared_arguments(dockerfile: str) -> frozenset[str]:
    """The build arguments that a Dockerfile takes; an engine warns of others."""
    return frozenset(re.findall(r"^ARG (\w+)$", dockerfile, re.MULTILINE))


def shipped_files(dockerfile: str = "Dockerfile") -> Mapping[str, Path]:
    """A Dockerfile and the scripts it names, by their path in the context."""
    root = shipped("dockerfiles")
    named = re.findall(r"scripts/([\w.-]+)", (root / dockerfile).read_text(encoding="utf-8"))
    scripts = {f"scripts/{name}": root / "scripts" / name for name in named if (root / "scripts" / name).is_file()}
    return {dockerfile: root / dockerfile, **scripts}


def package_files(
    supplies: Supplies, policy: Policy, arch: Arch, only: Callable[[str], bool] = lambda _: True
) -> Mapping[str, Path]:
    """The packages and keys of a mirror directory that this architecture needs, by their path in the context.

    Where the lock has their checksums, they are those packages and no others. ``only`` says by their file names which
    packages are wanted at all.

    Raises:
        ImageError: the directory has no index for it.
        FetchError: a package is not there, or is not the lock's.
    """
    root = supplies.apk_directory()
    if root is None:
        return {}
    branch, machine = apk_branch(policy.row.base), arch.row.apk
    if not (root / branch / REPOSITORIES[0] / machine / INDEX).is_file():
        raise ImageError(
            f"the package mirror has nothing for {policy.platform_tag(arch)}",
            details=f"{root / branch / REPOSITORIES[0] / machine / INDEX} is missing",
            resolution="Name a mirror with this architecture.",
        )
    found = {f"apk/keys/{path.name}": path for path in (root / "keys").glob("*.rsa.pub")}
    for name in REPOSITORIES:
        for path in sorted((root / branch / name / machine).glob("*")):
            if path.suffix == ".gz" or (path.suffix == ".apk" and only(path.name)):
                found[f"apk/{branch}/{name}/{machine}/{path.name}"] = path
    closure = [text for text in supplies.lock.apk(policy, arch).closure if only(locked_package(text).filename)]
    return _closed(found, closure) if supplies.lock.apk(policy, arch).closure else found


def _closed(found: Mapping[str, Path], closure: Sequence[str]) -> Mapping[str, Path]:
    """Of the packages those of the lock, every one of them checked."""
    by_name = {path.name: (place, path) for place, path in found.items() if path.suffix == ".apk"}
    kept = {place: path for place, path in found.items() if path.suffix != ".apk"}
    for text in closure:
        package = locked_package(text)
        if package.filename not in by_name:
            raise FetchError(f"{package.filename} is not in the package mirror", details="the lock names it")
        place, path = by_name[package.filename]
        check_package(path.read_bytes(), replace(package, size=path.stat().st_size))
        kept[place] = path
    return kept


def locked_package(text: str) -> Package:
    """The package that a closure of the lock names: ``bash=5.1.0-r0 Q1...``."""
    request, _, checksum = text.partition(" ")
    name, _, version = request.partition("=")
    return Package(name=name, version=version, checksum=checksum)
