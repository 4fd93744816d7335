"""Derives the symbol table of an architecture from its evidence; ``python -m`` of this module writes the tables.

The rule is the one of PEP 600's policies: what a musl version provides is what every recorded release with that
version *or a newer one* exports. A distribution that carries a newer symbol early (Alpine's 1.2.2-r9 has ``qsort_r``
of 1.2.3) therefore does not lower the symbol's version.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from musllinux_build.policies.evidence import Evidence, format_history, parse_history
from musllinux_build.policy import MuslVersion

SCHEMA = 1
HERE = Path(__file__).parent
RELR_FLOOR = MuslVersion(1, 2, 4)
"""DT_RELR is applied since this upstream release; earlier loaders skip the tag without a word."""


def lfs64_names(history: Sequence[Evidence]) -> frozenset[str]:
    """The large-file names (``fopen64``) that left the symbol table and that the loader still resolves.

    musl 1.2.4 made the large-file names link-time history and kept a list of them for relocation (``get_lfs64`` in
    its dynlink.c), so an old binary with ``fopen64`` loads on every release.
    """
    newest = history[-1].exports
    ever = frozenset().union(*(record.exports for record in history))
    return frozenset(name for name in ever - newest if "64" in name and name.replace("64", "", 1) in newest)


def derive_table(history: Sequence[Evidence]) -> str:
    """The table as JSON: per musl version its new symbols, per new symbol its first distribution branch.

    ``history`` is oldest first. The oldest release's version stands for "this or any earlier".
    """
    lfs64 = lfs64_names(history)
    since: dict[str, list[str]] = {}
    known: frozenset[str] = frozenset()
    for version in sorted({record.musl for record in history}):
        provided = frozenset.intersection(*(record.exports for record in history if record.musl >= version))
        since[str(version)] = sorted(provided - known)
        known |= provided
    # A branch has a symbol for good when it and every later one export it.
    lasting = [frozenset.intersection(*(later.exports for later in history[at:])) for at in range(len(history))]
    first = {symbol: history[at].branch for at in range(1, len(history)) for symbol in lasting[at] - lasting[at - 1]}
    document = {
        "schema": SCHEMA,
        "arch": history[0].arch.value,
        "distro": history[0].distro,
        "releases": {record.release: record.musl_package for record in history},
        "relr_floor": str(RELR_FLOOR),
        "lfs64": " ".join(sorted(lfs64)),
        "first": dict(sorted(first.items())),
        "since": {version: " ".join(names) for version, names in since.items() if names},
    }
    return json.dumps(document, indent=1) + "\n"


def main() -> None:
    """Rewrite the tables; with ``--records DIR`` the histories first, from one record file per release."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--records", type=Path, help="directory of <distro>-<release>-<arch>.json")
    parser.add_argument("--oldest", default="3.12", help="oldest branch to take from them (default: %(default)s)")
    options = parser.parse_args()
    if options.records:
        oldest = tuple(int(part) for part in options.oldest.split("."))
        records = [Evidence.parse_record(path.read_text("utf-8")) for path in sorted(options.records.glob("*.json"))]
        kept = [record for record in records if record.order[:2] >= oldest]
        for arch in {record.arch for record in kept}:
            text = format_history(record for record in kept if record.arch is arch)
            (HERE / "evidence" / f"{arch.value}.json").write_text(text, "utf-8")
    for path in sorted((HERE / "evidence").glob("*.json")):
        (HERE / "data" / path.name).write_text(derive_table(parse_history(path.read_text("utf-8"))), "utf-8")


if __name__ == "__main__":
    main()
