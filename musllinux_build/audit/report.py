"""Verdicts as text for people and as JSON for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from musllinux_build import __version__
from musllinux_build.audit.catalogue import CATALOGUE
from musllinux_build.audit.promise import NotAudited
from musllinux_build.audit.verdict import Finding, Severity, Verdict
from musllinux_build.errors import MusllinuxBuildError

SCHEMA = 1
"""Version of the JSON; a field that goes or changes its meaning makes a new one."""
SHOWN_REASONS = 3
SHOWN_FINDINGS = 5


def verdict_json(verdict: Verdict) -> Mapping[str, object]:
    """One wheel's verdict as JSON values; audit/schema/show-1.json describes them."""
    return {
        "schema": SCHEMA,
        "tool": f"musllinux-build {__version__}",
        "wheel": verdict.wheel,
        "conforms": verdict.conforms,
        "policy": verdict.policy.value,
        "arch": verdict.arch.value,
        "measured_against": str(verdict.wanted),
        "effective_floor": str(verdict.floor),
        "objects": verdict.objects,
        "counts": {severity.value: number for severity, number in verdict.counts.items()},
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
                "source": CATALOGUE[finding.rule].source,
            }
            for finding in verdict.findings
        ],
    }


def not_audited_json(answer: NotAudited) -> Mapping[str, object]:
    """A wheel that needs no verdict as JSON values."""
    return {
        "schema": SCHEMA,
        "tool": f"musllinux-build {__version__}",
        "wheel": answer.wheel,
        "not_audited": answer.reason,
    }


def failure_json(wheel: str, error: MusllinuxBuildError) -> Mapping[str, object]:
    """A wheel without a verdict as JSON values."""
    return {
        "schema": SCHEMA,
        "tool": f"musllinux-build {__version__}",
        "wheel": wheel,
        "error": {
            "message": error.brief,
            "details": error.details,
            "resolution": error.resolution,
            "exit_code": error.exit_code,
        },
    }


def schema_text() -> str:
    """The JSON Schema (2020-12) of what ``audit show --json`` prints."""
    return Path(__file__).with_name("schema").joinpath(f"show-{SCHEMA}.json").read_text("utf-8")


def verdict_lines(verdict: Verdict, *, width: int = 80, verbose: bool = False) -> Iterator[str]:
    """The verdict in lines of at most ``width`` characters where names allow, worst file first.

    Notes, and more than a few findings of one rule in one file, are only counted unless ``verbose``.
    """
    tag = verdict.policy.platform_tag(verdict.arch)
    yield verdict.wheel
    answer = "conforms to" if verdict.conforms else "does NOT conform to"
    yield from _wrapped(f"{answer} {tag} (measured against musl {verdict.wanted})", width, "  ")
    yield from _floor_lines(verdict, width, verbose=verbose)
    counts = [_plural(number, severity.value) for severity, number in verdict.counts.items() if number]
    yield f"  {', '.join([_plural(verdict.objects, 'ELF object'), *counts])}"
    shown = [finding for finding in verdict.findings if verbose or finding.severity is not Severity.NOTE]
    for (file, chain), findings in _by_file(shown).items():
        yield ""
        yield f"  {file}"
        if chain:
            yield from _wrapped(f"loaded through {' → '.join(chain)}", width, "    ")
        yield from _rule_lines(findings, width, verbose=verbose)
    if len(shown) < len(verdict.findings):
        yield ""
        yield f"  {_plural(len(verdict.findings) - len(shown), 'note')}; -v shows all"


def not_audited_lines(answer: NotAudited, *, width: int = 80) -> Iterator[str]:
    """That, and why, a wheel was passed over."""
    yield answer.wheel
    yield from _wrapped(f"not audited: {answer.reason}", width, "  ")


def _by_file(findings: Iterable[Finding]) -> Mapping[tuple[str, tuple[str, ...]], list[Finding]]:
    """The findings by file and chain; they come worst first, so the file with the worst one does."""
    groups: dict[tuple[str, tuple[str, ...]], list[Finding]] = {}
    chains: dict[str, tuple[str, ...]] = {}
    for finding in findings:
        chain = chains.setdefault(finding.file, finding.chain)
        groups.setdefault((finding.file, finding.chain or chain), []).append(finding)
    return groups


def _rule_lines(findings: Sequence[Finding], width: int, *, verbose: bool) -> Iterator[str]:
    """The findings about one file; the remedy that several of a rule have in common comes once."""
    rules: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        rules.setdefault((finding.rule, finding.remedy), []).append(finding)
    for (rule, remedy), same in rules.items():
        shown = same if verbose else same[:SHOWN_FINDINGS]
        yield f"    {same[0].severity.value} [{rule}]"
        for finding in shown:
            yield from _wrapped(finding.message, width, "      ")
        if len(shown) < len(same):
            yield f"      and {len(same) - len(shown)} more; -v shows all"
        if verbose:
            yield from _wrapped(f"rule: {CATALOGUE[rule].source}", width, "      ")
        yield from _wrapped(f"→ {remedy}.", width, "      ")


def finding_lines(finding: Finding, *, width: int = 80) -> Iterator[str]:
    """One finding: file, what is wrong, who led there, what to do."""
    yield ""
    yield f"  {finding.severity.value}: {finding.file}  [{finding.rule}]"
    yield from _wrapped(finding.message, width, "    ")
    if finding.chain:
        yield from _wrapped(f"loaded through {' → '.join(finding.chain)}", width, "    ")
    yield from _wrapped(f"→ {finding.remedy}.", width, "    ")


def _floor_lines(verdict: Verdict, width: int, *, verbose: bool) -> Iterator[str]:
    """``needs musl 1.2.3: qsort_r in libzstd.so, first in Alpine 3.16``; nothing of a wheel that no musl loads."""
    if not verdict.reasons:
        if verdict.conforms:
            told = f"its symbols and relocations are in every recorded musl ({verdict.floor} and later)"
            yield from _wrapped(told, width, "  ")
        return
    reasons = [reason for reason in verdict.reasons if verbose or reason.version == verdict.floor]
    for reason in reasons if verbose else reasons[:SHOWN_REASONS]:
        yield from _wrapped(str(reason), width, "  ")
    if not verbose and len(reasons) > SHOWN_REASONS:
        yield f"  and {len(reasons) - SHOWN_REASONS} more such; -v shows all"


def _plural(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, 40),
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
