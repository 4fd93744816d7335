"""An engine behind a real SSH server, named as in a user's ssh_config(5); the server is of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine
from musllinux_build.ports import LABEL
from tests.integration.conftest import BESIDE, Tool
from tests.integration.test_several import hashes

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("docker", "images", "no_leftovers")]

SSHD = "/usr/sbin/sshd"
PORT = 22022
START_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that lets this user in as ``arm-box``; ``env`` is what ssh is found and set up by."""

    env: dict[str, str]
    log: Path


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # Not pytest's own: the server wants directories that nobody else can write to, up to the root.
    with tempfile.TemporaryDirectory(prefix="mlb-sshd-") as name:
        place = Path(name)
        for key in ("host", "user"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", str(place / key)]
            subprocess.run(make, check=True)
        (place / "authorized").write_text((place / "user.pub").read_text())
        public = (place / "host.pub").read_text().rpartition(" ")[0]
        (place / "known").write_text(f"[127.0.0.1]:{PORT} {public}\n")
        (place / "sshd_config").write_text(
            f"Port {PORT}\nListenAddress 127.0.0.1\nHostKey {place}/host\nPidFile {place}/pid\nUsePAM no\n"
            f"AuthorizedKeysFile {place}/authorized\nPermitRootLogin prohibit-password\nStrictModes no\n"
        )
        (place / "ssh_config").write_text(
            f"Host Arm-Box\n HostName 127.0.0.1\n Port {PORT}\n IdentityFile {place}/user\n"
            f" UserKnownHostsFile {place}/known\n"
        )
        program = place / "bin" / "ssh"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {place}/ssh_config "$@"\n')
        program.chmod(0o755)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        log = place / "log"
        process = subprocess.Popen([SSHD, "-D", "-f", str(place / "sshd_config"), "-E", str(log)])
        try:
            deadline = time.monotonic() + START_SECONDS
            while "Server listening" not in (log.read_text() if log.exists() else ""):
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield Server(env={"PATH": f"{program.parent}:{os.environ['PATH']}"}, log=log)
        finally:
            process.terminate()
            process.wait()


@pytest.fixture
def tunnels() -> Callable[[], set[Path]]:
    """What is there now of tunnels that began in this test; other runs may have theirs."""

    def now() -> set[Path]:
        return set(Path(tempfile.gettempdir()).glob("musllinux-build-ssh-*"))

    before = now()
    return lambda: now() - before


def test_a_build_there_gives_the_same_wheel(
    tool: Tool,
    sdist: Callable[[str], Path],
    tmp_path: Path,
    server: Server,
    tunnels: Callable[[], set[Path]],
) -> None:
    source, choice = sdist("markupsafe==3.0.3"), ("--arch", "x86_64", "--python", "3.13", "--json")
    here = tool(source, *choice, "--output", tmp_path / "here")
    there = tool(source, *choice, "--engine", "ssh://Arm-Box", "--output", tmp_path / "there", **server.env)
    assert hashes(here) == hashes(there)
    assert "engine ssh://Arm-Box" in there.err
    assert server.log.read_text().count("Accepted publickey") == 1
    assert not tunnels()


def test_a_context_may_lead_there(tool: Tool, tmp_path: Path, server: Server) -> None:
    env = {**server.env, "DOCKER_CONFIG": str(tmp_path / "docker")}
    create = ["docker", "context", "create", "arm", "--docker", "host=ssh://Arm-Box"]
    subprocess.run(create, env={**os.environ, **env}, check=True, capture_output=True)
    (tmp_path / "docker" / "config.json").write_text("{}")
    ran = tool("doctor", "--engine", "arm", "--arch", "x86_64", **env)
    assert "runs x86_64" in ran.out
    assert "at ssh://Arm-Box" in ran.out


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ssh://nobody@Arm-Box", "ssh cannot log in at nobody@Arm-Box"),
        ("ssh://Arm-Box/run/nothing.sock", "ssh logs in, and no container engine answers"),
    ],
)
def test_what_is_wrong_is_told_apart(
    tool: Tool,
    sdist: Callable[[str], Path],
    tmp_path: Path,
    server: Server,
    tunnels: Callable[[], set[Path]],
    address: str,
    said: str,
) -> None:
    ran = tool(sdist("markupsafe==3.0.3"), "--engine", address, "--output", tmp_path / "out", **server.env)
    assert ran.status == 3, ran.everything
    assert said in ran.err
    assert not tunnels()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_tunnel_ends_with_the_tool(
    tool: Tool,
    sdist: Callable[[str], Path],
    tmp_path: Path,
    server: Server,
    docker: DockerEngine,
    tunnels: Callable[[], set[Path]],
    number: signal.Signals,
) -> None:
    source, out = sdist("markupsafe==3.0.3"), tmp_path / "out"
    choice = ("--arch", "x86_64", "--python", "3.13", "--engine", "ssh://Arm-Box", "--output", out)
    before = set(docker.containers(LABEL))
    command: list[str | Path] = [BESIDE / "musllinux-build", source, *choice, "--rebuild"]
    process = subprocess.Popen(command, env={**os.environ, **server.env}, stdout=sys.stderr)
    try:
        while not set(docker.containers(LABEL)) - before:
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.send_signal(number)
        process.wait()
    if number == signal.SIGTERM:
        # Through the tunnel, which therefore ended last.
        assert set(docker.containers(LABEL)) <= before
    deadline = time.monotonic() + START_SECONDS
    while tunnels():
        assert time.monotonic() < deadline, tunnels()
        time.sleep(0.05)
    again = tool(source, *choice, **server.env)
    assert again.status == 0, again.everything
    assert len(list(out.iterdir())) == 1
