"""``show --json`` of the drop-in beside pypa's auditwheel, field by field, on wheels of the reader's choice.

Usage: compare_show.py REFERENCE OURS WHEEL... where the first two are the commands; prints a table in Markdown.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

FIELDS = (
    *("version", "wheel", "pure", "overall_tag", "sym_tag", "pyfpe", "ucs2", "unsupported_isa"),
    *("versioned_symbols", "external_libs", "policy_upgrades"),
)


def shown(command: str, wheel: str) -> tuple[int, dict[str, object]]:
    """Exit status and document; an empty one when what was printed is no JSON."""
    done = subprocess.run([command, "show", "--json", wheel], capture_output=True, check=False)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, {}


def main(reference: str, ours: str, wheels: list[str]) -> None:
    """Print how often each field is the same, and where the overall tags differ."""
    same: Counter[str] = Counter()
    differing = []
    for wheel in wheels:
        (status, theirs), (own_status, own) = shown(reference, wheel), shown(ours, wheel)
        same.update(field for field in FIELDS if field in theirs and theirs[field] == own.get(field))
        same["exit status"] += status == own_status
        if theirs.get("overall_tag") != own.get("overall_tag"):
            differing.append((Path(wheel).name, theirs.get("overall_tag", f"exit {status}"), own.get("overall_tag")))
    lines = [f"{len(wheels)} wheels", "", "| field | same in |", "| --- | --- |"]
    lines += [f"| {field} | {same[field]} |" for field in (*FIELDS, "exit status")]
    lines += ["", "| wheel | reference | this one |", "| --- | --- | --- |"]
    lines += [f"| {' | '.join(map(str, row))} |" for row in differing]
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
