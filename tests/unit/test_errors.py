from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from musllinux_build.errors import MusllinuxBuildError, near_miss

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
    } == rows


def test_near_miss() -> None:
    assert near_miss("aarch46", ["x86_64", "aarch64"]) == "did you mean 'aarch64'? Known: x86_64, aarch64."
    assert near_miss("zzz", ["x86_64"]) == "Known: x86_64."
