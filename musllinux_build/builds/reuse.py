"""No work twice: targets whose wheels an earlier run has finished and proven, before and between builds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from musllinux_build.builds.finished import wheel_key
from musllinux_build.builds.schedule import Group
from musllinux_build.builds.workshop import Run
from musllinux_build.errors import InterruptedBuildError, MusllinuxBuildError, TerminatedError
from musllinux_build.plan import Target
from musllinux_build.ports import ImageInfo
from musllinux_build.python import PythonTag
from musllinux_build.report import BuiltWheel, Outcome
from musllinux_build.tags import serves


def finished_before(run: Run, targets: Sequence[Target]) -> dict[Target, Outcome]:
    """The outcomes of those targets of one architecture and policy whose wheels are there.

    The engine is asked for its local images alone. A wheel that an earlier Python without one would make again, under
    the same name, waits for that one.
    """
    group = Group(targets=tuple(targets))
    image = _local_image(run, targets[0])
    missing: list[PythonTag] = []
    for target in targets if image is not None else ():
        assert image is not None
        kept, outcome = kept_wheel(run, target, image), None
        if kept is not None and not any(serves(kept.path.name, python) for python in missing):
            outcome = reused(run, target, kept, group.serving(target))
        if outcome is None:
            missing.append(target.python)
        else:
            group.outcomes[target] = outcome
    return group.outcomes


def kept_wheel(run: Run, target: Target, image: ImageInfo) -> BuiltWheel | None:
    """What an earlier run has kept for ``target``, where it may be used again."""
    reuse = run.supply.reuse
    if reuse is None or reuse.rebuild:
        return None
    try:
        return reuse.store.find(wheel_key(reuse, target, image))
    except (MusllinuxBuildError, OSError) as error:
        _not_reused(run, target, error)
        return None


def reused(run: Run, target: Target, kept: BuiltWheel, earlier: BuiltWheel | None) -> Outcome | None:
    """The outcome of ``target`` by the wheel that is kept, copied into the output; None when it has to be built.

    Where the wheel of an ``earlier`` Python serves the target (abi3), what is kept is that wheel's proof with this one.
    """
    reuse, started = run.supply.reuse, time.monotonic()
    assert reuse is not None
    try:
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


def _local_image(run: Run, target: Target) -> ImageInfo | None:
    reuse = run.supply.reuse
    if reuse is None or reuse.rebuild:
        return None
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
