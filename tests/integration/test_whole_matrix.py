"""Every image of the factory gives a proven wheel, in one run and in shards that are merged."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import Tool

pytestmark = [pytest.mark.engine, pytest.mark.nightly, pytest.mark.usefixtures("docker")]

SHARDS = 3
WITHOUT = ("musllinux_1_1_i686", "musllinux_1_1_armv7l")
# Each process sees its own machine, those of 32 bits too: an extension's suffix has another name for some.
TEST = (
    "import os; from markupsafe import _speedups; machine = os.uname().machine; "
    "names = {'i686': 'i386', 'armv7l': 'arm-', 'ppc64le': 'powerpc64le'}; "
    "assert names.get(machine, machine) in _speedups.__file__, (machine, _speedups.__file__)"
)
CHOICE = ("--arch", "all", "--policy", "all", "--python", "3.13", "--test-command", f'python -c "{TEST}"')


def wheels(text: str) -> Mapping[str, str]:
    """Identifier → hash of what a report has; every wheel is proven on the oldest and the newest Alpine."""
    rows = json.loads(text)["wheels"]
    assert all(len(row["proven"]) == 2 for row in rows)
    return {row["id"]: row["sha256"] for row in rows}


def test_one_run_and_shards(tool: Tool, sdist: Callable[[str], Path], tmp_path: Path) -> None:
    source = sdist("markupsafe==3.0.3")
    whole = tool(source, *CHOICE, "--output", tmp_path / "whole", "--json")
    assert whole.status == 0, whole.everything
    built = wheels(whole.out)
    assert len(built) == 10
    skipped = {row["id"]: row["reason"] for row in json.loads(whole.out)["skipped"]}
    assert skipped == {f"cp313-{tag}": skipped[f"cp313-{tag}"] for tag in WITHOUT}
    assert all(tag in skipped[f"cp313-{tag}"] for tag in WITHOUT)

    parts = [tmp_path / f"part-{number}" for number in range(1, SHARDS + 1)]
    for number, part in enumerate(parts, start=1):
        ran = tool(source, *CHOICE, "--shard", f"{number}/{SHARDS}", "--output", part)
        assert ran.status == 0, ran.everything
    merged = tool("merge", *parts, "--output", tmp_path / "merged")
    assert merged.status == 0, merged.everything
    names = sorted(path.name for path in (tmp_path / "merged").glob("*.whl"))
    assert names == sorted(path.name for path in (tmp_path / "whole").glob("*.whl"))
    for name in names:
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
