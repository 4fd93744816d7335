"""Images as works: each stage with all that goes into it, under a key that changes with any of that."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.errors import EngineError, ImageError, MusllinuxBuildError
from musllinux_build.images.bases import ensure_base, ensure_builder, file_sha256
from musllinux_build.images.foundry import Job
from musllinux_build.images.ingredients import declared_arguments, package_files, shipped_files
from musllinux_build.images.pinned import pinned_file
from musllinux_build.images.recipe import LIBRARIES, ImageRecipe, Interpreter, StageRecipe, plan_image
from musllinux_build.images.reference import DEFAULT_REGISTRY, Variant, image_reference
from musllinux_build.images.supplies import Supplies
from musllinux_build.policy import Policy
from musllinux_build.ports import LABEL, Engine, ImageInfo, Progress
from musllinux_build.python import PythonTag
from musllinux_build.toolchain import ensure_toolchain_image, toolchain_image_tag

STAGE_LABEL = f"{LABEL.rpartition('.')[0]}.stage"
"""On a stage's image: its name. It is kept until the engine is cleaned up, and saves building it again."""
STAGE_REPOSITORY = "musllinux-build/stage"

WEIGHTS = {"libraries.Dockerfile": 4, "interpreter.Dockerfile": 3, "native.Dockerfile": 2}
"""How long a stage takes beside the others (1), so that the longest way is begun first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How images are built, and which variant of them.

    ``pythons`` are ``3.13``, ``3.13.5`` or ``3.14t``, by default all. ``jobs`` stages are built at once. ``logs`` gets
    one file per stage. ``no_cache`` builds again what is there already.
    """

    pythons: Sequence[str] = ()
    registry: str = DEFAULT_REGISTRY
    variant: Variant = Variant.FULL
    jobs: int = 1
    no_cache: bool = False
    keep_going: bool = False
    logs: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What became of an image: ``info`` when it is there, ``error`` when it failed, neither when nobody tried it."""

    policy: Policy
    arch: Arch
    tag: str
    info: ImageInfo | None = None
    error: MusllinuxBuildError | None = None
    stages: tuple[str, ...] = ()
    """The keys of its stages, its own last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A stage of an image with all that goes into it; the same key is the same work, whichever image it is for."""

    stage: StageRecipe
    labels: Mapping[str, str]
    files: Mapping[str, Path]
    args: Mapping[str, str]


def plan_target(supplies: Supplies, policy: Policy, arch: Arch, order: Order, engine: Arch) -> ImageRecipe:
    """The recipe of an image from what the supplies have, built on an engine of architecture ``engine``.

    Raises:
        ImageError: the lock does not have an interpreter.
        UsageError: the lock does not have something else.
    """
    return plan_image(
        policy,
        arch,
        supplies.lock,
        pythons=[find_python(supplies, word) for word in order.pythons or map(str, supplies.pythons())],
        libraries=[row for name in LIBRARIES if (row := supplies.source(name)) is not None],
        engine=engine,
        registry=order.registry,
        variant=order.variant,
    )


@dataclass(slots=True, kw_only=True)
class Drawing:
    """The works of several images by key, which is the name that the image of a stage has on the engine."""

    engine: Engine
    native: Arch
    supplies: Supplies
    progress: Progress
    order: Order
    scratch: Path
    works: dict[str, Work] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    hashes: dict[Path, str] = field(default_factory=dict)
    copies: dict[Path, Path] = field(default_factory=dict)

    def draw(self, targets: Sequence[tuple[Policy, Arch]]) -> list[Made]:
        """The images with the keys of their stages; one that cannot be planned has its error."""
        drawn = []
        for policy, arch in targets:
            try:
                drawn.append(self._draw_one(policy, arch))
            except MusllinuxBuildError as error:
                if isinstance(error, EngineError):
                    raise
                tag = image_reference(self.order.registry, policy, arch, self.order.variant)
                drawn.append(Made(policy=policy, arch=arch, tag=tag, error=error))
                if not self.order.keep_going:
                    break
        return drawn

    def _draw_one(self, policy: Policy, arch: Arch) -> Made:
        supplies = self.supplies
        recipe = plan_target(supplies, policy, arch, self.order, self.native)
        bases = self._bases(recipe)
        keys: dict[str, str] = {}
        mirrored = package_files(supplies, policy, arch)
        for stage in recipe.stages:
            last = stage is recipe.stages[-1]
            labels = recipe.labels if last else {LABEL: "stage", STAGE_LABEL: stage.name}
            packages = mirrored if stage.apk else {}
            ours = {**shipped_files(stage.dockerfile), **(supplies.tool() if stage.tool else {})}
            files = {**self._kept(ours), **packages, **self._written(stage.texts)}
            args = self._args(stage, files[stage.dockerfile], bases, keys)
            key = f"{STAGE_REPOSITORY}:{self._key(stage, files, args, labels if last else {})}"
            keys[stage.name] = key
            self.works[key] = Work(stage=stage, labels=labels, files=files, args=args)
            needs = tuple(keys[need] for need in stage.needs.values())
            title = f"image {recipe.tag}" if last else stage.name
            self.jobs[key] = Job(key=key, title=title, needs=needs, weight=WEIGHTS.get(stage.dockerfile, 1))
        return Made(policy=policy, arch=arch, tag=recipe.tag, stages=tuple(keys.values()))

    def _bases(self, recipe: ImageRecipe) -> dict[str, str]:
        supplies, engine, progress = self.supplies, self.engine, self.progress
        row = supplies.toolchain_wheel(self.native)
        toolchain = toolchain_image_tag(self.native, row.sha256)
        if engine.image(toolchain) is None:
            wheel = pinned_file(row, self.scratch, supplies)
            toolchain = ensure_toolchain_image(engine, self.native, wheel, progress)
        return {
            "TARGET_BASE": ensure_base(engine, recipe.policy.row.base, recipe.arch, supplies, progress),
            "BUILDER_BASE": ensure_builder(engine, self.native, supplies, progress),
            "TOOLCHAIN_IMAGE": toolchain,
        }

    def _written(self, texts: Mapping[str, str]) -> dict[str, Path]:
        """Files with these contents, which no other image's replace."""
        files = {}
        for path, text in texts.items():
            files[path] = self.scratch / hashlib.sha256(text.encode()).hexdigest()
            files[path].write_text(text, encoding="utf-8")
        return files

    def _kept(self, files: Mapping[str, Path]) -> dict[str, Path]:
        """Copies of files that somebody may edit while the run goes on: what is built is what its key says."""
        for path in files.values():
            if path not in self.copies:
                self.copies[path] = self.scratch / f"copy-{len(self.copies)}"
                self.copies[path].write_bytes(path.read_bytes())
        return {name: self.copies[path] for name, path in files.items()}

    def _args(
        self, stage: StageRecipe, dockerfile: Path, bases: Mapping[str, str], keys: Mapping[str, str]
    ) -> dict[str, str]:
        args = {**stage.args, **{name: bases[name] for name in stage.bases}}
        args |= {name: keys[need] for name, need in stage.needs.items()}
        if stage.apk:
            args["APK_MIRROR"] = "" if self.supplies.apk_directory() is not None else self.supplies.apk_mirror or ""
        declared = declared_arguments(dockerfile.read_text(encoding="utf-8"))
        return {name: value for name, value in args.items() if name in declared}

    def targeted(self) -> frozenset[str]:
        """The keys of the works that serve one architecture only."""
        found: set[str] = set()
        for key, work in self.works.items():
            if "TARGET_ARCH" in work.stage.args or not found.isdisjoint(self.jobs[key].needs):
                found.add(key)
        return frozenset(found)

    def _key(
        self, stage: StageRecipe, files: Mapping[str, Path], args: Mapping[str, str], labels: Mapping[str, str]
    ) -> str:
        """16 hexadecimal digits that change with anything a stage is made from."""
        hashes = {path: self._hash(file) for path, file in files.items()}
        hashes |= {file.path: file.row.sha256 for file in stage.files}
        digest = hashlib.sha256()
        for path in sorted(hashes):
            digest.update(f"{path}\0{hashes[path]}\0".encode())
        for name in sorted(args):
            value = args[name]
            if name in stage.bases:
                found = self.engine.image(value)
                value = found.id if found is not None else value
            digest.update(f"{name}={value}\0".encode())
        for name in sorted(labels):
            digest.update(f"{name}:{labels[name]}\0".encode())
        return digest.hexdigest()[:16]

    def _hash(self, path: Path) -> str:
        if path not in self.hashes:
            self.hashes[path] = file_sha256(path)
        return self.hashes[path]


def find_python(supplies: Supplies, word: str) -> Interpreter:
    """The interpreter that ``3.13``, ``3.13.5``, ``3.14t``, ``cp313`` or ``cp314-cp314t`` names.

    Raises:
        ImageError: the lock does not have it.
    """
    version, free_threaded = word, word.endswith("t")
    if re.fullmatch(r"3\.\d+\.\w+", word.removesuffix("t")):
        version = word.removesuffix("t")
        row = supplies.lock.newest("cpython", lambda one: one.version == version)
    else:
        try:
            tag = PythonTag.parse(word)
        except ValueError as error:
            raise ImageError(f"{word!r} names no CPython", resolution="Write it as 3.13, 3.13.5 or 3.14t.") from error
        free_threaded, row = tag.free_threaded, supplies.source("cpython", tag.version)
    if row is None:
        known = ", ".join(one.version for one in supplies.lock.sources if one.name == "cpython")
        raise ImageError(f"the lock does not have CPython {word}", resolution=f"It has {known}.")
    return Interpreter(source=row, free_threaded=free_threaded)
