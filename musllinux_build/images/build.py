"""A recipe on an engine: what it names is fetched and checked here, and its stages are built there."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.errors import EngineError, FetchError, ImageError
from musllinux_build.images.bases import ensure_base, ensure_builder, file_sha256
from musllinux_build.images.context import context_tar
from musllinux_build.images.lock import SourceRow, WheelRow
from musllinux_build.images.recipe import (
    LIBRARIES,
    ImageRecipe,
    Interpreter,
    StageRecipe,
    apk_branch,
    plan_image,
)
from musllinux_build.images.reference import DEFAULT_REGISTRY
from musllinux_build.images.supplies import Supplies
from musllinux_build.policy import Policy
from musllinux_build.ports import LABEL, BuildSpec, Engine, ImageInfo, Progress
from musllinux_build.python import PythonTag
from musllinux_build.shipped import shipped
from musllinux_build.toolchain import ENGINES, ensure_toolchain_image

STAGE_LABEL = f"{LABEL.rpartition('.')[0]}.stage"
"""On a stage's image: its name. It is kept until the engine is cleaned up, and saves building it again."""
STAGE_REPOSITORY = "musllinux-build/stage"


def build_image(
    engine: Engine,
    policy: Policy,
    arch: Arch,
    supplies: Supplies,
    progress: Progress,
    *,
    pythons: Sequence[str] = (),
    registry: str = DEFAULT_REGISTRY,
    jobs: int = 1,
) -> ImageInfo:
    """Build the image, tagged with its default reference; what was built before from the same is taken as it is.

    ``pythons`` are ``3.13``, ``3.13.5`` or ``3.14t``; by default all. ``jobs`` stages are built at once.

    Raises:
        ImageError: a base or a step failed.
        FetchError: something pinned cannot be had.
        EngineError: the engine's own architecture has no native compiler.
        UsageError: the lock does not have what is asked for.
    """
    native = engine.info().arch
    if native is None or native not in ENGINES:
        raise EngineError(f"no native compiler for an engine on {engine.info().machine}")
    recipe = plan_image(
        policy,
        arch,
        supplies.lock,
        pythons=[find_python(supplies, word) for word in pythons or map(str, supplies.pythons())],
        libraries=[row for name in LIBRARIES if (row := supplies.source(name)) is not None],
        engine=native,
        registry=registry,
    )
    with tempfile.TemporaryDirectory(prefix="musllinux-build-") as scratch:
        foundry = _Foundry(
            engine=engine, native=native, recipe=recipe, supplies=supplies, progress=progress, scratch=Path(scratch)
        )
        return foundry.build(jobs)


@dataclass(slots=True, kw_only=True)
class _Foundry:
    """One image while it is built: the references of its bases and of the stages that are done."""

    engine: Engine
    native: Arch
    recipe: ImageRecipe
    supplies: Supplies
    progress: Progress
    scratch: Path
    done: dict[str, str] = field(default_factory=dict)
    bases: dict[str, str] = field(default_factory=dict)
    pinned: dict[str, Path] = field(default_factory=dict)

    def build(self, jobs: int) -> ImageInfo:
        """The stages in waves: all whose needs are done, ``jobs`` at once."""
        self.bases = self._bases()
        self._fetch()
        *stages, last = self.recipe.stages
        waiting = list(stages)
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            while waiting:
                ready = [stage for stage in waiting if set(stage.needs.values()) <= self.done.keys()]
                waiting = [stage for stage in waiting if stage not in ready]
                for stage, tag in zip(ready, pool.map(self._stage, ready), strict=True):
                    self.done[stage.name] = tag
        return self._image(last)

    def _bases(self) -> dict[str, str]:
        supplies, engine = self.supplies, self.engine
        row = supplies.toolchain_wheel(self.native)
        wheel = supplies.fetch.wheel(row, self.scratch, ENGINES[self.native].wheel_platforms)
        return {
            "TARGET_BASE": ensure_base(engine, self.recipe.policy.row.base, self.recipe.arch, supplies, self.progress),
            "BUILDER_BASE": ensure_builder(engine, self.native, supplies, self.progress),
            "TOOLCHAIN_IMAGE": ensure_toolchain_image(engine, self.native, wheel, self.progress),
        }

    def _fetch(self) -> None:
        files = {file.path: file for stage in self.recipe.stages for file in stage.files}
        with self.progress.step(f"fetch {len(files)} pinned files"):
            for path, file in files.items():
                self.pinned[path] = _pinned(file.row, self.scratch, self.supplies)

    def _stage(self, stage: StageRecipe) -> str:
        """The reference of a stage's image, built unless it is there."""
        files, args = self._files(stage), self._args(stage)
        tag = f"{STAGE_REPOSITORY}:{self._key(stage, files, args)}"
        if self.engine.image(tag) is None:
            spec = self._spec(stage, files, args, tag, {LABEL: "stage", STAGE_LABEL: stage.name})
            with self.progress.step(stage.name):
                self.engine.build(spec, self.progress.detail)
        return tag

    def _image(self, stage: StageRecipe) -> ImageInfo:
        files = self._files(stage)
        spec = self._spec(stage, files, self._args(stage), self.recipe.tag, self.recipe.labels)
        with self.progress.step(f"image {self.recipe.tag}"):
            return self.engine.build(spec, self.progress.detail)

    def _args(self, stage: StageRecipe) -> dict[str, str]:
        args = {**stage.args, **{name: self.bases[name] for name in stage.bases}}
        args |= {name: self.done[need] for name, need in stage.needs.items()}
        if stage.apk:
            args["APK_MIRROR"] = "" if self.supplies.apk_directory() is not None else self.supplies.apk_mirror or ""
        declared = declared_arguments((shipped("dockerfiles") / stage.dockerfile).read_text(encoding="utf-8"))
        return {name: value for name, value in args.items() if name in declared}

    def _files(self, stage: StageRecipe) -> dict[str, Path]:
        packages = package_files(self.supplies, self.recipe) if stage.apk else {}
        return {
            **shipped_files(stage.dockerfile),
            **packages,
            **{file.path: self.pinned[file.path] for file in stage.files},
        }

    def _key(self, stage: StageRecipe, files: Mapping[str, Path], args: Mapping[str, str]) -> str:
        """16 hexadecimal digits that change with anything a stage is made from."""
        known = {file.path: file.row.sha256 for file in stage.files}
        digest = hashlib.sha256()
        for path in sorted(files):
            digest.update(f"{path}\0{known.get(path) or file_sha256(files[path])}\0".encode())
        for name in sorted(args):
            value = args[name]
            if name in stage.bases:
                found = self.engine.image(value)
                value = found.id if found is not None else value
            digest.update(f"{name}={value}\0".encode())
        return digest.hexdigest()[:16]

    def _spec(
        self,
        stage: StageRecipe,
        files: Mapping[str, Path],
        args: Mapping[str, str],
        tag: str,
        labels: Mapping[str, str],
    ) -> BuildSpec:
        return BuildSpec(
            context=context_tar(files, stage.directories),
            dockerfile=stage.dockerfile,
            tag=tag,
            # Every stage names its platform; with one for the whole build the classic builder refuses to copy files
            # into the stages of another (moby 20.10, builder/dockerfile: performCopy).
            platform="",
            args=args,
            labels=labels,
            # Only the package mirror and the builder's own tools are asked from inside.
            network="none" if self.supplies.offline and self.supplies.apk_directory() is not None else "default",
        )


def declared_arguments(dockerfile: str) -> frozenset[str]:
    """The build arguments that a Dockerfile takes; an engine warns of others."""
    return frozenset(re.findall(r"^ARG (\w+)$", dockerfile, re.MULTILINE))


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


def _pinned(row: SourceRow | WheelRow, scratch: Path, supplies: Supplies) -> Path:
    if isinstance(row, WheelRow):
        if supplies.wheelhouse is not None and (path := supplies.wheelhouse / row.filename).is_file():
            return _checked(path, row.sha256)
        return supplies.fetch.wheel(row, scratch, ())
    here = supplies.mirrored(row)
    if here is not None:
        return _checked(here, row.sha256)
    if supplies.source_mirror is not None and supplies.offline:
        raise FetchError(
            f"{row.archive} is not in the source mirror",
            details=str(supplies.source_mirror),
            resolution="Put it there, or leave --offline out.",
        )
    return supplies.fetch.source(row, scratch / row.archive)


def _checked(path: Path, sha256: str) -> Path:
    if (found := file_sha256(path)) != sha256:
        raise FetchError(
            f"{path.name} is not the pinned file",
            details=f"{path}\nexpected sha256 {sha256}\nreceived sha256 {found}",
            resolution="Replace it, or measure a lock for this directory: musllinux-build images lock --update.",
        )
    return path


def shipped_files(dockerfile: str = "Dockerfile") -> Mapping[str, Path]:
    """A Dockerfile and the scripts it names, by their path in the context."""
    root = shipped("dockerfiles")
    named = re.findall(r"scripts/([\w.-]+)", (root / dockerfile).read_text(encoding="utf-8"))
    scripts = {f"scripts/{name}": root / "scripts" / name for name in named if (root / "scripts" / name).is_file()}
    return {dockerfile: root / dockerfile, **scripts}


def package_files(supplies: Supplies, recipe: ImageRecipe) -> Mapping[str, Path]:
    """The packages and keys of a mirror directory that this architecture needs, by their path in the context.

    Raises:
        ImageError: the directory has no index for it.
    """
    root = supplies.apk_directory()
    if root is None:
        return {}
    branch = apk_branch(recipe.policy.row.base)
    packages = root / branch / "main" / recipe.arch.row.apk
    if not (packages / "APKINDEX.tar.gz").is_file():
        raise ImageError(
            f"the package mirror has nothing for {recipe.policy.platform_tag(recipe.arch)}",
            details=f"{packages / 'APKINDEX.tar.gz'} is missing",
            resolution="Name a mirror with this architecture.",
        )
    inside = f"apk/{branch}/main/{recipe.arch.row.apk}"
    return {
        **{f"{inside}/{path.name}": path for path in packages.iterdir() if path.suffix in (".apk", ".gz")},
        **{f"apk/keys/{path.name}": path for path in (root / "keys").glob("*.rsa.pub")},
    }
