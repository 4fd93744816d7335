"""A lock measured where the registries and Alpine's mirror are: digests of bases, and versions of packages.

Only what can move is measured. Archives and sources have hashes that hold wherever they come from.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.errors import RegistryError
from musllinux_build.images.lock import ApkRow, BaseRow, Lock, SourceRow, parse_lock
from musllinux_build.images.mirror import Root, needed_packages, open_repositories, pinned_row
from musllinux_build.ports import Progress, Registry

HUB = "docker.io/library"
"""Where the official images are, Alpine's and Debian's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Online:
    """What is asked.

    ``read`` gives what the package mirror has at a path, ``root`` reads the archive of a base, ``size`` is that of a
    source whose hash is known.
    """

    registry: Registry
    read: Callable[[str], bytes | None]
    root: Callable[[BaseRow], Root]
    size: Callable[[SourceRow], int]
    progress: Progress


def measure_online(lock: Lock, world: Online) -> Lock:
    """``lock`` with the digests that the registry has today, the newest packages of each release, and no size left out.

    Raises:
        RegistryError: the registry lacks an image, or does not have it for an architecture.
        FetchError: an index cannot be had, or nobody who is trusted signed it.
        UsageError: the mirror lacks a package.
    """
    with world.progress.step("digests of base images"):
        bases = tuple(
            replace(row, digest=platform_digest(world.registry, f"alpine:{row.release}", row.arch))
            for row in lock.bases
        )
        builders = tuple(
            replace(row, digest=platform_digest(world.registry, row.image, row.arch)) for row in lock.builders
        )
    sources = tuple(replace(row, size=world.size(row)) if row.size is None else row for row in lock.sources)
    lock = replace(lock, bases=bases, builders=builders, sources=sources)
    return replace(lock, apks=tuple(_packages(row, lock, world) for row in lock.apks))


def platform_digest(registry: Registry, image: str, arch: Arch) -> str:
    """The digest of an official image (``alpine:3.13.12``) for one architecture, from its index.

    Raises:
        RegistryError: there is none.
    """
    name, _, tag = image.partition(":")
    repository = f"{HUB}/{name}"
    content = registry.manifest(repository, tag)
    listed = json.loads(content).get("manifests", ()) if content is not None else ()
    for one in listed:
        platform = one.get("platform", {})
        if platform.get("os") == "linux" and arch is Arch.from_oci(
            platform.get("architecture", ""), platform.get("variant")
        ):
            return str(one["digest"])
    raise RegistryError(f"{repository}:{tag} has no image for {arch.oci_platform}")


def _packages(row: ApkRow, lock: Lock, world: Online) -> ApkRow:
    with world.progress.step(f"packages of {row.policy.platform_tag(row.arch)}"):
        root = world.root(lock.base(row.policy.row.base, row.arch))
        repositories = open_repositories(row.policy, row.arch, world.read, root.keys)
        packages = [package for one in repositories for package in one.packages]
        newest = replace(row, sysroot=_names(row.sysroot), image=_names(row.image), extra=_names(row.extra), closure=())
        wanted = needed_packages(newest, packages, root.installed)
    return pinned_row(newest, root.installed, wanted)


def _names(requests: Iterable[str]) -> tuple[str, ...]:
    """What is asked for, whatever version it had."""
    return tuple(request.partition("=")[0] for request in requests)


def patched(text: str, lock: Lock, path: Path) -> str:
    """The text of a lock file with what ``measure_online`` measures taken from ``lock``; its comments stay."""
    digests = {("base", row.release, row.arch.value): row.digest for row in lock.bases}
    digests |= {("builder", "", row.arch.value): row.digest for row in lock.builders}
    sizes = {(row.name, row.version): row.size for row in lock.sources}
    packages = {(row.policy.value, row.arch.value): row for row in lock.apks}

    def renewed(part: str) -> str:
        found = next(((name, rows[0]) for name, rows in tomllib.loads(part).items() if isinstance(rows, list)), None)
        if found is None:
            return part
        name, values = found
        if name == "apk":
            row = packages[values["policy"], values["arch"]]
            pinned = _with_versions(
                re.sub(r"(?ms)\nclosure = \[.*?\]", "", part),
                {request.partition("=")[0]: request for request in _requests(row)},
            )
            return f"{pinned.rstrip()}\n{_closure(row)}{part[len(part.rstrip()) :]}"
        if name == "source" and (size := sizes[values["name"], values["version"]]) is not None:
            return re.sub(r"(?m)^size = .*$", f"size = {size}", part)
        if digest := digests.get((name, values.get("release", ""), values.get("arch", ""))):
            return re.sub(r"(?m)^digest = .*$", f'digest = "{digest}"', part)
        return part

    result = "\n\n".join(renewed(part) for part in text.split("\n\n"))
    if parse_lock(result, str(path)) != lock:
        raise AssertionError(f"{path} and what was measured of it differ")
    return result


def _requests(row: ApkRow) -> tuple[str, ...]:
    return (*row.sysroot, *row.image, *row.extra)


def _closure(row: ApkRow) -> str:
    return "\n".join(("closure = [", *(f'    "{one}",' for one in row.closure), "]"))


def _with_versions(part: str, requests: Mapping[str, str]) -> str:
    """Each quoted name, pinned or not, as the request is now."""
    return re.sub(r'"([^"=]+)(?:=[^"]*)?"', lambda match: f'"{requests.get(match[1], match[1])}"', part)
