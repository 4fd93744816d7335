"""The single door to other programs on this machine."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess  # noqa: TID251 - this module is the door
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.errors import EngineError, MusllinuxBuildError

NOT_FOUND = 127
"""The exit status of a command that is not there, as shells have it (POSIX, 2.8.2)."""
NOT_EXECUTABLE = 126
TAIL = 2000
CHUNK = 1 << 16
"""What a pipe holds (pipe(7))."""
GLANCE_MILLISECONDS = 100
"""How often is looked whether a program ended that left its output to another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A program that has ended. ``returncode`` is negative for a signal, 127 when the program is not there."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def command(self) -> str:
        """The command line as a user would type it."""
        return shlex.join(self.argv)

    @property
    def explanation(self) -> str:
        """Why it failed: the end of its standard error, or what its exit status means."""
        said = self.stderr.decode(errors="replace").strip()[-TAIL:]
        if said:
            return said
        if self.returncode < 0:
            return f"ended by signal {-self.returncode}"
        return f"exit status {self.returncode} and no message"

    def check(self, error: type[MusllinuxBuildError], brief: str, *, resolution: str = "") -> Completed:
        """This value when the program succeeded.

        Raises:
            MusllinuxBuildError: of the class ``error``, with the command line and the reason in its details.
        """
        if self.returncode == 0:
            return self
        raise error(brief, details=f"$ {self.command}\n{self.explanation}", resolution=resolution)


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    input: bytes | None = None,  # noqa: A002 - subprocess.run's own word
    timeout: float | None = None,
) -> Completed:
    """Run a program to its end without a shell; never raises for what the program did.

    ``env`` None inherits this process's environment. ``timeout`` is in seconds; after it the program is killed and
    the exit status is that of the kill. Standard input is empty unless ``input`` is given.
    """
    command = tuple(argv)
    try:
        done = subprocess.run(
            command,
            env=env,
            cwd=cwd,
            input=input if input is not None else b"",
            timeout=timeout,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        missing = f"directory {cwd}" if cwd is not None and not cwd.is_dir() else f"{command[0]}: command"
        return Completed(argv=command, returncode=NOT_FOUND, stdout=b"", stderr=f"{missing} not found".encode())
    except (PermissionError, NotADirectoryError) as error:
        reason = f"{error.filename}: cannot be executed ({error.strerror})"
        return Completed(argv=command, returncode=NOT_EXECUTABLE, stdout=b"", stderr=reason.encode())
    except subprocess.TimeoutExpired as expired:
        said = (expired.stderr or b"") + f"\nkilled after {timeout:g} s".encode()
        return Completed(argv=command, returncode=-9, stdout=expired.stdout or b"", stderr=said)
    return Completed(argv=command, returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)


def start(argv: Sequence[str], *, log: Path) -> int:
    """Start a program that outlives this one, its output appended to ``log``; its process number.

    Raises:
        EngineError: it cannot be started.
    """
    # Not Popen: it warns when nobody waits for its program, and nobody is to wait for this one.
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    try:
        return os.posix_spawnp(argv[0], list(argv), os.environ, file_actions=actions, setsid=True)
    except OSError as error:
        raise EngineError(f"cannot start {argv[0]}: {error.strerror}") from error


class Companion:
    """A program that serves this one, and ends no later: it is to end with its standard input, which is a pipe of ours.

    In a session of its own: Ctrl-C is for this process, which may need it to clean up. Its errors go to a file without
    a name.

    Raises:
        EngineError: it cannot be started.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        try:
            self._process = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                start_new_session=True,
            )
        except OSError as error:
            self._said.close()
            raise EngineError(f"cannot start {argv[0]}: {error.strerror}") from error

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def end(self, patience: float) -> str:
        """Close its input, and end it after ``patience`` seconds; what it wrote to its standard error."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()
        with self._said:
            self._said.seek(0)
            return self._said.read().decode(errors="replace").strip()[-TAIL:]


class ProcessGroups:
    """Programs of one purpose, each with all that it starts: they run one after the other and end together.

    Each is the leader of a session of its own, so that a terminal's signals do not reach it and what it leaves in the
    background is known by its group. A leader is not reaped before the end: until then nobody else gets its number.
    No signal may become an exception in ``undisturbed``, between a program's start and its being known.
    """

    def __init__(self, undisturbed: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self._leaders: list[subprocess.Popen[bytes]] = []
        self._undisturbed = undisturbed

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        on_output: Callable[[bytes], None] = lambda _: None,
    ) -> int:
        """Run a program to its end, standard output and error together; the exit status as shells have it."""
        try:
            with self._undisturbed():
                leader = subprocess.Popen(
                    list(argv),
                    env=env,
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self._leaders.append(leader)
        except FileNotFoundError as error:
            on_output(f"{error.filename}: not found\n".encode())
            return NOT_FOUND
        except (PermissionError, NotADirectoryError) as error:
            on_output(f"{error.filename}: cannot be executed ({error.strerror})\n".encode())
            return NOT_EXECUTABLE
        assert leader.stdout is not None
        with leader.stdout as output:
            _forward(output.fileno(), leader.pid, on_output)
        return _status(leader.pid, os.WEXITED | os.WNOWAIT) or 0

    def end(self) -> None:
        """Kill all that is left of them."""
        for leader in self._leaders:
            with suppress(PermissionError):  # all that is left of it has become another user's
                os.killpg(leader.pid, signal.SIGKILL)
        while self._leaders:
            self._leaders[-1].wait()
            self._leaders.pop()


def _forward(output: int, leader: int, on_output: Callable[[bytes], None]) -> None:
    """Hand on what is written to ``output`` until nobody can write to it any more, or ``leader`` has ended.

    What it wrote before is in the pipe then; what others still write there is nobody's concern.
    """
    poller = select.poll()
    poller.register(output, select.POLLIN)
    left = 2 * CHUNK
    while left > 0:
        ended = _status(leader, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        if poller.poll(0 if ended else GLANCE_MILLISECONDS):
            chunk = os.read(output, CHUNK)
            if not chunk:
                return
            on_output(chunk)
            left -= len(chunk) if ended else 0
        elif ended:
            return


def _status(leader: int, options: int) -> int | None:
    """The exit status of a child, None while there is none."""
    found = os.waitid(os.P_PID, leader, options)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else 128 + found.si_status
