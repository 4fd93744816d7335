"""Logs of the last runs are kept, and of those that go on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from musllinux_build.cli.options import KEPT_LOGS, log_directory


def test_old_logs_go_unless_their_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    logs = tmp_path / "musllinux-build" / "logs"
    # No process has a number above 2^22 (proc(5), pid_max).
    ended = [logs / f"20200101-0000{number:02}-{(1 << 22) + 1}-x" for number in range(KEPT_LOGS)]
    running = logs / f"20190101-000000-{os.getpid()}-x"
    others = [logs / "20180101-000000-1-x", logs / "0-odd"]
    for path in (*ended, running, *others):
        path.mkdir(parents=True)
    new = log_directory("images")
    assert new.name.endswith(f"-{os.getpid()}-images")
    assert running.is_dir()
    assert others[0].is_dir()
    assert not others[1].exists()
    assert [path.is_dir() for path in ended] == [False, *[True] * (KEPT_LOGS - 1)]
