"""Findings as data, and the verdict they add up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from musllinux_build.arch import Arch
from musllinux_build.policy import MuslVersion, Policy


class Severity(Enum):
    """``ERROR``: the wheel breaks its promise. ``WARNING``: it may, in some process. ``NOTE``: worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing wrong with one file.

    ``rule`` is a stable identifier; ``evidence`` the symbol, library or bytes that show it; ``chain`` who led the
    loader to ``file``, first opened first; ``remedy`` what to do.
    """

    rule: str
    severity: Severity
    file: str
    message: str
    evidence: str
    remedy: str
    chain: tuple[str, ...] = ()

    def line(self) -> str:
        """``error yaml/_yaml.so: message (through a → b). Remedy.``."""
        through = f" (loaded through {' → '.join(self.chain)})" if self.chain else ""
        return f"{self.severity.value} {self.file}: {self.message}{through}. {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorReason:
    """Why a wheel needs at least ``version``: ``cause`` (a symbol, or DT_RELR) in ``file``."""

    version: MuslVersion
    cause: str
    file: str
    first_alpine: str | None = None

    def __str__(self) -> str:
        first = f", first in Alpine {self.first_alpine}" if self.first_alpine else ""
        return f"needs musl {self.version}: {self.cause} in {self.file}{first}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found in a wheel measured against ``policy`` on ``arch``.

    ``wanted`` is the musl release it was measured against, ``floor`` the lowest it loads on, as far as that is known:
    every reason for it is in ``reasons``, strongest first. ``excluded`` are the names and paths of libraries that were
    left to other packages.
    """

    wheel: str
    policy: Policy
    arch: Arch
    wanted: MuslVersion
    floor: MuslVersion
    reasons: Sequence[FloorReason]
    findings: Sequence[Finding]
    objects: int
    excluded: frozenset[str] = frozenset()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that break the promise."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)

    @property
    def counts(self) -> Mapping[Severity, int]:
        """How many findings there are of each severity, worst first."""
        return {severity: sum(finding.severity is severity for finding in self.findings) for severity in Severity}

    @property
    def conforms(self) -> bool:
        """Whether the wheel keeps the promise of its tag."""
        return not self.errors
