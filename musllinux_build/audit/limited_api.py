"""CPython's stable ABI as data: which names it has, and since which release (PEP 384, PEP 652)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

UNAVAILABLE = frozenset({"MS_WINDOWS", "Py_REF_DEBUG", "Py_TRACE_REFS", "USE_STACKCHECK"})
"""Feature macros no release build of CPython on Linux has."""


def derive_limited_api(items: Mapping[str, Mapping[str, Mapping[str, object]]], release: str) -> str:
    """The data file as JSON, from the tables of a CPython source tree's ``Misc/stable_abi.toml``."""
    rows: dict[str, list[str]] = {}
    for kind in ("function", "data"):
        for name, row in items.get(kind, {}).items():
            if row.get("ifdef") not in UNAVAILABLE:
                rows.setdefault(str(row["added"]), []).append(name)
    ordered = sorted(rows, key=lambda version: int(version.split(".")[1]))
    document = {
        "schema": 1,
        "source": f"CPython {release}",
        "added": {key: " ".join(sorted(rows[key])) for key in ordered},
    }
    return json.dumps(document, indent=1) + "\n"


def parse_limited_api(text: str) -> Mapping[str, int]:
    """Name to the minor of CPython 3 that added it.

    Raises:
        KeyError, ValueError: ``text`` was not written by ``derive_limited_api``.
    """
    document = json.loads(text)
    if document["schema"] != 1:
        raise ValueError(f"unknown schema {document['schema']!r}")
    return MappingProxyType(
        {name: int(version.split(".")[1]) for version, names in document["added"].items() for name in names.split()}
    )


@cache
def load_limited_api() -> Mapping[str, int]:
    """The committed names; PyModExport hooks and PyInit functions are defined by extensions and are not among them."""
    return parse_limited_api(Path(__file__).with_name("data").joinpath("limited_api.json").read_text("utf-8"))
