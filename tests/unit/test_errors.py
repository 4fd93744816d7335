from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from musllinux_build.cli.main import CLOSED_PIPE
from musllinux_build.errors import MusllinuxBuildError, near_miss
from tests.unit.auditing import extension, module_name, put_wheel

DOCUMENT = Path(__file__).parents[2] / "docs" / "exit-codes.md"


def tree(root: type[MusllinuxBuildError] = MusllinuxBuildError) -> Iterator[type[MusllinuxBuildError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def test_every_error_has_its_own_exit_code() -> None:
    codes = [error.exit_code for error in tree()]
    assert len(codes) == len(set(codes))
    assert not {0, 1} & set(codes)


def test_the_documented_table_is_the_tree() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (.+?) \|", DOCUMENT.read_text(), flags=re.MULTILINE))
    assert {str(error.exit_code): error.meaning for error in tree()} | {
        "0": "done",
        "1": "the audit says no",
        str(CLOSED_PIPE): "nobody reads the output any more (SIGPIPE)",
    } == rows


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["audit", "show", "--help"],
        ["audit", "show", "GOOD"],
        ["audit", "show", "--json", "GOOD"],
        ["survey", "GOOD"],
        ["audit", "show", "BROKEN"],
        ["audit", "shoe"],
    ],
)
def test_a_reader_that_went_away_is_no_verdict(tmp_path: Path, arguments: list[str]) -> None:
    broken = tmp_path / "broken-1.0-cp313-cp313-linux_x86_64.whl"
    broken.write_bytes(b"no zip")
    wheels = {"GOOD": str(put_wheel(tmp_path, {module_name(): extension()})), "BROKEN": str(broken)}
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        ended = subprocess.run(
            [sys.executable, "-m", "musllinux_build", *(wheels.get(word, word) for word in arguments)],
            stdout=closed,
            stderr=closed,
            check=False,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        )
    assert ended.returncode == CLOSED_PIPE


def test_near_miss() -> None:
    assert near_miss("aarch46", ["x86_64", "aarch64"]) == "did you mean 'aarch64'? Known: x86_64, aarch64."
    assert near_miss("zzz", ["x86_64"]) == "Known: x86_64."
