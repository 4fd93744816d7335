"""Repairs as text for people and as JSON for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from musllinux_build.audit.apply import Change
from musllinux_build.audit.repair import RepairReport
from musllinux_build.audit.report import finding_lines, verdict_json
from musllinux_build.audit.verdict import Severity

SCHEMA = 1
"""Version of the JSON; a field that goes or changes its meaning makes a new one."""


def repair_json(report: RepairReport) -> Mapping[str, object]:
    """One repaired wheel as JSON values; ``path`` is where it was written."""
    return {
        "schema": SCHEMA,
        "path": str(report.path),
        "sha256": report.sha256,
        "size": report.size,
        "copied": report.copied,
        "grafts": [
            {
                "soname": graft.soname,
                "source_path": graft.source_path,
                "new_name": graft.new_name,
                "member": graft.member,
                "size": graft.size,
                "reached": graft.reached,
            }
            for graft in report.grafts
        ],
        "changes": [
            {
                "member": change.member,
                "was": change.was,
                "needed": dict(change.needed),
                "added_needed": list(change.added_needed),
                "search_path": change.search_path,
                "search_path_removed": change.search_path_removed,
                "expanded_relr": change.expanded_relr,
                "cleared_exec_stack": change.cleared_exec_stack,
                "stripped": change.stripped,
            }
            for change in report.changes
        ],
        "verdict": verdict_json(report.verdict),
    }


def repair_lines(report: RepairReport, *, width: int = 80) -> Iterator[str]:
    """What was written, what came in, what changed, and what remains to be told."""
    for graft in report.grafts:
        yield from _wrapped(f"grafted {graft.source_path} as {graft.new_name} ({graft.size:,} bytes)", width)
        if graft.reached:
            yield from _wrapped(f"  {graft.reached}", width)
    for change in report.changes:
        yield from _wrapped(f"changed {change.was}: {', '.join(_told(change))}", width)
    yield f"{report.path}"
    yield f"  sha256 {report.sha256}"
    yield f"  {report.size:,} bytes; effective floor: musl {report.floor}"
    if report.copied:
        yield "  nothing to do: copied as it is"
    for finding in report.verdict.findings:
        if finding.severity is not Severity.NOTE:
            yield from finding_lines(finding, width=width)


def _told(change: Change) -> Iterator[str]:
    """What was done to an object, in words."""
    if change.member != change.was:
        yield f"it is {change.member} now"
    if change.expanded_relr:
        yield "DT_RELR expanded"
    if change.needed:
        yield f"needs {', '.join(new for _, new in change.needed)} now"
    if change.added_needed:
        yield f"needs {', '.join(change.added_needed)}, too"
    if change.search_path is not None:
        yield f"searches {change.search_path}"
    if change.search_path_removed:
        yield "searches nowhere of its own"
    if change.cleared_exec_stack:
        yield "no executable stack any more"
    if change.stripped:
        yield "stripped"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 40), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
