"""One run's containers: each has the run's label and is removed when its block ends, whatever ends it.

A signal is an exception in the main thread, and only the first one of a run: what follows it is cleaning up, which
nothing may interrupt. Between asking the engine for a container and knowing its name, signals wait.
"""

from __future__ import annotations

import copy
import shlex
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from musllinux_build.errors import (
    BuildError,
    EngineError,
    InterruptedBuildError,
    MusllinuxBuildError,
    TerminatedError,
)
from musllinux_build.ports import ContainerSpec, Engine, Progress

if TYPE_CHECKING:  # steps know the toolchain, whose volume is filled by a session's container
    from musllinux_build.builds.steps import Step

RUN_LABEL = "org.musllinux-build.run"
_TAIL_LINES = 30
_SIGNALS: Mapping[signal.Signals, tuple[type[MusllinuxBuildError], str]] = {
    signal.SIGINT: (InterruptedBuildError, "interrupted"),
    signal.SIGTERM: (TerminatedError, "terminated"),
    signal.SIGHUP: (TerminatedError, "terminated: the terminal is gone"),
}


@dataclass(slots=True)
class _State:
    """What all who speak for a session share: its containers, how often it was closed, and whether for good.

    That of a part is ``within`` the whole's, and closed with it.
    """

    within: _State | None = None
    open: set[str] = field(default_factory=set)
    closings: int = 0
    ended: bool = False

    def closed(self) -> int:
        """How often this and what it is within were closed."""
        return self.closings + (self.within.closed() if self.within is not None else 0)

    def over(self) -> bool:
        """Whether nothing may be created any more."""
        return self.ended or (self.within is not None and self.within.over())


class Session:
    """The engine of one run, and what must be gone when it ends."""

    def __init__(
        self,
        engine: Engine,
        progress: Progress,
        *,
        verbose_output: bool = False,
        remove_by_hand: str = "docker rm --force",
    ) -> None:
        self.engine = engine
        self.progress = progress
        self.run = uuid.uuid4().hex
        self._verbose_output = verbose_output
        self._remove_by_hand = remove_by_hand
        self._state = _State()

    def speaking(self, progress: Progress) -> Session:
        """The same session, whose steps are told to another Progress."""
        other = copy.copy(self)
        other.progress = progress
        return other

    def part(self) -> Session:
        """A session for some of the run's containers: to close it leaves the others alone."""
        other = copy.copy(self)
        other._state = _State(within=self._state)  # noqa: SLF001 - of the same class
        return other

    @contextmanager
    def container(self, spec: ContainerSpec) -> Iterator[str]:
        """A running container for the duration of the block.

        Raises:
            EngineError: the engine does not give it, or the session was closed meanwhile.
        """
        container = ""
        try:
            with undisturbed():
                container = self._create(spec)
            yield container
        finally:
            if container:
                with undisturbed():
                    self._discard(container)

    def _create(self, spec: ContainerSpec) -> str:
        closings = self._state.closed()
        self.go_on()
        labels: Mapping[str, str] = {**spec.labels, RUN_LABEL: self.run}
        container = self.engine.create(replace(spec, labels=labels))
        self._state.open.add(container)
        if self._state.over() or closings != self._state.closed():
            # Another thread closed the session before this container could be seen there.
            self._discard(container)
            raise _ending()
        return container

    def go_on(self) -> None:
        """Nothing, as long as the run goes on; who waits for what a session does not give asks now and then.

        Raises:
            EngineError: a signal has ended the run.
        """
        if self._state.over():
            raise _ending()

    def _discard(self, container: str) -> None:
        """Remove; what fails here is tried again, and told, when the session is closed."""
        with suppress(MusllinuxBuildError):
            self.engine.remove(container)
            self._state.open.discard(container)

    def close(self) -> None:
        """Remove what is left of the containers; a warning names those that the engine does not remove.

        One that another thread is creating meanwhile is removed by that thread, which then gets an EngineError. When
        a signal ends the run, nothing is created afterwards; else a later target may use the session again.
        """
        self._state.closings += 1
        self._state.ended = self._state.ended or isinstance(sys.exception(), (InterruptedBuildError, TerminatedError))
        with undisturbed():
            with suppress(MusllinuxBuildError):
                if self._state.within is None:  # what a part does not know of is not its own
                    self._state.open.update(self.engine.containers(f"{RUN_LABEL}={self.run}"))
            for container in sorted(self._state.open):
                self._discard(container)
        if self._state.open:
            # Twelve digits of an identity name it; a path is needed whole.
            names = " ".join(sorted(name if name.startswith("/") else name[:12] for name in self._state.open))
            self.progress.warn(f"containers of this run are left; remove them with: {self._remove_by_hand} {names}")

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
        status = self.attempt(container, step, log)
        if status:
            raise self.failed(step, log, status, failure)

    def attempt(self, container: str, step: Step, log: Log) -> int:
        """Run one step, its output appended to ``log``; its exit status."""
        log.begin(step)
        status = self.engine.run(
            container,
            step.argv,
            env=step.env,
            cwd=step.cwd,
            on_output=log.writer(self.progress.detail if self._verbose_output else None),
        )
        log.end()
        return status

    @staticmethod
    def failed(step: Step, log: Log, status: int, failure: type[BuildError] = BuildError) -> BuildError:
        """The error of a step, the last one in ``log``, that has ended with a status that is not 0."""
        return failure(
            f"{step.title} of {log.name} failed with exit status {status}",
            details=log.tail(log.started, _TAIL_LINES),
            resolution=f"The whole log: {log.place(log.started)}",
        )


def _ending() -> EngineError:
    return EngineError("the run is ending: nothing is started or waited for any more", resolution="Start again.")


LOG_BYTES = 64 << 20
"""So much of a log is written as it comes."""
LOG_END_BYTES = 1 << 20
"""So much of what comes after that is kept: the last of it, which says how it ended."""


class Log:
    """A log file of one target, written as the output comes: nothing in a container fills the disk with it."""

    def __init__(self, path: Path, name: str, *, most: int = LOG_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.name = name
        self._file = path.open("wb")
        self._room = most
        self._end = bytearray()
        self._left_out = 0
        self.started = 0
        """Where the output of the last step begins."""

    def begin(self, step: Step) -> None:
        """Head the output of a step."""
        self.end()
        self._file.write(f"\n$ {' '.join(step.argv)}\n".encode())
        self._file.flush()  # who looks at the log sees what runs
        self.started = self._file.tell()

    def writer(self, echo: Callable[[str], None] | None) -> Callable[[bytes], None]:
        """A function that takes the output's chunks."""
        rest = bytearray()

        def write(chunk: bytes) -> None:
            self._write(chunk)
            if echo is not None:
                rest.extend(chunk)
                *lines, last = bytes(rest).split(b"\n")
                rest[:] = last[-LOG_END_BYTES:]
                for line in lines:
                    echo(line.decode(errors="replace").rstrip("\r"))

        return write

    def _write(self, chunk: bytes) -> None:
        now, later = chunk[: self._room], chunk[self._room :]
        self._file.write(now)
        self._room -= len(now)
        self._end += later
        if len(self._end) > 2 * LOG_END_BYTES:
            self._left_out += len(self._end) - LOG_END_BYTES
            del self._end[:-LOG_END_BYTES]

    def end(self) -> None:
        """Everything so far is on disk."""
        if self._left_out:
            self._file.write(f"\n[{self._left_out} bytes are left out here]\n".encode())
        self._file.write(self._end)
        self._end.clear()
        self._left_out = 0
        self._file.flush()

    def close(self) -> None:
        """No more output."""
        self.end()
        self._file.close()

    def tail(self, start: int, lines: int) -> str:
        """The last lines written since ``start``."""
        self.end()
        text = self.path.read_bytes()[start:].decode(errors="replace")
        return "\n".join(text.replace("\r\n", "\n").rstrip("\n").split("\n")[-lines:])

    def place(self, start: int) -> str:
        """``path:line`` of the first line since ``start`` that names an error, else of the last line."""
        self.end()
        content = self.path.read_bytes()
        offset = content[:start].count(b"\n") + 1
        lines = content[start:].rstrip(b"\n").split(b"\n")
        for number, line in enumerate(lines):
            if b"error:" in line.lower() or line.startswith(b"Traceback "):
                return f"{self.path}:{offset + number}"
        return f"{self.path}:{offset + len(lines) - 1}"


@contextmanager
def signals_as_errors() -> Iterator[None]:
    """SIGINT raises InterruptedBuildError in the main thread of the block, SIGTERM and SIGHUP TerminatedError.

    The first signal ends the run: those after it are ignored, while the block cleans up and, when it ends by our
    error, until the process exits with its status. A SIGHUP that was ignored before stays so (nohup).
    """

    def end(number: int, _frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        kind, brief = _SIGNALS[signal.Signals(number)]
        raise kind(brief, resolution="Nothing is left running.")

    before: dict[signal.Signals, Any] = {}
    for number in _SIGNALS:
        handler = signal.getsignal(number)
        if number is not signal.SIGHUP or handler is not signal.SIG_IGN:
            before[number] = handler
            signal.signal(number, end)
    try:
        yield
    except (InterruptedBuildError, TerminatedError):
        raise
    except BaseException:
        _restore(before)
        raise
    else:
        _restore(before)


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Signals wait for the end of the block.

    Python runs their handlers in the main thread, whichever thread the kernel chose, so a mask of this thread would
    not keep them out, and in any other thread there is nothing to do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []

    def wait(number: int, _frame: FrameType | None) -> None:
        waiting.append(number)

    before: dict[signal.Signals, Any] = {}
    try:
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if handler is not signal.SIG_IGN:
                before[number] = handler
                signal.signal(number, wait)
        yield
    finally:
        # One that came before all were replaced has set them to be ignored: that stays.
        _restore({number: handler for number, handler in before.items() if signal.getsignal(number) is wait})
        if waiting:
            signal.raise_signal(waiting[0])
