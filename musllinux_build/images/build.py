"""Images on an engine: the stages of all chosen ones are one graph, each stage built once and kept."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.errors import EngineError, ImageError, MusllinuxBuildError
from musllinux_build.images.context import context_tar
from musllinux_build.images.foundry import Entry, Foundry, Job, State, missing_jobs
from musllinux_build.images.pinned import pinned_file
from musllinux_build.images.recipe import ContextFile
from musllinux_build.images.supplies import Supplies
from musllinux_build.images.works import Drawing, Made, Order, Work
from musllinux_build.policy import Policy
from musllinux_build.ports import BuildSpec, Engine, ImageInfo, Progress
from musllinux_build.toolchain import ENGINES

LOST_LAYER = "layer does not exist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A run: its images in the order they were asked for, its stages by key, its seconds."""

    images: tuple[Made, ...]
    stages: Mapping[str, Entry]
    targeted: frozenset[str] = frozenset()
    """The keys of the stages that serve one architecture only."""
    seconds: float = 0.0

    @property
    def error(self) -> MusllinuxBuildError | None:
        """The first failure."""
        return next((made.error for made in self.images if made.error is not None), None)

    def seconds_of(self, made: Made, *, target_only: bool = False) -> float:
        """How long the stages of an image took, one after the other; what several images share counts for each."""
        keys = [key for key in made.stages if key in self.stages and (key in self.targeted or not target_only)]
        return sum(self.stages[key].seconds for key in keys)

    def reused(self, made: Made) -> int:
        """How many of its stages were there before."""
        return sum(key in self.stages and self.stages[key].state is State.REUSED for key in made.stages)


def build_image(
    engine: Engine, policy: Policy, arch: Arch, supplies: Supplies, progress: Progress, *, order: Order | None = None
) -> ImageInfo:
    """Build one image, tagged with its reference; what was built before from the same is taken as it is.

    Raises:
        ImageError: a base or a step failed.
        FetchError: something pinned cannot be had.
        EngineError: the engine's own architecture has no native compiler.
        UsageError: the lock does not have what is asked for.
    """
    report = build_images(engine, [(policy, arch)], supplies, progress, order or Order())
    if report.error is not None:
        raise report.error
    (made,) = report.images
    assert made.info is not None
    return made.info


def build_images(
    engine: Engine, targets: Sequence[tuple[Policy, Arch]], supplies: Supplies, progress: Progress, order: Order
) -> Report:
    """Build images; a failure is told in the report, and ends the run unless ``order.keep_going``.

    Raises:
        EngineError: the engine's own architecture has no native compiler.
    """
    native = engine.info().arch
    if native is None or native not in ENGINES:
        raise EngineError(f"no native compiler for an engine on {engine.info().machine}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="musllinux-build-") as scratch:
        drawing = Drawing(
            engine=engine, native=native, supplies=supplies, progress=progress, order=order, scratch=Path(scratch)
        )
        drawn = drawing.draw(targets)
        yard = _Yard(drawing=drawing)
        entries = {} if any(made.error for made in drawn) and not order.keep_going else yard.build(drawn)
        images = tuple(yard.result(made, entries) for made in drawn)
    return Report(images=images, stages=entries, targeted=drawing.targeted(), seconds=time.monotonic() - began)


@dataclass(slots=True, kw_only=True)
class _Yard:
    """Where what was drawn is built."""

    drawing: Drawing
    pinned: dict[str, Path | MusllinuxBuildError] = field(default_factory=dict)

    def build(self, drawn: Sequence[Made]) -> dict[str, Entry]:
        """All works that are not there yet, those of several images together."""
        goals = [made.stages[-1] for made in drawn if made.stages]
        there = {
            key
            for key in self.drawing.jobs
            if not self.drawing.order.no_cache and self.drawing.engine.image(key) is not None
        }
        missing = missing_jobs(self.drawing.jobs, goals, there.__contains__)
        self._fetch([file for job in missing for file in self.drawing.works[job.key].stage.files])
        count = f"{len(missing)} of {len(self.drawing.jobs)} stages to build" if missing else "all stages are there"
        self.drawing.progress.note(count)
        foundry = Foundry(
            make=self._make,
            abandon=self.drawing.engine.abandon_builds,
            limit=self.drawing.order.jobs,
            keep_going=self.drawing.order.keep_going,
        )
        made = foundry.run(missing)
        return {key: made.get(key) or Entry(job=job, state=State.REUSED) for key, job in self.drawing.jobs.items()}

    def _fetch(self, files: Sequence[ContextFile]) -> None:
        """What is pinned, before anything is built with it."""
        wanted = {file.path: file for file in files}
        if not wanted:
            return
        with self.drawing.progress.step(f"fetch {len(wanted)} pinned files"):
            for path, file in wanted.items():
                try:
                    self.pinned[path] = pinned_file(file.row, self.drawing.scratch, self.drawing.supplies)
                except MusllinuxBuildError as error:
                    if not self.drawing.order.keep_going:
                        raise
                    self.pinned[path] = error

    def _make(self, job: Job) -> None:
        engine, progress, work = self.drawing.engine, self.drawing.progress, self.drawing.works[job.key]
        progress.note(f"{job.title} ...")
        with progress.step(job.title), stage_log(self.drawing.order.logs, job.title, progress.detail) as log:
            try:
                engine.build(self._spec(work, job.key), log)
            except ImageError as error:
                # The classic builder now and then loses a layer that it has just copied (moby issue 37965).
                if LOST_LAYER not in error.brief:
                    raise
                progress.detail(f"{job.title}: {error.brief}; once more")
                engine.build(self._spec(work, job.key), log)

    def _spec(self, work: Work, key: str) -> BuildSpec:
        files = dict(work.files)
        for file in work.stage.files:
            found = self.pinned[file.path]
            if isinstance(found, MusllinuxBuildError):
                raise found
            files[file.path] = found
        return BuildSpec(
            context=context_tar(files, work.stage.directories),
            dockerfile=work.stage.dockerfile,
            tag=key,
            # Every stage names its platform; with one for the whole build the classic builder refuses to copy files
            # into the stages of another (moby 20.10, builder/dockerfile: performCopy).
            platform="",
            args=work.args,
            labels=work.labels,
            # Only the package mirror and the builder's own tools are asked from inside.
            network="none"
            if self.drawing.supplies.offline and self.drawing.supplies.apk_directory() is not None
            else "default",
            no_cache=self.drawing.order.no_cache,
        )

    def result(self, made: Made, entries: Mapping[str, Entry]) -> Made:
        """The image, called by its own name."""
        failed = [entries[key].error for key in made.stages if key in entries and entries[key].error is not None]
        if failed:
            return replace(made, error=failed[0])
        if made.error is not None or not made.stages or entries.get(made.stages[-1]) is None:
            return made
        if entries[made.stages[-1]].state is State.LEFT:
            return made
        self.drawing.engine.tag(made.stages[-1], made.tag)
        return replace(made, info=self.drawing.engine.image(made.tag))


@contextmanager
def stage_log(directory: Path | None, title: str, tell: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """A function that takes a stage's lines: to ``tell``, and to a file that is named when the stage fails."""
    if directory is None:
        yield tell
        return
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', title)}.log"
    with path.open("a", encoding="utf-8", errors="replace") as file:

        def write(line: str) -> None:
            file.write(f"{line}\n")
            file.flush()
            tell(line)

        try:
            yield write
        except ImageError as error:
            file.write(f"{error.brief}\n")
            raise ImageError(
                f"{title} failed: {error.brief}", details=error.details, resolution=f"The whole log: {path}"
            ) from error
