"""One run's containers: each has the run's label and is removed when its block ends, whatever ends it."""

from __future__ import annotations

import shlex
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType

from musllinux_build.builds.steps import Step
from musllinux_build.errors import BuildError, EngineError, InterruptedBuildError, TerminatedError
from musllinux_build.ports import ContainerSpec, Engine, Progress

RUN_LABEL = "org.musllinux-build.run"
_TAIL_LINES = 30


class Session:
    """The engine of one run, and what must be gone when it ends."""

    def __init__(self, engine: Engine, progress: Progress, *, verbose_output: bool = False) -> None:
        self.engine = engine
        self.progress = progress
        self.run = uuid.uuid4().hex
        self._echo = progress.detail if verbose_output else None

    @contextmanager
    def container(self, spec: ContainerSpec) -> Iterator[str]:
        """A running container for the duration of the block."""
        labels: Mapping[str, str] = {**spec.labels, RUN_LABEL: self.run}
        container = self.engine.create(replace(spec, labels=labels))
        try:
            yield container
        finally:
            with _undisturbed():
                self.engine.remove(container)

    def close(self) -> None:
        """Remove what a signal between creation and bookkeeping left behind."""
        with _undisturbed(), suppress(EngineError):
            for container in self.engine.containers(f"{RUN_LABEL}={self.run}"):
                self.engine.remove(container)

    def check(self, container: str, argv: Sequence[str]) -> None:
        """Run a command of our own, one that has to succeed.

        Raises:
            EngineError: its status is not 0; the details are the end of its output.
        """
        said = bytearray()
        status = self.engine.run(container, argv, on_output=said.extend)
        if status:
            lines = said.decode(errors="replace").rstrip("\n").splitlines()[-_TAIL_LINES:]
            raise EngineError(
                f"{argv[0]} failed in a container with exit status {status}",
                details="\n".join((f"$ {shlex.join(argv)}", *lines)),
                resolution="Run: musllinux-build doctor",
            )

    def execute(self, container: str, step: Step, log: Log, *, failure: type[BuildError] = BuildError) -> None:
        """Run one step, its output appended to ``log``.

        Raises:
            BuildError (or ``failure``): its status is not 0; the details are the end of its output.
        """
        start = log.begin(step)
        status = self.engine.run(container, step.argv, env=step.env, cwd=step.cwd, on_output=log.writer(self._echo))
        log.end()
        if status:
            raise failure(
                f"{step.title} of {log.name} failed with exit status {status}",
                details=log.tail(start, _TAIL_LINES),
                resolution=f"The whole log: {log.place(start)}",
            )


class Log:
    """A log file of one target, written as the output comes."""

    def __init__(self, path: Path, name: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.name = name
        self._file = path.open("wb")

    def begin(self, step: Step) -> int:
        """Head the output of a step; where it starts."""
        self._file.write(f"\n$ {' '.join(step.argv)}\n".encode())
        return self._file.tell()

    def writer(self, echo: Callable[[str], None] | None) -> Callable[[bytes], None]:
        """A function that takes the output's chunks."""
        rest = bytearray()

        def write(chunk: bytes) -> None:
            self._file.write(chunk)
            if echo is not None:
                rest.extend(chunk)
                *lines, last = bytes(rest).split(b"\n")
                rest[:] = last
                for line in lines:
                    echo(line.decode(errors="replace").rstrip("\r"))

        return write

    def end(self) -> None:
        """Everything so far is on disk."""
        self._file.flush()

    def close(self) -> None:
        """No more output."""
        self._file.close()

    def tail(self, start: int, lines: int) -> str:
        """The last lines written since ``start``."""
        self._file.flush()
        text = self.path.read_bytes()[start:].decode(errors="replace")
        return "\n".join(text.replace("\r\n", "\n").rstrip("\n").split("\n")[-lines:])

    def place(self, start: int) -> str:
        """``path:line`` of the first line since ``start`` that names an error, else of the last line."""
        content = self.path.read_bytes()
        offset = content[:start].count(b"\n") + 1
        lines = content[start:].rstrip(b"\n").split(b"\n")
        for number, line in enumerate(lines):
            if b"error:" in line.lower() or line.startswith(b"Traceback "):
                return f"{self.path}:{offset + number}"
        return f"{self.path}:{offset + len(lines) - 1}"


@contextmanager
def signals_as_errors() -> Iterator[None]:
    """SIGINT and SIGTERM raise InterruptedBuildError and TerminatedError in the main thread of the block."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise InterruptedBuildError("interrupted", resolution="Nothing is left running.")

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise TerminatedError("terminated", resolution="Nothing is left running.")

    before = signal.signal(signal.SIGINT, interrupt), signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Cleaning up is finished before a second signal counts; only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
