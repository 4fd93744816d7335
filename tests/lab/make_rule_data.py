"""Writes the names that rules look up: CPython's stable ABI, and what musl stopped exporting.

``python -m tests.lab.make_rule_data --stable-abi SOURCE/Misc/stable_abi.toml --records DIR``. The names of releases newer
than that source come from the package ``abi3info`` where it is installed; both lists must agree on the rest.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path

from musllinux_build.audit import limited_api
from musllinux_build.policies.evidence import Evidence
from musllinux_build.policy import MuslVersion

DATA = Path(limited_api.__file__).parent / "data"
HIDDEN_SINCE = MuslVersion(1, 1, 21)
"""The release that made musl's internals invisible."""


def stable_abi(path: Path) -> str:
    """The data file about the stable ABI from a source tree's list and abi3info's later names."""
    items = tomllib.loads(path.read_text("utf-8"))
    known = {name: row["added"] for kind in ("function", "data") for name, row in items[kind].items()}
    try:
        import abi3info
    except ImportError:
        return limited_api.derive_limited_api(items, path.parents[1].name.removeprefix("Python-"))
    for kind, later in (("function", abi3info.FUNCTIONS), ("data", abi3info.DATAS)):
        for symbol, row in later.items():
            added = f"{row.added.major}.{row.added.minor}"
            if known.get(symbol.name, added) != added:
                raise ValueError(f"{symbol.name}: {known[symbol.name]} or {added}")
            macro = row.ifdef.name if row.ifdef else None
            items[kind].setdefault(symbol.name, {"added": added, "ifdef": macro})
    newest = max({row["added"] for row in items["function"].values()}, key=lambda text: int(text.split(".")[1]))
    return limited_api.derive_limited_api(items, f"{path.parents[1].name.removeprefix('Python-')}, up to {newest}")


def hidden_names(records: Path) -> str:
    """The data file about names that every architecture's musl exported before and none exports since."""
    history = [Evidence.parse_record(path.read_text("utf-8")) for path in sorted(records.glob("*.json"))]
    before = frozenset().union(*(record.exports for record in history if record.musl < HIDDEN_SINCE))
    since = frozenset().union(*(record.exports for record in history if record.musl >= HIDDEN_SINCE))
    return json.dumps({"schema": 1, "hidden_since": str(HIDDEN_SINCE), "names": " ".join(sorted(before - since))}) + "\n"


def main() -> None:
    """Write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--stable-abi", type=Path, help="Misc/stable_abi.toml of a CPython source tree")
    parser.add_argument("--records", type=Path, help="directory of <distro>-<release>-<arch>.json")
    options = parser.parse_args()
    if options.stable_abi:
        (DATA / "limited_api.json").write_text(stable_abi(options.stable_abi), "utf-8")
    if options.records:
        (DATA / "hidden_names.json").write_text(hidden_names(options.records), "utf-8")


if __name__ == "__main__":
    main()
