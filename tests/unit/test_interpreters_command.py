"""``manylinux-interpreters``, run by the shell at hand over a directory instead of ``/opt/python``."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from musllinux_build.shipped import shipped

SCRIPT = shipped("dockerfiles") / "scripts" / "manylinux-interpreters"
KEYS = {"identifier", "installed", "python_version", "implementation", "implementation_version", "install_path"}


@pytest.fixture
def command(tmp_path: Path) -> Path:
    root, known, command = tmp_path / "python", tmp_path / "interpreters", tmp_path / "command"
    for tag, place in (("cp39-cp39", "cpython-3.9.2"), ("cp314-cp314t", "cpython-3.14.1-nogil")):
        (tmp_path / place / "bin").mkdir(parents=True)
        (tmp_path / place / "bin" / "python").touch(mode=0o755)
        root.mkdir(exist_ok=True)
        (root / tag).symlink_to(tmp_path / place)
    known.write_text("cp39-cp39\ncp313-cp313\n")
    text = SCRIPT.read_text(encoding="utf-8").replace("root=/opt/python", f"root={root}")
    command.write_text(text.replace("known=/opt/_internal/musllinux-build/interpreters", f"known={known}"))
    return command


def run(command: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(["/bin/sh", command, *words], capture_output=True, text=True, check=False, env=os.environ)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "tags"),
    [
        (["list"], ["cp39-cp39", "cp313-cp313", "cp314-cp314t"]),
        (["list", "-i"], ["cp39-cp39", "cp314-cp314t"]),
        (["list", "--installed", "--format", "text"], ["cp39-cp39", "cp314-cp314t"]),
    ],
)
def test_a_tag_a_line(command: Path, words: list[str], tags: list[str]) -> None:
    assert run(command, *words) == (0, "".join(f"{tag}\n" for tag in tags), "")


def test_json(command: Path) -> None:
    status, said, _ = run(command, "list", "--format=json")
    found = {row["identifier"]: row for row in json.loads(said)}
    assert status == 0
    assert all(row.keys() == KEYS for row in found.values())
    assert (found["cp39-cp39"]["python_version"], found["cp39-cp39"]["implementation_version"]) == ("3.9", "3.9.2")
    threads = found["cp314-cp314t"]
    assert (threads["python_version"], threads["implementation_version"]) == ("3.14", "3.14.1")
    assert (found["cp313-cp313"]["installed"], found["cp313-cp313"]["install_path"]) == (False, None)
    assert [row["identifier"] for row in json.loads(run(command, "list", "-i", "--format", "json")[1])] == [
        "cp39-cp39",
        "cp314-cp314t",
    ]


@pytest.mark.parametrize("words", [["--help"], ["ensure", "cp39-cp39", "cp314-cp314t"], ["ensure-all"], ["list", "-v"]])
def test_what_succeeds(command: Path, words: list[str]) -> None:
    status, _, wrong = run(command, *words)
    assert (status, wrong) == (0, "")


def test_what_is_not_there_is_not_downloaded(command: Path) -> None:
    status, said, wrong = run(command, "ensure", "cp39-cp39", "cp313-cp313", "pp39-pypy39_pp73")
    assert (status, said) == (1, "")
    assert "cp313-cp313 is not in this image" in wrong
    assert "images build --python cp313-cp313" in wrong
    assert "pp39-pypy39_pp73 is not in this image" in wrong
    assert "images build --python pp39" not in wrong
    assert "This image has: cp39-cp39 cp314-cp314t" in wrong


@pytest.mark.parametrize("words", [[], ["lost"], ["ensure"], ["list", "--format", "xml"], ["list", "--what"]])
def test_wrong_usage(command: Path, words: list[str]) -> None:
    status, said, wrong = run(command, *words)
    assert (status, said) == (2, "")
    assert "usage:" in wrong
