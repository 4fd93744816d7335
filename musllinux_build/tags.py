"""Wheel file names: parse, format and retag, on PEP 427, PEP 425 and PEP 656."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from packaging.version import InvalidVersion, Version

from musllinux_build.arch import Arch
from musllinux_build.errors import WheelError
from musllinux_build.policy import MuslVersion, Policy, known_policies
from musllinux_build.python import PythonTag

MUSLLINUX = re.compile(r"musllinux_(\d{1,4})_(\d{1,4})_([0-9a-z_]+)")
LONGEST = 512
PART = re.compile(r"\w[\w.!+]*")
TAG_PART = re.compile(r"[0-9A-Za-z_]+(?:\.[0-9A-Za-z_]+)*")
MOST_TAGS = 1000
"""Of a compressed set; the parts multiply, and the longest of real wheels come to some dozens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelName:
    """``{distribution}-{version}(-{build})-{pythons}-{abis}-{platforms}(-{variant}).whl``.

    Distribution and version stand as written: they name the ``.dist-info`` directory. ``variant`` is the label of the
    draft PEP 825, kept and never read. The tag parts are sorted, as PEP 425's compressed sets should be.
    """

    distribution: str
    version: str
    build: str = ""
    pythons: tuple[str, ...]
    abis: tuple[str, ...]
    platforms: tuple[str, ...]
    variant: str = ""

    @classmethod
    def parse(cls, filename: str) -> WheelName:
        """The name in ``filename``, unusual but legal spellings (``Foo.Bar-1.0``) included.

        Raises:
            WheelError: it is not a wheel's file name.
        """
        parts = filename.removesuffix(".whl").split("-")
        if not filename.endswith(".whl") or len(filename) > LONGEST:
            raise _not_a_name(filename, "it does not end in .whl" if len(filename) <= LONGEST else "it is too long")
        if not 5 <= len(parts) <= 7 or not all(PART.fullmatch(part) for part in parts):
            raise _not_a_name(filename, "it has not five to seven parts between dashes")
        build = parts.pop(2) if len(parts) > 5 and parts[2][:1].isdigit() else ""
        variant = parts.pop() if len(parts) > 5 else ""
        if len(parts) != 5 or not all(TAG_PART.fullmatch(part) for part in parts[2:]):
            raise _not_a_name(filename, "its tags are malformed")
        try:
            Version(parts[1].replace("_", "+", 1) if "+" not in parts[1] else parts[1])
        except InvalidVersion:
            raise _not_a_name(filename, f"{parts[1]!r} is not a version") from None
        pythons, abis, platforms = (tuple(sorted(set(part.lower().split(".")))) for part in parts[2:])
        if len(pythons) * len(abis) * len(platforms) > MOST_TAGS:
            raise _not_a_name(filename, f"its tags stand for more than {MOST_TAGS}")
        if any(python[0].isdigit() for python in pythons):
            raise _not_a_name(filename, "a Python tag begins with a digit, as only a build number does")
        return cls(
            distribution=parts[0],
            version=parts[1],
            build=build,
            pythons=pythons,
            abis=abis,
            platforms=platforms,
            variant=variant,
        )

    def __str__(self) -> str:
        tags = [".".join(self.pythons), ".".join(self.abis), ".".join(self.platforms)]
        parts = [self.distribution, self.version, self.build, *tags, self.variant]
        return "-".join(part for part in parts if part) + ".whl"

    @property
    def stem(self) -> str:
        """``{distribution}-{version}``, which the ``.dist-info`` and ``.data`` directories begin with."""
        return f"{self.distribution}-{self.version}"

    @property
    def expanded(self) -> tuple[str, ...]:
        """Every tag of the compressed set, sorted: the ``Tag`` lines of the WHEEL file."""
        return tuple(
            sorted(f"{python}-{abi}-{plat}" for python in self.pythons for abi in self.abis for plat in self.platforms)
        )

    @property
    def is_pure(self) -> bool:
        """Whether the name promises to run everywhere."""
        return self.platforms == ("any",)

    def same_project(self, other: str) -> bool:
        """Whether ``other``, the stem of a ``.dist-info`` directory, means this distribution and version."""
        name, _, version = other.partition("-")
        if not version or normalized(name) != normalized(self.distribution):
            return False
        return version.replace("_", "+").lower() == self.version.replace("_", "+").lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class MusllinuxTag:
    """One ``musllinux_X_Y_ARCH`` (PEP 656); ``arch`` is the text, known to us or not."""

    series: tuple[int, int]
    arch: str

    @classmethod
    def parse(cls, platform: str) -> MusllinuxTag | None:
        """The tag in ``platform``, None for another kind of platform."""
        found = MUSLLINUX.fullmatch(platform)
        return cls(series=(int(found[1]), int(found[2])), arch=found[3]) if found else None

    @property
    def policy(self) -> Policy:
        """The policy that this series is called by, known to us or not."""
        return Policy.of(self.series)


def serves(name: str, python: PythonTag) -> bool:
    """Whether an earlier Python's wheel is the wheel for this one: abi3 (PEP 384), or no Python ABI at all."""
    parsed = WheelName.parse(name)
    if "none" in parsed.abis and {"py3", f"py3{python.minor}"} & set(parsed.pythons):
        return True
    if "abi3" not in parsed.abis or python.free_threaded:
        return False
    lowest = (re.fullmatch(r"cp3(\d{1,2})", text) for text in parsed.pythons)
    return any(int(found[1]) <= python.minor for found in lowest if found)


def named_arch(name: WheelName) -> Arch | None:
    """The architecture all platforms of ``name`` agree on (``linux_i686``, ``musllinux_1_2_i686``), else None."""
    found = {
        arch for platform in name.platforms for arch in Arch if re.search(rf"(?:^|_){re.escape(arch.value)}$", platform)
    }
    # "linux_x86_64" also ends like no other architecture; the set has one member or the name disagrees with itself.
    return found.pop() if len(found) == 1 else None


def named_policy(name: WheelName, known: Collection[Policy] | None = None) -> Policy | None:
    """The lowest policy ``name`` promises, None without a musllinux tag of a series in ``known`` (default: shipped)."""
    tags = (MusllinuxTag.parse(platform) for platform in name.platforms)
    rows = known_policies() if known is None else known
    promised = [tag.policy for tag in tags if tag and tag.policy in rows]
    return min(promised, key=lambda policy: policy.series, default=None)


def retag(name: WheelName, policy: Policy, arch: Arch, *, only: bool = False, foreign: bool = True) -> WheelName:
    """``name`` for ``policy`` on ``arch``.

    Musllinux tags of later series stay true and are kept unless ``only``. Tags of other platforms are kept when the
    policy's own was there before and nothing ``foreign`` to them came in: then the wheel is what its author made it.
    """
    tag = policy.platform_tag(arch)

    def stays(platform: str) -> bool:
        known = MusllinuxTag.parse(platform)
        if known:
            return known.arch == arch.value and known.series >= policy.series
        return not foreign and tag in name.platforms and not platform.startswith("linux_")

    kept = set() if only else {platform for platform in name.platforms if stays(platform)}
    return replace(name, platforms=tuple(sorted(kept | {tag})))


def letter_floor(policy: Policy) -> MuslVersion:
    """The floor to the letter of PEP 656: patch level zero of the series."""
    return MuslVersion(*policy.series, 0)


def _not_a_name(filename: str, why: str) -> WheelError:
    return WheelError(
        f"{filename[:200]!r} is not the file name of a wheel: {why}",
        resolution="Rename it to {distribution}-{version}(-{build})-{python}-{abi}-{platform}.whl (PEP 427).",
    )


def normalized(name: str) -> str:
    """A project's name in the one spelling of PEP 503."""
    # packaging.utils does the same and takes longer to import than a small wheel takes to audit.
    return re.sub(r"[-_.]+", "-", name).lower()
