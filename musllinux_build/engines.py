"""Which engines build for which architecture: ``[ARCH=]SPEC[?slots=N]`` and where that is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from musllinux_build.arch import Arch

VARIABLE = "MUSLLINUX_BUILD_ENGINE"
"""The environment variable for engines; with ``_AARCH64`` and so on behind it, that of one architecture."""

PODMAN_SOCKETS = ("{XDG_RUNTIME_DIR}/podman/podman.sock", "/run/podman/podman.sock")
"""Where podman answers Docker's API (podman-system-service(1)): for a user, for root."""

_FORM = re.compile(r"(?:(?P<arch>[a-z0-9_]+)=)?(?P<where>[^?]+)(?:\?slots=(?P<slots>\d+))?")
_CONTEXT = re.compile(r"[A-Za-z0-9][\w.+-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """An engine as somebody names it. ``arch`` None: for what it executes natively, or for all that no other builds.

    ``slots`` wheels are built there at once.
    """

    where: str
    arch: Arch | None = None
    slots: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an engine is: at a ``url``, or where the docker ``context`` says."""

    url: str = ""
    context: str = ""


def parse_engine(text: str, arch: Arch | None = None) -> EngineSpec:
    """The engine in ``aarch64=ssh://user@host?slots=2``; ``arch`` is the architecture it is already named for.

    Raises:
        ValueError: it is none.
    """
    found = _FORM.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not [ARCH=]SPEC[?slots=N]")
    where, named = found["where"], found["arch"]
    if named is not None and "://" not in named:
        try:
            chosen = Arch(named)
        except ValueError:
            raise ValueError(f"{text!r}: {named} is no architecture") from None
        if arch is not None and chosen is not arch:
            raise ValueError(f"{text!r} is for {chosen.value}, not {arch.value}")
        arch = chosen
    scheme = where.partition("://")[0] if "://" in where else ""
    if scheme not in ("", "unix", "tcp", "ssh", "http", "https", "podman:unix", "podman:tcp", "podman:ssh"):
        raise ValueError(f"{text!r}: {scheme}:// is no address of an engine")
    if not scheme and not _CONTEXT.fullmatch(where):
        raise ValueError(f"{text!r}: {where} is no name of a docker context")
    slots = int(found["slots"] or 1)
    if slots < 1:
        raise ValueError(f"{text!r}: an engine needs a slot")
    return EngineSpec(where=where, arch=arch, slots=slots)


def address_of(spec: EngineSpec, environment: Mapping[str, str], exists: Callable[[str], bool]) -> Address:
    """Where the engine is."""
    where = spec.where
    if where == "podman":
        runtime = environment.get("XDG_RUNTIME_DIR", "/run/user/0")
        sockets = [path.format(XDG_RUNTIME_DIR=runtime) for path in PODMAN_SOCKETS]
        return Address(url=f"unix://{next(filter(exists, sockets), sockets[-1])}")
    if where.startswith("podman:ssh://") and not where.removeprefix("podman:ssh://").partition("/")[2]:
        where = f"{where.rstrip('/')}{PODMAN_SOCKETS[-1]}"
    where = where.removeprefix("podman:")
    return Address(url=where) if "://" in where else Address(context=where)


def named_in(environment: Mapping[str, str]) -> list[EngineSpec]:
    """The engines that variables name for one architecture each.

    Raises:
        ValueError: one names none.
    """
    found = ((arch, environment.get(f"{VARIABLE}_{arch.value.upper()}", "")) for arch in Arch)
    return [parse_engine(text, arch) for arch, text in found if text]
