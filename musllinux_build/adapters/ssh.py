"""The socket of an engine on another machine, brought here by the user's own ssh: its settings, agent and hosts hold.

``ssh://[USER@]HOST[:PORT][/SOCKET]``. One ssh per address serves all connections of the process and ends with it,
killed or not: its remote command reads a pipe that only this process holds.
"""

from __future__ import annotations

import atexit
import os
import re
import shlex
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from urllib.parse import unquote

from musllinux_build.adapters.docker_json import SOCKET_PATH
from musllinux_build.adapters.process import Companion
from musllinux_build.errors import EngineError

CONNECT_SECONDS = 30
END_SECONDS = 5
GLANCE_SECONDS = 0.02

# Neither begins like an option. A host may be a name of ssh_config(5), where case counts.
_FORM = re.compile(
    r"ssh://(?:(?P<user>[^@/?#-][^@/?#]*)@)?(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^@:/?#\[\]-][^@:/?#\[\]]*)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[^?#]*)?"
)

_OPTIONS = (
    # A build has nobody to answer a question; a key that wants a password is the agent's business.
    *("-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}", "-o", "ServerAliveInterval=15"),
    *("-o", "ExitOnForwardFailure=yes", "-o", "RemoteCommand=none", "-o", "PermitLocalCommand=no"),
    # A master connection of the user's would keep the forwarded socket after this process.
    *("-o", "ControlMaster=no", "-o", "ControlPath=none"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAddress:
    """Where ssh logs in, and the engine's socket there."""

    destination: str
    port: int | None = None
    socket: str = SOCKET_PATH


def parse_ssh(url: str) -> SshAddress:
    """The parts of ``ssh://[USER@]HOST[:PORT][/SOCKET]``.

    Raises:
        ValueError: it is none, or has a password, which belongs in no address.
    """
    found = _FORM.fullmatch(url)
    if found is None:
        raise ValueError(f"{url} is not ssh://[USER@]HOST[:PORT][/SOCKET]")
    user, host = unquote(found["user"] or ""), unquote(found["host"].strip("[]"))
    if ":" in user:
        raise ValueError("an ssh:// address has no place for a password; ssh-agent or a key file has")
    return SshAddress(
        destination=f"{user}@{host}" if user else host,
        port=int(found["port"]) if found["port"] else None,
        socket=unquote((found["path"] or "").rstrip("/")) or SOCKET_PATH,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """A running ssh and the socket it listens at."""

    path: Path
    ssh: Companion

    @property
    def url(self) -> str:
        """Where the remote engine answers on this machine."""
        return f"unix://{self.path}"

    def close(self) -> str:
        """End ssh, and remove the socket; what ssh said."""
        said = self.ssh.end(END_SECONDS)
        shutil.rmtree(self.path.parent, ignore_errors=True)
        return said


def open_tunnel(url: str, program: str = "ssh") -> Tunnel:
    """Log in, and listen at a socket of this user's alone.

    Raises:
        EngineError: it is no such address, there is no ssh, or it cannot log in.
    """
    try:
        address = parse_ssh(url)
    except ValueError as error:
        resolution = "Write it as ssh://user@host or ssh://user@host/path/to.sock"
        raise EngineError(str(error), resolution=resolution) from None
    directory = Path(tempfile.mkdtemp(prefix="musllinux-build-ssh-"))
    local = directory / "engine.sock"
    port = ("-p", str(address.port)) if address.port else ()
    forward = ("-L", f"{local}:{address.socket}")
    words = (program, *_OPTIONS, *port, *forward, "--", address.destination, "cat >/dev/null")
    # When this process is killed, ssh ends with the pipe and the shell removes the directory.
    script = f"{shlex.join(words)}; status=$?; rm -rf {shlex.quote(str(directory))}; exit $status"
    tunnel = Tunnel(path=local, ssh=Companion(["/bin/sh", "-c", script]))
    deadline = time.monotonic() + CONNECT_SECONDS
    try:
        while tunnel.ssh.alive and time.monotonic() < deadline:
            if _listens(local):
                return tunnel
            time.sleep(GLANCE_SECONDS)
    except BaseException:
        tunnel.close()
        raise
    raise EngineError(
        f"ssh cannot log in at {address.destination}",
        details=tunnel.close(),
        resolution=f"Make this work, without a question: {shlex.join(_by_hand(address, program))}",
    )


def _by_hand(address: SshAddress, program: str) -> tuple[str, ...]:
    port = ("-p", str(address.port)) if address.port else ()
    return (program, "-o", "BatchMode=yes", *port, address.destination, "true")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as visitor:
        try:
            visitor.connect(os.fspath(path))
        except OSError:
            return False
    return True


@dataclass(slots=True)
class _Tunnels:
    """Those of this process, by address."""

    by_url: dict[str, Tunnel] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def url(self, url: str) -> str:
        with self.lock:
            found = self.by_url.get(url)
            if found is None or not found.ssh.alive:
                found = self.by_url[url] = open_tunnel(url)
            return found.url

    def close(self) -> None:
        for tunnel in self.by_url.values():
            tunnel.close()
        self.by_url.clear()


_tunnels = _Tunnels()
atexit.register(_tunnels.close)


def brought_here(url: str) -> str:
    """``url`` as this machine reaches it: of ssh:// the local end of a tunnel, anything else as it is.

    Raises:
        EngineError: ssh cannot log in.
    """
    return _tunnels.url(url) if url.startswith("ssh://") else url
