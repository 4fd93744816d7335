"""A survey as JSON values, in the form that schema.json beside this module describes."""

from __future__ import annotations

from collections.abc import Mapping

from musllinux_build.audit.report import verdict_json
from musllinux_build.plaintext import plain_json
from musllinux_build.survey.rows import Outcome, Row, Survey
from musllinux_build.survey.tally import by_arch, by_floor, by_rule

SCHEMA = 1
"""Version of the JSON; a field that goes or changes its meaning makes a new one."""


def survey_json(survey: Survey) -> Mapping[str, object]:
    """The whole survey; ``summary`` can be computed from ``rows`` and is there for convenience."""
    document = {
        "schema": SCHEMA,
        "tool": survey.tool,
        "date": survey.date.isoformat(),
        "summary": _summary(survey),
        "rows": [_row(row) for row in survey.rows],
    }
    plain = plain_json(document)
    assert isinstance(plain, Mapping)
    return plain


def _summary(survey: Survey) -> Mapping[str, object]:
    return {
        "rows": len(survey.rows),
        "audited": len(survey.audited),
        "conforming": sum(row.outcome is Outcome.CONFORMS for row in survey.rows),
        "archs": {
            arch.value: {
                "conforming": share.conforming,
                "breaking": share.breaking,
                "absent": share.absent,
                "failed": share.failed,
            }
            for arch, share in by_arch(survey.rows).items()
        },
        "rules": [
            {
                "rule": count.rule,
                "severity": count.severity.value,
                "wheels": count.wheels,
                "findings": count.findings,
            }
            for count in by_rule(survey.rows)
        ],
        "floors": [
            {"musl": str(count.floor), "within": count.within, "above": count.above} for count in by_floor(survey.rows)
        ],
    }


def _row(row: Row) -> Mapping[str, object]:
    return {
        "asked": row.asked,
        "outcome": row.outcome.value,
        "arch": row.arch.value if row.arch else None,
        "project": row.project,
        "version": row.version,
        "wheel": row.wheel,
        "python": row.python or None,
        "size": row.size,
        "sha256": row.sha256 or None,
        "reason": row.reason,
        "verdict": verdict_json(row.verdict) if row.verdict else None,
    }
