"""Where wheels are made: on which engine, in which workshop, and once more when an emulator has crashed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from musllinux_build.arch import Arch
from musllinux_build.builds.schedule import Turn
from musllinux_build.builds.workshop import Run, Workshop, open_workshop
from musllinux_build.errors import MusllinuxBuildError
from musllinux_build.plan import Target
from musllinux_build.policy import Policy
from musllinux_build.ports import NamedProgress
from musllinux_build.report import Outcome

CRASHES = ("exit status 139", "exit status -11", "uncaught target signal 11")
"""What an emulator's crash looks like from outside: SIGSEGV as a shell tells of it, and qemu's own word."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Site:
    """An engine of the run: ``arch`` is what it is named for, ``native`` its own architecture."""

    run: Run
    name: str = ""
    arch: Arch | None = None
    native: Arch | None = None
    slots: int = 1


def sites_for(sites: Sequence[Site], arch: Arch) -> tuple[Site, ...]:
    """The engines that may build for an architecture, the best first.

    Those named for it and no others; else those whose kernel executes it, then those that emulate it.
    """
    named = tuple(site for site in sites if site.arch is arch)
    if named:
        return named
    free = [site for site in sites if site.arch is None]
    natively = [site for site in free if site.native is not None and arch.runs_natively_on(site.native)]
    return (*natively, *(site for site in free if site not in natively))


def crashed(outcome: Outcome) -> bool:
    """Whether an emulator, and not the project, has ended a build."""
    error = outcome.error
    return error is not None and any(sign in f"{error.brief}\n{error.details}" for sign in CRASHES)


Make = Callable[[Run, Turn, Workshop], Outcome]
Explain = Callable[[MusllinuxBuildError | OSError], MusllinuxBuildError]


@dataclass(slots=True, kw_only=True)
class Floor:
    """The workshop of each engine, architecture and policy is opened once, by whoever comes first.

    ``make`` makes a target there; ``several`` says that lines have to tell whose they are.
    """

    sites: Sequence[Site]
    make: Make
    explain: Explain
    several: bool = False
    workshops: dict[tuple[int, Arch, Policy], Workshop | MusllinuxBuildError] = field(default_factory=dict)
    locks: dict[tuple[int, Arch, Policy], threading.Lock] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def able(self, target: Target) -> Sequence[int]:
        """The numbers of the engines that may make a target, the best first."""
        return [self.sites.index(site) for site in sites_for(self.sites, target.arch)]

    def outcome(self, turn: Turn) -> Outcome:
        """What becomes of one target. A crash of an emulator is tried once more, elsewhere if there is a slot free."""
        first, site, target = self._outcome(turn), self.sites[turn.engine], turn.target
        if not crashed(first) or site.native is None or target.arch.runs_natively_on(site.native):
            return first
        turn.move([engine for engine in self.able(target) if engine != turn.engine])
        name = self.sites[turn.engine].name
        site.run.session.progress.warn(
            f"{target.identifier}: the emulator crashed; once more{f' on {name}' if name else ''}"
        )
        return replace(self._outcome(turn), retried=True)

    def abandon(self) -> None:
        """End what is under work, on every engine, when a signal ends the run; nothing is begun any more.

        Builds of images first: they end at once, and the removal of containers takes its time.
        """
        for site in self.sites:
            site.run.session.engine.abandon_builds()
        for site in self.sites:
            site.run.session.close()

    def _outcome(self, turn: Turn) -> Outcome:
        run = self._speaking(self.sites[turn.engine], turn.target)
        workshop = self._workshop(turn.engine, run, turn.target)
        if isinstance(workshop, MusllinuxBuildError):
            return Outcome(target=turn.target, seconds=0.0, error=workshop)
        return self.make(run, turn, workshop)

    def _speaking(self, site: Site, target: Target) -> Run:
        """The run as one target sees it."""
        if not self.several:
            return site.run
        session = site.run.session
        return replace(site.run, session=session.speaking(NamedProgress(session.progress, target.identifier)))

    def _workshop(self, engine: int, run: Run, target: Target) -> Workshop | MusllinuxBuildError:
        key = (engine, target.arch, target.policy)
        with self.guard:
            lock = self.locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self.workshops:
                try:
                    self.workshops[key] = open_workshop(run, target)
                except (MusllinuxBuildError, OSError) as error:
                    self.workshops[key] = self.explain(error)
            return self.workshops[key]
