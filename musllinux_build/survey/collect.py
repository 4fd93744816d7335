"""From what was asked for to rows: fetch, audit, and keep every failure as a row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from musllinux_build.arch import Arch
from musllinux_build.audit.judge import judge_wheel
from musllinux_build.audit.promise import lacks_promise
from musllinux_build.audit.subject import Search
from musllinux_build.errors import DiskFullError, FetchError, MusllinuxBuildError, PureProjectError, UsageError
from musllinux_build.policy import Policy, known_policies
from musllinux_build.survey.rows import Outcome, Project, Row
from musllinux_build.tags import WheelName, named_arch


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A wheel from an index, at ``path`` until it is deleted; ``python`` is the release it was fetched for."""

    path: Path
    python: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """The index answered, and has no such wheel."""

    outcome: Outcome
    reason: str


class Index(Protocol):
    """Where wheels are published."""

    def fetch(self, project: Project, arch: Arch, policies: Sequence[Policy]) -> Fetched | Nothing:
        """The wheel an installer on ``arch`` would take that has the tag of one of ``policies``.

        Raises:
            FetchError: the index cannot be asked.
            DiskFullError: no room for it.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One wheel to survey: a ``path``, or a ``project`` on an ``arch``."""

    asked: str
    path: Path | None = None
    project: Project | None = None
    arch: Arch | None = None


def plan_tasks(asked: Sequence[str], archs: Sequence[Arch]) -> tuple[Task, ...]:
    """A task per wheel; a project has one for each architecture.

    Raises:
        UsageError: something is neither a wheel's path nor a project, or there is no such file.
    """
    tasks: list[Task] = []
    for text in dict.fromkeys(asked):
        if text.endswith(".whl") or "/" in text:
            if not Path(text).is_file():
                raise UsageError(f"{text} is not a file", resolution="Name a wheel's path, NAME or NAME==VERSION.")
            tasks.append(Task(asked=text, path=Path(text)))
        else:
            project = Project.parse(text)
            tasks.extend(Task(asked=text, project=project, arch=arch) for arch in archs)
    return tuple(tasks)


def policies_for(policy: Policy | None) -> tuple[Policy, ...]:
    """The policies whose wheels are wanted, newest first: all, or those a musl of ``policy``'s series accepts."""
    newest_first = sorted(known_policies(), key=lambda item: item.row.series, reverse=True)
    return tuple(item for item in newest_first if policy is None or item.row.series <= policy.row.series)


def collect(
    tasks: Sequence[Task], survey_one: Callable[[Task], Row], *, jobs: int, tell: Callable[[int, Row], None]
) -> tuple[Row, ...]:
    """The row of every task, in their order; ``tell`` is called with the number done and the row as each ends."""
    rows: dict[int, Row] = {}
    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        waiting = {pool.submit(survey_one, task): index for index, task in enumerate(tasks)}
        for done in as_completed(waiting):
            rows[waiting[done]] = done.result()
            tell(len(rows), rows[waiting[done]])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return tuple(rows[index] for index in range(len(tasks)))


def survey_task(task: Task, index: Index, policy: Policy | None, *, whitelist: frozenset[str] = frozenset()) -> Row:
    """Fetch and audit one wheel; what goes wrong is told in the row."""
    row = Row(
        asked=task.asked, outcome=Outcome.UNFETCHED, arch=task.arch, project=task.project.name if task.project else ""
    )
    if task.path is not None:
        return _audited(row, task.path, policy, whitelist)
    assert task.project is not None
    assert task.arch is not None
    try:
        found = index.fetch(task.project, task.arch, policies_for(policy))
    except (FetchError, DiskFullError) as error:
        return replace(row, reason=_told(error))
    if isinstance(found, Nothing):
        return replace(row, outcome=found.outcome, reason=found.reason)
    try:
        return _audited(replace(row, python=found.python), found.path, policy, whitelist)
    finally:
        found.path.unlink(missing_ok=True)


def _audited(row: Row, path: Path, policy: Policy | None, whitelist: frozenset[str]) -> Row:
    row = replace(row, outcome=Outcome.UNREADABLE, wheel=path.name)
    try:
        name = WheelName.parse(path.name)
        row = replace(
            row, project=row.project or name.distribution, version=name.version, arch=row.arch or named_arch(name)
        )
        row = replace(row, size=path.stat().st_size, sha256=_sha256(path))
        if policy is None and (reason := lacks_promise(name)):
            # Of no architecture: it is not one of those that were to keep a promise there.
            return replace(row, outcome=Outcome.UNPROMISED, arch=None, reason=reason)
        verdict = judge_wheel(path, policy, row.arch, search=Search(whitelist=whitelist))
    except PureProjectError as error:
        return replace(row, outcome=Outcome.PURE, reason=error.brief)
    except UsageError as error:
        return replace(row, outcome=Outcome.UNKNOWN, reason=_told(error))
    except MusllinuxBuildError as error:
        return replace(row, reason=_told(error))
    except OSError as error:
        return replace(row, reason=error.strerror or str(error))
    outcome = Outcome.CONFORMS if verdict.conforms else Outcome.BREAKS
    return replace(row, outcome=outcome, arch=verdict.arch, verdict=verdict)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _told(error: MusllinuxBuildError) -> str:
    """What happened and the last line of the details, which is where programs put the reason."""
    last = next(reversed(_lines(error.details)), "")
    return f"{error.brief}: {last}" if last else error.brief


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def iter_archs(words: Sequence[str]) -> Iterator[Arch]:
    """The architectures in ``words``, all for none or ``all``.

    Raises:
        ValueError: one is unknown.
    """
    if not words or "all" in words:
        yield from Arch
    else:
        yield from dict.fromkeys(Arch(word) for word in words)
