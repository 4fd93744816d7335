"""Many small scripts as one: in a container each command that an engine starts costs more than most scripts do."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A script for ``/bin/sh`` and the variables that it alone has."""

    script: str
    variables: Mapping[str, str]


def one_script(trials: Sequence[Trial], environment: Mapping[str, str], mark: str) -> str:
    """A script that runs every trial in a subshell of its own and tells what each said and how it ended.

    ``mark`` is a word that no trial writes at the start of a line.
    """
    lines = [_exports(environment)]
    for number, trial in enumerate(trials):
        lines += [
            f"printf '\\n%s {number} begin\\n' {mark}",
            f"(\n{_exports(trial.variables)}\n{trial.script}\n) </dev/null 2>&1",
            f"printf '\\n%s {number} %s\\n' {mark} $?",
        ]
    return "\n".join([*lines, ""])


def _exports(variables: Mapping[str, str]) -> str:
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()) or ":"


def answers(said: str, mark: str) -> dict[int, tuple[int, str]]:
    """Exit status and words of each trial by its number; one that never ended is not there."""
    found: dict[int, tuple[int, str]] = {}
    words: list[str] = []
    for line in said.splitlines():
        if not line.startswith(f"{mark} "):
            words.append(line)
            continue
        _, number, status = line.split(" ", 2)
        if status == "begin":
            words = []
        else:
            found[int(number)] = (int(status), "\n".join(words))
    return found
