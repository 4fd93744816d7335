"""Writes the names of CPython's stable ABI that rules look up.

``python -m tests.lab.make_limited_api SOURCE/Misc/stable_abi.toml``. The names of releases newer than that source come
from the package ``abi3info`` where it is installed; both lists must agree on the rest.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

from musllinux_build.audit import limited_api

DATA = Path(limited_api.__file__).parent / "data"


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


def main() -> None:
    """Write the data file."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("stable_abi", type=Path, help="Misc/stable_abi.toml of a CPython source tree")
    options = parser.parse_args()
    (DATA / "limited_api.json").write_text(stable_abi(options.stable_abi), "utf-8")


if __name__ == "__main__":
    main()
