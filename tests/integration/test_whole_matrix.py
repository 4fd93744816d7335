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
MACHINE = (
    "machine = os.uname().machine; names = {'i686': 'i386', 'armv7l': 'arm-', 'ppc64le': 'powerpc64le'}; "
    "assert names.get(machine, machine) in ours.__file__, (machine, ours.__file__); "
)
# A process sees the machine that the root's packages are for.
SEES = 'want=$(apk --print-arch); case $want in x86) want=i686;; armv7) want=armv7l;; esac; test "$(uname -m)" = $want'
PROJECTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "a C project": (
        "markupsafe==3.0.3",
        ("--test-command", f'python -c "import os; from markupsafe import _speedups as ours; {MACHINE}"'),
    ),
    # What ``make demo`` builds for two architectures.
    "the demo": (
        "pyyaml==6.0.3",
        (
            *("--before-all", f"apk add yaml-dev; {SEES}", "--environment", "PYYAML_FORCE_LIBYAML=1"),
            "--test-command",
            (
                f'python -c "import os, yaml; from yaml import _yaml as ours; {MACHINE}'
                "assert yaml.load('a: [1]', Loader=yaml.CSafeLoader) == {'a': [1]}\""
            ),
        ),
    ),
}
CHOICE = ("--arch", "all", "--policy", "all", "--python", "3.13")


def wheels(text: str) -> Mapping[str, str]:
    """Identifier → hash of what a report has; every wheel is proven on the oldest and the newest Alpine."""
    rows = json.loads(text)["wheels"]
    assert all(len(row["proven"]) == 2 for row in rows)
    native = {row["id"] for row in rows if not row["emulated"]}
    assert native == {f"cp313-musllinux_{tag}" for tag in ("1_1_x86_64", "1_2_x86_64", "1_2_i686")}
    return {row["id"]: row["sha256"] for row in rows}


@pytest.mark.parametrize("project", PROJECTS)
def test_one_run_and_shards(tool: Tool, sdist: Callable[[str], Path], tmp_path: Path, project: str) -> None:
    requirement, options = PROJECTS[project]
    source, choice = sdist(requirement), (*CHOICE, *options)
    whole = tool(source, *choice, "--output", tmp_path / "whole", "--json")
    assert whole.status == 0, whole.everything
    built = wheels(whole.out)
    assert len(built) == 10
    skipped = {row["id"]: row["reason"] for row in json.loads(whole.out)["skipped"]}
    assert skipped == {f"cp313-{tag}": skipped[f"cp313-{tag}"] for tag in WITHOUT}
    assert all(tag in skipped[f"cp313-{tag}"] for tag in WITHOUT)

    parts = [tmp_path / f"part-{number}" for number in range(1, SHARDS + 1)]
    for number, part in enumerate(parts, start=1):
        # Built again, not what the run before has finished.
        ran = tool(source, *choice, "--rebuild", "--shard", f"{number}/{SHARDS}", "--output", part)
        assert ran.status == 0, ran.everything
    merged = tool("merge", *parts, "--output", tmp_path / "merged")
    assert merged.status == 0, merged.everything
    names = sorted(path.name for path in (tmp_path / "merged").glob("*.whl"))
    assert names == sorted(path.name for path in (tmp_path / "whole").glob("*.whl"))
    for name in names:
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
