"""What the rows of a survey add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from musllinux_build.arch import Arch
from musllinux_build.audit.verdict import Finding, Severity, Verdict
from musllinux_build.policy import MuslVersion
from musllinux_build.survey.rows import Outcome, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How the wheels of one architecture fared; ``absent`` are projects without a musllinux wheel for it."""

    conforming: int
    breaking: int
    absent: int
    failed: int

    @property
    def audited(self) -> int:
        """Wheels with a verdict."""
        return self.conforming + self.breaking


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCount:
    """In how many wheels a rule found something, and how often in all."""

    rule: str
    severity: Severity
    wheels: int
    findings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorCount:
    """How many wheels need ``floor``: those that promise it, and those that promise to load on less.

    ``or_older``: the lowest of them, and nothing says that those do not load on older ones still.
    """

    floor: MuslVersion
    within: int
    above: int
    or_older: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """All findings of one rule in one wheel; ``evidence`` and ``files`` without repetition."""

    rule: str
    severity: Severity
    count: int
    evidence: tuple[str, ...]
    files: tuple[str, ...]


def by_arch(rows: Sequence[Row]) -> Mapping[Arch, Share]:
    """The share of each architecture that was asked for, in the order of the table of architectures."""
    shares = {}
    for arch in Arch:
        found = Counter(row.outcome for row in rows if row.arch is arch)
        if found:
            absent = found[Outcome.ABSENT] + found[Outcome.PURE]
            shares[arch] = Share(
                conforming=found[Outcome.CONFORMS],
                breaking=found[Outcome.BREAKS],
                absent=absent,
                failed=found.total() - found[Outcome.CONFORMS] - found[Outcome.BREAKS] - absent,
            )
    return shares


def by_rule(rows: Sequence[Row]) -> tuple[RuleCount, ...]:
    """Every rule that found something: errors first, then by the number of wheels."""
    wheels: Counter[tuple[str, Severity]] = Counter()
    findings: Counter[tuple[str, Severity]] = Counter()
    for row in rows:
        found = Counter((item.rule, item.severity) for item in (row.verdict.findings if row.verdict else ()))
        wheels.update(found.keys())
        findings.update(found)
    severities = tuple(Severity)
    counts = (
        RuleCount(rule=rule, severity=severity, wheels=number, findings=findings[rule, severity])
        for (rule, severity), number in wheels.items()
    )
    return tuple(sorted(counts, key=lambda count: (severities.index(count.severity), -count.wheels, count.rule)))


def by_floor(rows: Sequence[Row]) -> tuple[FloorCount, ...]:
    """How many audited wheels have each effective floor, lowest first."""
    within: Counter[MuslVersion] = Counter()
    above: Counter[MuslVersion] = Counter()
    open_ended = {row.verdict.floor for row in rows if row.verdict and not row.verdict.reasons}
    for row in rows:
        if row.verdict:
            (above if row.verdict.floor > row.verdict.wanted else within)[row.verdict.floor] += 1
    floors = sorted(within.keys() | above.keys())
    return tuple(
        FloorCount(floor=floor, within=within[floor], above=above[floor], or_older=not at and floor in open_ended)
        for at, floor in enumerate(floors)
    )


def reasons(verdict: Verdict, severity: Severity = Severity.ERROR) -> tuple[Why, ...]:
    """Why a wheel breaks its tag, one entry per rule, in the verdict's order."""
    groups: dict[str, list[Finding]] = {}
    for finding in verdict.findings:
        if finding.severity is severity:
            groups.setdefault(finding.rule, []).append(finding)
    return tuple(
        Why(
            rule=rule,
            severity=severity,
            count=len(found),
            evidence=tuple(dict.fromkeys(item.evidence for item in found)),
            files=tuple(dict.fromkeys(item.file for item in found)),
        )
        for rule, found in groups.items()
    )
