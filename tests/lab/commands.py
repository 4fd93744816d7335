"""The lab's one door to other programs, and its progress lines."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_START = time.monotonic()
_TAIL = 4000


class LabError(Exception):
    """Why the lab cannot be made, for whoever started it."""


def say(text: str) -> None:
    """One progress line with the seconds since the start."""
    print(f"[{time.monotonic() - _START:6.1f}s] {text}", file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """A named, timed piece of work."""
    say(f"{title} ...")
    start = time.monotonic()
    yield
    say(f"{title}: {time.monotonic() - start:.1f} s")


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> bytes:
    """The standard output of a program that must succeed; ``env`` is added to the caller's.

    Raises:
        LabError: it was not found or failed; the end of what it wrote is in the text.
    """
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(
            command, cwd=cwd, env={**os.environ, **(env or {})}, input=stdin, capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]}: not installed") from error
    if done.returncode:
        output = (done.stdout + done.stderr).decode(errors="replace")[-_TAIL:]
        raise LabError(f"{' '.join(command)}\nexit status {done.returncode}\n{output}")
    return done.stdout
