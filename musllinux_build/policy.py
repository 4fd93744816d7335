"""The platform policies, one row each: which musl a tag promises and on which Alpine it is built and proven."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from musllinux_build.arch import Arch


@dataclass(frozen=True, slots=True, order=True)
class MuslVersion:
    """A musl release ``major.minor.patch``, ordered as musl orders them."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> MuslVersion:
        """The release in ``1.2.2``, ``1.2.2-r1`` or ``1.2.4_git20230717-r4``.

        Raises:
            ValueError: ``text`` does not start with three numbers.
        """
        found = re.match(r"(\d+)\.(\d+)\.(\d+)(?:[-_].*)?$", text)
        if not found:
            raise ValueError(f"not a musl version: {text!r}")
        return cls(*map(int, found.groups()))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow:
    """One musllinux series (PEP 656).

    ``floor`` is the lowest musl among the distributions the tag is promised for; ``base`` is the Alpine release
    with it, ``newest`` the newest one every wheel is proven on. Both are complete releases (``3.13.12``).
    """

    series: tuple[int, int]
    base: str
    musl_package: str
    floor: MuslVersion
    newest: str


class Policy(Enum):
    """A platform tag without its architecture; ``Policy("musllinux_1_2")`` parses, ``.value`` formats."""

    MUSLLINUX_1_1 = "musllinux_1_1"
    MUSLLINUX_1_2 = "musllinux_1_2"

    @property
    def row(self) -> PolicyRow:
        """The facts of this policy."""
        return ROWS[self]

    def platform_tag(self, arch: Arch) -> str:
        """``musllinux_1_2_aarch64`` (PEP 656)."""
        return f"{self.value}_{arch.value}"


ROWS: dict[Policy, PolicyRow] = {
    Policy.MUSLLINUX_1_1: PolicyRow(
        series=(1, 1),
        base="3.12.12",
        musl_package="1.1.24-r10",
        floor=MuslVersion(1, 1, 24),
        newest="3.20.3",
    ),
    Policy.MUSLLINUX_1_2: PolicyRow(
        series=(1, 2),
        base="3.13.12",
        musl_package="1.2.2-r1",
        floor=MuslVersion(1, 2, 2),
        newest="3.20.3",
    ),
}
