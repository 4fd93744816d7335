"""What a run leaves that could not clean up: it was killed, or its engine was. The next run removes it.

Every run leaves word of itself, in a directory that belongs to its process (staging.py), before it makes a container.
What has such a word and no process is removed from the engine it was on; a run whose engine failed leaves its word on
purpose. An engine may finish what it was asked for after the asker's death, so it is asked again at the end.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from musllinux_build.builds.session import RUN_LABEL, Session
from musllinux_build.errors import EngineError
from musllinux_build.ports import Engine
from musllinux_build.staging import claimed, remove_abandoned, taken_over

RUNS = "runs"
"""Where words of runs are, below the cache directory."""

_PREFIX = "run-"
_WORD = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a run says of itself: the value of its containers' label, its engine's address, where its wheels go."""

    run: str
    engine: str
    output: str


@contextmanager
def accounted(session: Session, *, engine: str, cache: Path, output: Path) -> Iterator[None]:
    """Remove what ended runs left on ``engine`` (its address), and account for this one.

    It is to enclose the session's own closing. What cannot be done is told, and stops no build.
    """
    runs = cache / RUNS
    word = Word(run=session.run, engine=engine, output=str(output.absolute()))
    with ExitStack() as stack:
        own: Path | None = None
        dead: list[tuple[Path, Word | None]] = []
        try:
            runs.mkdir(parents=True, exist_ok=True)
            own = stack.enter_context(claimed(runs, _PREFIX))
            (own / _WORD).write_text(json.dumps(asdict(word)), encoding="utf-8")
            dead = [(path, _read(path)) for path in stack.enter_context(taken_over(runs, _PREFIX))]
        except OSError as error:
            session.progress.warn(f"if this run is killed, nothing will clean up after it: {error}")
        _remove_files(cache, output, [found for _, found in dead if found is not None])
        _remove_containers(session, dead, engine)
        try:
            yield
        finally:
            for path in _remove_containers(session, dead, engine):
                shutil.rmtree(path, ignore_errors=True)
            if own is not None and _left(session.engine, session.run):
                with suppress(OSError):
                    own.rename(runs / f"{_PREFIX}{session.run}")


def _read(path: Path) -> Word | None:
    """The word in a directory; None where its run ended before it had written, and so before it made anything."""
    try:
        found = json.loads((path / _WORD).read_text(encoding="utf-8"))
        return Word(run=str(found["run"]), engine=str(found["engine"]), output=str(found["output"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remove_files(cache: Path, output: Path, dead: Sequence[Word]) -> None:
    """What is beside wheels and in the cache; names that end in a run's are files that it had begun."""
    for place in {output, *(Path(word.output) for word in dead), *cache.glob("*/")}:
        remove_abandoned(place)
    for word in dead:
        for path in cache.glob(f"*/.*.{word.run}"):
            with suppress(OSError):
                path.unlink()


def _remove_containers(session: Session, dead: Sequence[tuple[Path, Word | None]], engine: str) -> list[Path]:
    """The directories of the runs that have none any more; those on other engines may."""
    return [path for path, word in dead if word is None or (word.engine == engine and _removed(session, word.run))]


def _removed(session: Session, run: str) -> bool:
    try:
        found = session.engine.containers(f"{RUN_LABEL}={run}")
        for container in found:
            session.engine.remove(container)
    except EngineError as error:
        session.progress.warn(f"containers of a run that was killed are left: {error.brief}")
        return False
    if found:
        session.progress.note(f"{len(found)} containers of a run that was killed are removed")
    return True


def _left(engine: Engine, run: str) -> bool:
    """Whether a closed session may have containers."""
    try:
        return bool(engine.containers(f"{RUN_LABEL}={run}"))
    except EngineError:
        return True
