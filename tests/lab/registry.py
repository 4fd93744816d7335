"""A registry of this machine's own: Debian's docker-registry on a loopback port, gone with the block."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.commands import LabError, run

START_SECONDS = 20
CONFIG = """
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {root}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def ensure_program(name: str) -> str:
    """The path of a program of the Debian package of the same name, installed where it is missing."""
    found = shutil.which(name)
    if found is None:
        run(["apt-get", "update", "-q"])
        run(["apt-get", "install", "-qy", "--no-install-recommends", name], env={"DEBIAN_FRONTEND": "noninteractive"})
        found = shutil.which(name)
    if found is None:
        raise LabError(f"{name}: not installed")
    return found


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    """``127.0.0.1:<port>`` of a registry that keeps its files in ``directory``."""
    with started(directory) as (address, _):
        yield address


@contextmanager
def started(directory: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The same with its process, for who wants it to die."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = directory / "config.yml"
    config.write_text(CONFIG.format(root=directory / "registry", port=port))
    program = ensure_program("docker-registry")
    with (directory / "log").open("wb") as log:
        # The package's own configuration wants a password; the environment must not bring it back.
        env = {key: value for key, value in os.environ.items() if not key.startswith("REGISTRY_")}
        server = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log, env=env)
        try:
            _await(port, server)
            yield f"127.0.0.1:{port}", server
        finally:
            server.terminate()
            server.wait()


def _await(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise LabError(f"the registry on port {port} does not answer")
