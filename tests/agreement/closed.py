"""The closed list: why we may refuse what a particular loader takes. Anything else is a mistake of ours."""

from __future__ import annotations

import re
from functools import cache

from musllinux_build.audit.catalogue import CATALOGUE, RULES
from musllinux_build.audit.verdict import Finding
from musllinux_build.policies.evidence import Evidence, parse_history
from tests.agreement.compare import Cell
from tests.agreement.loaders import ROOT, Release

EVIDENCE = ROOT / "musllinux_build" / "policies" / "evidence"

REASONS = {
    "relr applied early": "Alpine applies DT_RELR from musl 1.2.2-r9 on; musl itself, and so other distributions, from "
    "1.2.4 on.",
    "relr unused at load": "The loader skips DT_RELR in silence. It loads when nothing follows one of the wrong "
    "pointers meanwhile.",
    "symbol carried early": "This Alpine's musl carries a symbol of a later musl; the promise is to every distribution "
    "of the series.",
    **{rule.id: rule.summary for rule in RULES if rule.may_load},
}
"""The rows: three about what Alpine's musl has before others, and the rules of the catalogue that are not about the
loader, or about what it does not check."""


def excuse(finding: Finding, cell: Cell) -> str | None:
    """The row that explains why ``finding`` did not come true on the release of ``cell``; None when none does."""
    evidence = evidence_of(cell.release)
    if finding.rule == "relr":
        return "relr applied early" if applies_relr(cell.release) else "relr unused at load"
    if finding.rule == "symbol-too-new" and finding.evidence in evidence.exports:
        return "symbol carried early"
    return finding.rule if CATALOGUE[finding.rule].may_load else None


def excuses(cell: Cell) -> tuple[str, ...] | None:
    """The rows for a cell that was refused and loads; None when a finding has none."""
    found = [excuse(finding, cell) for finding in cell.said.errors]
    return None if None in found else tuple(sorted({row for row in found if row}))


def applies_relr(release: Release) -> bool:
    """Whether this Alpine's musl has the patch that applies DT_RELR; musl itself does since 1.2.4."""
    found = re.fullmatch(r"([\d.]+).*-r(\d+)", release.package)
    assert found, release.package
    return (tuple(int(part) for part in found[1].split(".")), int(found[2])) >= ((1, 2, 2), 9)


@cache
def evidence_of(release: Release) -> Evidence:
    """What was recorded of this release."""
    text = (EVIDENCE / f"alpine-{release.arch.value}.json").read_text("utf-8")
    return next(record for record in parse_history(text) if record.release == release.release)
