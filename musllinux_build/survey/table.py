"""A survey in words: the cells of its tables, without anything a terminal could take for a command."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from musllinux_build.audit.verdict import Verdict
from musllinux_build.plaintext import plain_line
from musllinux_build.survey.rows import Outcome, Row, Survey
from musllinux_build.survey.tally import Share, Why, by_arch, by_floor, by_rule, reasons

WORDS = {
    Outcome.CONFORMS: "conforms",
    Outcome.BREAKS: "BREAKS",
    Outcome.ABSENT: "no wheel",
    Outcome.PURE: "pure",
    Outcome.UNREADABLE: "unreadable",
    Outcome.UNFETCHED: "not fetched",
    Outcome.UNKNOWN: "no policy",
    Outcome.UNPROMISED: "not audited",
}
HEADINGS = ("wheel", "tag", "verdict", "needs musl")
SHOWN = 2
"""Files and symbols that are named per rule; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One wheel's cells under HEADINGS and, below them, why; wheels that could not be had alike share a line."""

    outcome: Outcome
    cells: tuple[str, ...]
    below: tuple[str, ...]


def table_lines(rows: Sequence[Row]) -> Iterator[Line]:
    """The lines of the table, in the order of the rows."""
    for group in grouped(rows):
        row = group[0]
        if row.verdict is not None:
            cells = (_what(row), row.verdict.policy.platform_tag(row.verdict.arch), WORDS[row.outcome])
            below = tuple(map(why_line, reasons(row.verdict)))
            yield Line(outcome=row.outcome, cells=(*cells, floor_word(row.verdict)), below=below)
            continue
        archs = ", ".join(item.arch.value for item in group if item.arch)
        cells = (_what(row), archs, WORDS[row.outcome])
        yield Line(outcome=row.outcome, cells=(*cells, ""), below=(plain_line(row.reason),))


def grouped(rows: Sequence[Row]) -> Iterator[tuple[Row, ...]]:
    """Each row alone, but those of one project that have no verdict for the same reason together."""
    groups: dict[object, list[Row]] = {}
    for at, row in enumerate(rows):
        groups.setdefault(at if row.verdict else (row.asked, row.outcome, row.reason), []).append(row)
    yield from map(tuple, groups.values())


def floor_word(verdict: Verdict) -> str:
    """``1.2.4``, or ``≤ 1.1.24`` where nothing says that it needs as much."""
    return str(verdict.floor) if verdict.reasons else f"≤ {verdict.floor}"


def _what(row: Row) -> str:
    return plain_line(f"{row.project or row.asked} {row.version}".strip())


def why_line(why: Why) -> str:
    """``relr in libgcc_s-0cd532bd.so.1 and 1 more`` or ``symbol-too-new: qsort_r in libzstd.so.1``."""
    files = _some([posixpath.basename(file) or file for file in why.files])
    named = [item for item in why.evidence if item.lower().lstrip("dt_") != why.rule and len(item) <= 60]
    return plain_line(f"{why.rule}: {_some(named)} in {files}" if named else f"{why.rule} in {files}")


def summary_lines(survey: Survey) -> Iterator[str]:
    """How many conform: in all, per architecture, and what the others break on."""
    audited = survey.audited
    conforming = sum(row.outcome is Outcome.CONFORMS for row in audited)
    projects = len({row.project.lower() for row in audited})
    kept = f"{conforming} of {number(len(audited), 'wheel')} of {number(projects, 'project')}"
    yield f"{kept} keep the promise of their tag" if audited else "no wheel was audited"
    for arch, share in by_arch(survey.rows).items():
        yield f"  {arch.value:<8} {share_words(share)}"
    counts = by_rule(survey.rows)
    if counts:
        yield "found:"
    for count in counts:
        wheels, findings = number(count.wheels, "wheel"), number(count.findings, "finding")
        yield f"  {count.severity.value:<8} {count.rule:<24} in {wheels} ({findings})"
    floors = by_floor(survey.rows)
    if floors:
        yield "effective floor:"
    for floor in floors:
        release = f"{'≤ ' if floor.or_older else ''}{floor.floor}"
        above = f", of which {floor.above} promise less" if floor.above else ""
        yield f"  musl {release:<8} {number(floor.within + floor.above, 'wheel')}{above}"


def number(count: int, noun: str) -> str:
    """``1 wheel``, ``2 wheels``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def share_words(share: Share) -> str:
    """``3 of 12 conform, 2 without a wheel, 1 failed``."""
    words = [f"{share.conforming} of {share.audited} conform"]
    if share.absent:
        words.append(f"{share.absent} without a wheel")
    if share.failed:
        words.append(f"{share.failed} failed")
    return ", ".join(words)


def _some(items: list[str]) -> str:
    distinct = list(dict.fromkeys(items))
    more = f" and {len(distinct) - SHOWN} more" if len(distinct) > SHOWN else ""
    return ", ".join(distinct[:SHOWN]) + more
