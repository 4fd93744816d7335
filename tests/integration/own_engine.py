"""A Docker daemon beside the machine's own, which a test may kill: its own data, sockets, containerd and bridge.

It has no way out of its bridge and changes no rules of the machine's network. It must have a bridge: a daemon that is
told to use none removes the one that the machine's own daemon has made.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine, connect
from musllinux_build.errors import EngineError

START_SECONDS = 60
BRIDGE, ADDRESS = "mlbkilled0", "198.18.77.1/24"
"""Of the range for tests between networks (RFC 2544), which no other bridge should have."""


@dataclass(slots=True, kw_only=True)
class OwnEngine:
    """The daemon; ``home`` is on the file system of the machine's own one, so that layers are kept alike."""

    home: Path
    sockets: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"unix://{self.sockets}/docker.sock"

    def up(self) -> DockerEngine:
        """The engine, started if need be, and again when it gave up, as a service is."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            if not self.running or self.running[-1].poll() is not None:
                self._start()
            try:
                return connect(self.url)
            except EngineError as error:
                if time.monotonic() > deadline:
                    tail = (self.home / "log").read_text(errors="replace")[-3000:]
                    pytest.fail(f"the test's own dockerd does not answer: {error.details}\n{tail}")
                time.sleep(0.2)

    def _start(self) -> None:
        # It takes a containerd that is ending for one that it can use, and waits for it in vain.
        _wait_for_end(self.sockets / "exec" / "containerd" / "containerd.pid")
        with (self.home / "log").open("ab") as log:
            process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.running.append(process)

    def _command(self) -> list[str]:
        settings = self.sockets / "daemon.json"
        settings.write_text("{}")
        return [
            *("dockerd", "--config-file", str(settings), "--host", self.url),
            *("--data-root", str(self.home / "data"), "--exec-root", str(self.sockets / "exec")),
            *("--pidfile", str(self.sockets / "docker.pid"), "--bridge", BRIDGE),
            *("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false"),
            # Where the machine's daemon uses a containerd of the system, both have the same one.
            *("--containerd-namespace", BRIDGE, "--containerd-plugins-namespace", f"{BRIDGE}-plugins"),
        ]

    def end(self, number: signal.Signals) -> None:
        """Send the daemon a signal, and wait until it is gone."""
        while self.running:
            process = self.running.pop()
            process.send_signal(number)
            process.wait(START_SECONDS)
        (self.sockets / "docker.pid").unlink(missing_ok=True)


@contextmanager
def own_engine(beside: DockerEngine) -> Iterator[OwnEngine]:
    """One that is there for the block, without images."""
    home = Path(tempfile.mkdtemp(prefix="mlb-killed-", dir=beside.root_directory()))
    sockets = Path(tempfile.mkdtemp(prefix="mlb-"))  # the path of a socket has 107 bytes (unix(7))
    engine = OwnEngine(home=home, sockets=sockets)
    subprocess.run(["ip", "link", "add", "name", BRIDGE, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", ADDRESS, "dev", BRIDGE], check=True)
        subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
        engine.up()
        yield engine
    finally:
        engine.end(signal.SIGTERM)
        _kill_shims(sockets)
        subprocess.run(["ip", "link", "delete", BRIDGE], check=True)
        for place in (home, sockets):
            _unmount(place)
            shutil.rmtree(place, ignore_errors=True)


def _wait_for_end(pid_file: Path) -> None:
    """Until that process is gone, or for START_SECONDS."""
    try:
        process = Path("/proc", pid_file.read_text().strip())
    except FileNotFoundError:
        return
    deadline = time.monotonic() + START_SECONDS
    while process.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def _kill_shims(sockets: Path) -> None:
    """What keeps the containers of a daemon that never came back, and those containers: they are its children."""
    told = str(sockets).encode()
    shims = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if told in _read(path)]
    for shim in shims:
        tasks = Path(f"/proc/{shim}/task").glob("*/children")
        kept = [int(pid) for task in tasks for pid in _read(task).split()]
        for pid in (*kept, shim):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


def _unmount(place: Path) -> None:
    """What a killed daemon has left mounted, the innermost first."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for path in sorted((path for path in mounted if path.startswith(f"{place}/")), reverse=True):
        subprocess.run(["umount", "--lazy", path], check=False)
