"""No work twice: targets whose wheels an earlier run has finished and proven, before and between builds."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import groupby

from musllinux_build.builds.finished import Reuse, wheel_key
from musllinux_build.builds.workshop import Run
from musllinux_build.errors import InterruptedBuildError, MusllinuxBuildError, TerminatedError
from musllinux_build.plan import Target
from musllinux_build.ports import ImageInfo
from musllinux_build.python import PythonTag
from musllinux_build.report import BuiltWheel, Outcome
from musllinux_build.tags import serves


def finished_before(run: Run, targets: Sequence[Target]) -> dict[Target, Outcome]:
    """The outcomes of those targets whose wheels are there; the engine is asked for its local images alone."""
    found: dict[Target, Outcome] = {}
    if run.supply.reuse is None or run.supply.reuse.rebuild:
        return found
    for _, group in groupby(targets, key=lambda target: (target.arch, target.policy)):
        members = tuple(group)
        image = _local_image(run, run.supply.reuse, members[0])
        missing: list[PythonTag] = []
        for target in members if image is not None else ():
            assert image is not None
            outcome = reused(run, target, image, wheels_of(found.values(), target), missing=missing)
            if outcome is None:
                missing.append(target.python)
            else:
                found[target] = outcome
    return found


def wheels_of(outcomes: Collection[Outcome], target: Target) -> list[BuiltWheel]:
    """The wheels there are already of ``target``'s architecture and policy, each once."""
    return [
        outcome.wheel
        for outcome in outcomes
        if outcome.wheel is not None
        and not outcome.same_as
        and (outcome.target.arch, outcome.target.policy) == (target.arch, target.policy)
    ]


def reused(
    run: Run, target: Target, image: ImageInfo, done: Sequence[BuiltWheel], *, missing: Collection[PythonTag] = ()
) -> Outcome | None:
    """The outcome of ``target`` by a wheel that is kept, copied into the output; None when it has to be built.

    Where a wheel in ``done`` serves the target (abi3), what is kept is that wheel's proof with this Python. A wheel
    that an earlier Python in ``missing`` would make again, under the same name, waits for that one.
    """
    reuse, started = run.supply.reuse, time.monotonic()
    if reuse is None or reuse.rebuild:
        return None
    earlier = next((built for built in done if serves(built.path.name, target.python)), None)
    try:
        kept = reuse.store.find(wheel_key(reuse, target, image))
        if kept is None or any(serves(kept.path.name, python) for python in missing):
            return None
        wheel = reuse.store.take(kept, run.host.output) if earlier is None else _proof_of(earlier, kept)
    except (MusllinuxBuildError, OSError) as error:
        _not_reused(run, target, error)
        return None
    if wheel is None:
        return None
    run.session.progress.note(f"{target.identifier}: {wheel.path.name} is reused, built and proven by an earlier run")
    same_as = earlier.path.name if earlier is not None else ""
    return Outcome(target=target, seconds=time.monotonic() - started, wheel=wheel, same_as=same_as, reused=True)


def keep(run: Run, target: Target, image: ImageInfo, wheel: BuiltWheel) -> None:
    """Keep a finished wheel for later runs; that it cannot be kept is no failure of its build."""
    reuse = run.supply.reuse
    if reuse is None:
        return
    try:
        reuse.store.keep(wheel_key(reuse, target, image), wheel)
    except (MusllinuxBuildError, OSError) as error:
        _raise_signal(error)
        run.session.progress.warn(f"{wheel.path.name} is not kept for later runs: {error}")


def _proof_of(earlier: BuiltWheel, kept: BuiltWheel) -> BuiltWheel | None:
    """What is kept, where it is of the very wheel that serves the target now."""
    return replace(kept, path=earlier.path) if kept.sha256 == earlier.sha256 else None


def _local_image(run: Run, reuse: Reuse, target: Target) -> ImageInfo | None:
    try:
        return reuse.image(target.policy, target.arch)
    except MusllinuxBuildError as error:
        _not_reused(run, target, error)
        return None


def _not_reused(run: Run, target: Target, error: MusllinuxBuildError | OSError) -> None:
    """What goes wrong here meets the build, too, which explains it."""
    _raise_signal(error)
    run.session.progress.detail(f"{target.identifier}: no finished wheel is looked for: {error}")


def _raise_signal(error: MusllinuxBuildError | OSError) -> None:
    """A signal ends the run."""
    if isinstance(error, (InterruptedBuildError, TerminatedError)):
        raise error
