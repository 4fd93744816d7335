"""The closed list: why we may refuse what a particular loader takes. Anything else is a mistake of ours."""

from __future__ import annotations

import re

from musllinux_build.audit.verdict import Finding
from musllinux_build.policies.evidence import Evidence, parse_history
from musllinux_build.shipped import shipped
from tests.agreement.compare import Cell
from tests.agreement.loaders import Release

REASONS = {
    "relr applied early": "Alpine applies DT_RELR from musl 1.2.2-r9 on; musl itself, and so other distributions, from "
    "1.2.4 on.",
    "relr unused at load": "The loader skips DT_RELR in silence. The object loads when nothing follows one of the wrong "
    "pointers while it does.",
    "symbol carried early": "This Alpine's musl carries a symbol of a later musl; the promise is to every distribution "
    "of the series.",
    "libz.so.1 of the system": "Alpine has libz.so.1 in every root; no standard says that others do (--whitelist allows "
    "it).",
    "ifunc unused": "An indirect function is exported and nothing in the wheel asks for it; whoever does fails.",
    "glibc at the link": "Linked against glibc: musl ignores versions and the names happen to exist, with another ABI.",
    "never imported": "The loader takes it, and CPython never looks for a file of this name.",
}


def excuse(finding: Finding, cell: Cell) -> str | None:
    """The row that explains why ``finding`` did not come true on the release of ``cell``; None when none does."""
    match finding.rule:
        case "relr":
            return "relr applied early" if applies_relr(cell.release) else "relr unused at load"
        case "symbol-too-new" if finding.evidence in evidence_of(cell.release).exports:
            return "symbol carried early"
        case "library-not-found" if finding.evidence == "libz.so.1":
            return "libz.so.1 of the system"
        case "ifunc":
            return "ifunc unused"
        case "glibc-versions":
            return "glibc at the link"
        case "suffix-never-imports":
            return "never imported"
    return None


def excuses(cell: Cell) -> tuple[str, ...] | None:
    """The rows for a cell that was refused and loads; None when a finding has none."""
    found = [excuse(finding, cell) for finding in cell.said.errors]
    return None if None in found else tuple(sorted({row for row in found if row}))


def applies_relr(release: Release) -> bool:
    """Whether this Alpine's loader is known to apply DT_RELR before musl 1.2.4 does."""
    found = re.fullmatch(r"([\d.]+).*-r(\d+)", release.package)
    assert found, release.package
    version = tuple(int(part) for part in found[1].split("."))
    return (version, int(found[2])) >= ((1, 2, 2), 9) and version < (1, 2, 4)


def evidence_of(release: Release) -> Evidence:
    """What was recorded of this release."""
    text = (shipped("policies") / "evidence" / f"{release.arch.value}.json").read_text("utf-8")
    return next(record for record in parse_history(text) if record.release == release.release)
