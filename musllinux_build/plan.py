"""Config, project and what the images hold → Plan: architecture x policy x Python, a reason for every skip."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from types import MappingProxyType

from packaging.specifiers import SpecifierSet

from musllinux_build.arch import Arch
from musllinux_build.config import Config, parse_only
from musllinux_build.errors import UsageError, near_miss
from musllinux_build.policy import Policy
from musllinux_build.python import PythonTag


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One wheel to build."""

    arch: Arch
    policy: Policy
    python: PythonTag

    @property
    def identifier(self) -> str:
        """``cp313-musllinux_1_2_x86_64``."""
        return f"{self.python}-{self.policy.platform_tag(self.arch)}"

    @property
    def names(self) -> tuple[str, str]:
        """The identifier and cibuildwheel's for the same wheel, which leaves the musl version out."""
        return self.identifier, f"{self.python}-musllinux_{self.arch.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A target that is not built, and why."""

    target: Target
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is built, in order (architecture, policy, Python), and what is not."""

    targets: tuple[Target, ...]
    skipped: tuple[Skip, ...]

    def to_json(self) -> Mapping[str, object]:
        """The plan as plain data; ``version`` changes with its shape."""
        return {
            "version": 1,
            "targets": [_describe(target) for target in self.targets],
            "skipped": [{**_describe(skip.target), "reason": skip.reason} for skip in self.skipped],
        }


def plan(
    config: Config,
    *,
    pythons: Sequence[PythonTag],
    requires_python: SpecifierSet,
    native: Arch,
    images: Mapping[tuple[Policy, Arch], str] | None = None,
    elsewhere: str = "",
    here: Mapping[tuple[Policy, Arch], Collection[PythonTag]] = MappingProxyType({}),
    prereleases: Mapping[PythonTag, str] = MappingProxyType({}),
) -> Plan:
    """Every combination, split into what is built and what is not.

    ``pythons`` are those our images have; ``native`` is the engine's architecture, the default; ``images`` are the
    policies and architectures there are images for, with the reason where one cannot be made, None for all;
    ``elsewhere`` says why nothing else is built where that is not because this release lacks the image; ``here`` are
    the Pythons of images that are there already, which may be fewer: what nobody has asked for by name is left out,
    as are ``prereleases``: a wheel built with one may not load with the release.

    Raises:
        UsageError: ``--only`` or ``--python`` names nothing that could be built, or ``--only`` what is excluded.
    """
    if config.only:
        found = [_only(identifier, pythons, images) for identifier in config.only]
        for target in found:
            if not _allows(requires_python, target.python):
                raise UsageError(
                    f"--only {target.identifier}: the project's requires-python is {requires_python}",
                    resolution="Choose a Python that it allows: pip would install the wheel on no other",
                )
        return Plan(targets=tuple(dict.fromkeys(found)), skipped=())
    chosen = config.pythons or tuple(pythons)
    unknown = [str(tag) for tag in chosen if tag not in pythons]
    if unknown:
        known = [str(tag) for tag in pythons]
        raise UsageError(f"no image has the Python {', '.join(unknown)}", resolution=near_miss(unknown[0], known))
    targets: list[Target] = []
    skipped: list[Skip] = []
    for arch, policy, python in product(config.archs or (native,), config.policies or (Policy.MUSLLINUX_1_2,), chosen):
        target = Target(arch=arch, policy=policy, python=python)
        reason = _refusal(target, config, requires_python) or _no_image(target, images, elsewhere)
        if not reason and not config.pythons:
            reason = _unasked(target, prereleases, here)
        if reason:
            skipped.append(Skip(target=target, reason=reason))
        else:
            targets.append(target)
    return Plan(targets=tuple(targets), skipped=tuple(skipped))


def _refusal(target: Target, config: Config, requires_python: SpecifierSet) -> str:
    """Why ``target`` is not built; empty when it is."""
    if not _allows(requires_python, target.python):
        return f"requires-python {requires_python}"
    if not _matches(target, config.build):
        return f"not selected by build = {' '.join(config.build)}"
    if _matches(target, config.skip):
        return f"skip = {' '.join(config.skip)}"
    return ""


def _unasked(
    target: Target,
    prereleases: Mapping[PythonTag, str],
    here: Mapping[tuple[Policy, Arch], Collection[PythonTag]],
) -> str:
    """Why a Python that nobody named is left out; empty when it is not."""
    python = target.python
    if python in prereleases:
        name = f"{python.version}{'t' if python.free_threaded else ''}"
        return f"{prereleases[python]} is a prerelease: name it with --python {name}"
    if python not in here.get((target.policy, target.arch), (python,)):
        return f"the image that is here has no Python {python.version}; --pull always asks for another one"
    return ""


def _allows(requires_python: SpecifierSet, python: PythonTag) -> bool:
    """A series is excluded when all of its releases are: ">=3.11.4" and "==3.13.5" each leave one."""
    return any(requires_python.contains(f"{python.version}.{micro}", prereleases=True) for micro in range(100))


def _no_image(target: Target, images: Mapping[tuple[Policy, Arch], str] | None, elsewhere: str) -> str:
    if images is None:
        return ""
    if (target.policy, target.arch) in images:
        unmade = images[target.policy, target.arch]
        return f"no image {target.policy.platform_tag(target.arch)} can be made here: {unmade}" if unmade else ""
    return (
        elsewhere
        or f"this release has no image {target.policy.platform_tag(target.arch)}; name your own with --registry"
    )


def _matches(target: Target, patterns: Iterable[str]) -> bool:
    return any(
        fnmatchcase(name, pattern)
        for written in patterns
        for pattern in expand_braces(written)
        for name in target.names
    )


def expand_braces(pattern: str) -> tuple[str, ...]:
    """``cp{311,313}-*`` as its alternatives, as cibuildwheel's selectors allow."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if not found:
        return (pattern,)
    head, tail = pattern[: found.start()], pattern[found.end() :]
    return tuple(item for part in found[1].split(",") for item in expand_braces(head + part + tail))


def _only(identifier: str, pythons: Sequence[PythonTag], images: Mapping[tuple[Policy, Arch], str] | None) -> Target:
    try:
        python, _ = parse_only(identifier)
    except ValueError as error:
        raise UsageError(str(error), resolution="Write it as --only cp313-musllinux_1_2_x86_64") from None
    # The short name of cibuildwheel means the current series, so that one comes first.
    every = [
        Target(arch=arch, policy=policy, python=tag)
        for policy in (Policy.MUSLLINUX_1_2, Policy.MUSLLINUX_1_1)
        for arch in Arch
        for tag in pythons
        if images is None or (policy, arch) in images
    ]
    for target in every:
        if identifier in target.names:
            return target
    known = [target.identifier for target in every if target.python == python] or [t.identifier for t in every]
    raise UsageError(f"--only {identifier}: there is no such image", resolution=near_miss(identifier, known))


def _describe(target: Target) -> dict[str, object]:
    return {
        "id": target.identifier,
        "arch": target.arch.value,
        "policy": target.policy.value,
        "python": str(target.python),
    }
