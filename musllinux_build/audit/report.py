"""Verdicts and repairs as text for people and as JSON for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from musllinux_build.audit.repair import RepairReport
from musllinux_build.audit.verdict import Finding, Severity, Verdict

SCHEMA = 1
"""Version of the JSON; a field that goes or changes its meaning makes a new one."""
SHOWN_REASONS = 3


def verdict_json(verdict: Verdict) -> Mapping[str, object]:
    """One wheel's verdict as JSON values."""
    return {
        "schema": SCHEMA,
        "wheel": verdict.wheel,
        "conforms": verdict.conforms,
        "policy": verdict.policy.value,
        "arch": verdict.arch.value,
        "measured_against": str(verdict.wanted),
        "effective_floor": str(verdict.floor),
        "objects": verdict.objects,
        "floor_reasons": [
            {
                "musl": str(reason.version),
                "cause": reason.cause,
                "file": reason.file,
                "first_alpine": reason.first_alpine,
            }
            for reason in verdict.reasons
        ],
        "findings": [
            {
                "rule": finding.rule,
                "severity": finding.severity.value,
                "file": finding.file,
                "message": finding.message,
                "evidence": finding.evidence,
                "chain": list(finding.chain),
                "remedy": finding.remedy,
            }
            for finding in verdict.findings
        ],
    }


def repair_json(report: RepairReport) -> Mapping[str, object]:
    """One repaired wheel as JSON values; ``path`` is where it was written."""
    return {
        "schema": SCHEMA,
        "path": str(report.path),
        "sha256": report.sha256,
        "size": report.size,
        "grafts": [
            {
                "soname": graft.soname,
                "source_path": graft.source_path,
                "new_name": graft.new_name,
                "size": graft.size,
            }
            for graft in report.grafts
        ],
        "verdict": verdict_json(report.verdict),
    }


def verdict_lines(verdict: Verdict, *, width: int = 80) -> Iterator[str]:
    """The verdict in lines of at most ``width`` characters where names allow."""
    tag = verdict.policy.platform_tag(verdict.arch)
    counts = [
        f"{number} {severity.value}{'s' if number != 1 else ''}"
        for severity in Severity
        if (number := sum(finding.severity is severity for finding in verdict.findings))
    ]
    yield verdict.wheel
    answer = "conforms to" if verdict.conforms else "does NOT conform to"
    told = f"{answer} {tag} (measured against musl {verdict.wanted})" + (f": {', '.join(counts)}" if counts else "")
    yield from _wrapped(told, width, "  ")
    objects = f"{verdict.objects} ELF object{'s' if verdict.objects != 1 else ''}"
    yield from _wrapped(f"{objects}; effective floor: musl {verdict.floor}{_why(verdict)}", width, "  ")
    for finding in verdict.findings:
        yield from finding_lines(finding, width=width)


def finding_lines(finding: Finding, *, width: int = 80) -> Iterator[str]:
    """One finding: file, what is wrong, who led there, what to do."""
    yield ""
    yield f"  {finding.severity.value}: {finding.file}  [{finding.rule}]"
    yield from _wrapped(finding.message, width, "    ")
    if finding.chain:
        yield from _wrapped(f"loaded through {' → '.join(finding.chain)}", width, "    ")
    yield from _wrapped(f"→ {finding.remedy}.", width, "    ")


def repair_lines(report: RepairReport, *, width: int = 80) -> Iterator[str]:
    """What was written and what was grafted."""
    for graft in report.grafts:
        yield from _wrapped(f"grafted {graft.source_path} as {graft.new_name} ({graft.size:,} bytes)", width, "")
    yield f"{report.path}"
    yield f"  sha256 {report.sha256}"
    yield f"  {report.size:,} bytes; effective floor: musl {report.floor}"
    for finding in report.verdict.findings:
        yield from finding_lines(finding, width=width)


def _why(verdict: Verdict) -> str:
    strongest: Sequence[str] = [
        f"{reason.cause} in {reason.file}"
        + (f" (first in Alpine {reason.first_alpine})" if reason.first_alpine else "")
        for reason in verdict.reasons
        if reason.version == verdict.floor
    ]
    if not strongest:
        return " or older"
    more = f" and {len(strongest) - SHOWN_REASONS} more" if len(strongest) > SHOWN_REASONS else ""
    return f", because of {', '.join(strongest[:SHOWN_REASONS])}{more}"


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, 40),
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
