"""The door to other programs: what comes back, and how failures are explained."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from musllinux_build.adapters.process import NOT_EXECUTABLE, NOT_FOUND, Completed, run, start
from musllinux_build.errors import EngineError, FetchError


def test_output_and_status_come_back() -> None:
    done = run(["/bin/sh", "-c", "cat; echo err >&2; exit 3"], input=b"in")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"in", b"err\n")


def test_environment_and_directory_are_arguments(tmp_path: Path) -> None:
    done = run(["/bin/sh", "-c", 'echo "$ONLY" "$HOME"; pwd'], env={"ONLY": "x"}, cwd=tmp_path)
    assert done.stdout.decode().split("\n")[0].strip() == "x"
    assert Path(done.stdout.decode().split("\n")[1]).samefile(tmp_path)


def test_standard_input_is_empty_by_default() -> None:
    assert run(["/bin/cat"]).stdout == b""


def test_a_program_that_is_not_there_is_127() -> None:
    done = run(["/nowhere/tool", "--x"])
    assert done.returncode == NOT_FOUND
    assert "/nowhere/tool: command not found" in done.explanation


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run(["/bin/true"], cwd=tmp_path / "gone")
    assert done.returncode == NOT_FOUND
    assert f"directory {tmp_path / 'gone'} not found" in done.explanation


def test_a_file_without_the_execute_bit_is_126(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    assert run([str(tmp_path / "tool")]).returncode == NOT_EXECUTABLE


def test_a_slow_program_is_killed() -> None:
    done = run(["/bin/sh", "-c", "exec sleep 5"], timeout=0.05)
    assert done.returncode == -9
    assert "killed after 0.05 s" in done.explanation


@pytest.mark.parametrize(
    ("returncode", "stderr", "explanation"),
    [
        (1, b"", "exit status 1 and no message"),
        (-11, b"", "ended by signal 11"),
        (2, b"  no such option\n", "no such option"),
    ],
)
def test_explanations(returncode: int, stderr: bytes, explanation: str) -> None:
    assert Completed(argv=("x",), returncode=returncode, stdout=b"", stderr=stderr).explanation == explanation


def test_check_shows_the_command_line() -> None:
    done = run([sys.executable, "-S", "-c", "raise SystemExit('no way')"])
    with pytest.raises(FetchError) as caught:
        done.check(FetchError, "it failed", resolution="try again")
    assert caught.value.brief == "it failed"
    assert caught.value.resolution == "try again"
    assert "no way" in caught.value.details
    assert f"$ {sys.executable} -S -c" in caught.value.details


def test_check_returns_a_success() -> None:
    done = run(["/bin/true"])
    assert done.check(FetchError, "never") is done


def test_start_returns_at_once_and_logs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    number = start(["sh", "-c", "echo said; sleep 30"], log=log)
    try:
        deadline = time.monotonic() + 5
        while not log.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert log.read_text() == "said\n"
    finally:
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)


def test_start_of_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot start no-such-program"):
        start(["no-such-program"], log=tmp_path / "log")
