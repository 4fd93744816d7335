"""Addresses of engines behind SSH, and what becomes of an ssh that cannot log in."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from musllinux_build.adapters.ssh import SshAddress, brought_here, open_tunnel, parse_ssh
from musllinux_build.errors import EngineError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ssh://box", SshAddress(destination="box")),
        ("ssh://Box", SshAddress(destination="Box")),
        ("ssh://me@box:2222/", SshAddress(destination="me@box", port=2222)),
        ("ssh://box/run/podman/podman.sock", SshAddress(destination="box", socket="/run/podman/podman.sock")),
        ("ssh://me@[fe80::1%25eth0]:22/x", SshAddress(destination="me@fe80::1%eth0", port=22, socket="/x")),
        ("ssh://a%40b@box", SshAddress(destination="a@b@box")),
    ],
)
def test_an_address(url: str, expected: SshAddress) -> None:
    assert parse_ssh(url) == expected


@pytest.mark.parametrize(
    "url",
    ["ssh://", "ssh://-oProxyCommand=x", "ssh://-l@box", "tcp://box", "ssh://box:x", "ssh://box?y", "ssh://me:a@box"],
)
def test_what_is_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"is not ssh|no place for a password"):
        parse_ssh(url)


def test_an_ssh_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\necho Permission denied. >&2\nexit 255\n")
    program.chmod(0o755)
    with pytest.raises(EngineError, match="cannot log in at me@box") as caught:
        open_tunnel("ssh://me@box:7", str(program))
    assert caught.value.details == "Permission denied."
    assert "-p 7 me@box true" in caught.value.resolution
    assert list(tmp_path.iterdir()) == [program]


def test_what_is_no_address_is_told_before_anything_is_started() -> None:
    with pytest.raises(EngineError, match="no place for a password"):
        brought_here("ssh://me:secret@box")


def test_other_addresses_stay_as_they_are() -> None:
    assert brought_here("tcp://box:1") == "tcp://box:1"
