"""An offline directory filled from other supplies: all that the chosen images are built from, every file checked.

The layout is docs/offline.md's. A file that is there with the right content stays, so that an interrupted run goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session
from musllinux_build.errors import DiskFullError, FetchError, ImageError, UsageError
from musllinux_build.images.apkfile import INDEX, REPOSITORIES, Package, check_package, parse_index, read_signed_index
from musllinux_build.images.bases import ensure_builder, file_sha256
from musllinux_build.images.closure import Dependency, resolve
from musllinux_build.images.context import context_tar
from musllinux_build.images.ingredients import shipped_files
from musllinux_build.images.lock import MEASURE, ApkRow, BaseRow, BuilderRow, Lock, SourceRow, WheelRow
from musllinux_build.images.pinned import checked_file, pinned_file
from musllinux_build.images.recipe import ImageRecipe, apk_branch
from musllinux_build.images.supplies import Supplies
from musllinux_build.images.works import STAGE_LABEL, STAGE_REPOSITORY
from musllinux_build.policy import Policy
from musllinux_build.ports import LABEL, BuildSpec, ContainerSpec, Progress

INSTALLED = "lib/apk/db/installed"
KEYS = ("etc/apk/keys/", "usr/share/apk/keys/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """What an Alpine root says of packages: what is installed, and whose signatures it believes."""

    installed: tuple[Package, ...]
    keys: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A signed index of a mirror: ``content`` are its bytes, ``key`` is the name of the key that signed it."""

    path: str
    content: bytes
    key: str
    packages: tuple[Package, ...]


@dataclass(slots=True, kw_only=True)
class Mirror:
    """One run. ``read`` gives what the package mirror has at a path below it, ``keys`` are the mirror's own."""

    directory: Path
    supplies: Supplies
    progress: Progress
    read: Callable[[str], bytes | None]
    keys: Mapping[str, bytes] = field(default_factory=dict)
    export: Callable[[BuilderRow], Iterable[bytes]] | None = None
    """The root of a builder as a tar, where an engine can make one."""
    kept: int = 0
    added: int = 0

    def fill(self, recipes: Sequence[ImageRecipe], engines: Sequence[Arch]) -> Lock:
        """Everything for these images on engines of these architectures; the lock that was written beside it.

        Raises:
            FetchError: something cannot be had or has another hash.
            UsageError: the package index lacks something.
        """
        lock = self.supplies.lock
        rows = {file.row: None for recipe in recipes for stage in recipe.stages for file in stage.files}
        rows |= {self.supplies.toolchain_wheel(engine): None for engine in engines}
        bases = {self.supplies.lock.base(recipe.policy.row.base, recipe.arch): None for recipe in recipes}
        with self.progress.step(f"{len(rows)} pinned files"):
            for row in rows:
                self._pinned(row)
        with self.progress.step(f"{len(bases) + len(engines)} bases"):
            for base in bases:
                self._base(base)
            builders = {engine: self._builder(lock.builder(engine)) for engine in engines}
        lock = replace(lock, builders=tuple(builders.get(row.arch, row) for row in lock.builders))
        apks = {(recipe.policy, recipe.arch): self._packages(recipe) for recipe in recipes}
        lock = replace(lock, apks=tuple(apks.get((row.policy, row.arch), row) for row in lock.apks))
        self.progress.note(f"{self.added} files added, {self.kept} were there")
        return lock

    def _pinned(self, row: SourceRow | WheelRow) -> None:
        name = f"wheels/{row.filename}" if isinstance(row, WheelRow) else f"sources/{row.archive}"
        if not self._has(name, row.sha256):
            with tempfile.TemporaryDirectory(prefix="musllinux-build-") as scratch:
                self._add(name, pinned_file(row, Path(scratch), self.supplies))

    def _base(self, row: BaseRow) -> None:
        name = f"bases/{row.filename}"
        if row.sha256 is None:
            raise FetchError(
                f"the lock has no hash of {row.filename}",
                resolution=f"Measure it, in the directory where it is: {MEASURE} --base-archives DIR",
            )
        if self._has(name, row.sha256):
            return
        if self.supplies.base_archives is not None:
            self._add(name, self._archive(row.filename, row.sha256))
            return
        with tempfile.TemporaryDirectory(prefix="musllinux-build-") as scratch:
            self._add(name, self.supplies.fetch.base(row, Path(scratch) / row.filename))

    def _builder(self, row: BuilderRow) -> BuilderRow:
        """The builder's root with its hash, which is measured here where nobody has done so."""
        name = f"bases/{row.filename}"
        here = self.directory / name
        if self.supplies.base_archives is None:
            if not here.is_file() or row.sha256 not in (None, file_sha256(here)):
                self._export(here, row)
            return replace(row, sha256=file_sha256(here))
        path = self._archive(row.filename, row.sha256)
        sha256 = row.sha256 or file_sha256(path)
        if not self._has(name, sha256):
            self._add(name, path)
        return replace(row, sha256=sha256)

    def _export(self, path: Path, row: BuilderRow) -> None:
        if self.export is None:
            raise ImageError(
                f"there is no archive of a builder for {row.arch.value} engines",
                details=f"{row.image} installs its tools from the network; its archive is of one that has them.",
                resolution=f"Run this on an engine of {row.arch.value}, or name a directory with --from.",
            )
        write_file(path, self.export(row))
        self.added += 1

    def _archive(self, name: str, sha256: str | None) -> Path:
        assert self.supplies.base_archives is not None
        path = self.supplies.base_archives / name
        if not path.is_file():
            raise FetchError(f"{name} is not in the directory", details=str(self.supplies.base_archives))
        return path if sha256 is None else checked_file(path, sha256)

    def _packages(self, recipe: ImageRecipe) -> ApkRow:
        """The packages of an image with all they need, and the lock's row with their versions."""
        row = self.supplies.lock.apk(recipe.policy, recipe.arch)
        with self.progress.step(f"packages of {recipe.policy.platform_tag(recipe.arch)}"):
            base = self.supplies.lock.base(recipe.policy.row.base, recipe.arch)
            root = read_root(self.directory / "bases" / base.filename)
            repositories = open_repositories(recipe.policy, recipe.arch, self.read, {**root.keys, **self.keys})
            packages = [package for one in repositories for package in one.packages]
            wanted: dict[str, Package] = {}
            for words in requests_of(recipe):
                wanted |= {package.name: package for package in resolve(words, packages, root.installed)}
            check_closure(row, wanted.values())
            for repository in repositories:
                self._repository(repository, wanted, {**root.keys, **self.keys})
        return pinned_row(row, root.installed, wanted.values())

    def _repository(self, repository: Repository, wanted: Mapping[str, Package], keys: Mapping[str, bytes]) -> None:
        """Packages first, then the key and the index that name them."""
        for package in repository.packages:
            if wanted.get(package.name) == package:
                self._package(f"{repository.path}/{package.filename}", package)
        self._write(f"apk/keys/{repository.key}", keys[repository.key])
        self._write(f"apk/{repository.path}/{INDEX}", repository.content)

    def _package(self, path: str, package: Package) -> None:
        here = self.directory / "apk" / path
        if here.is_file():
            with contextlib.suppress(FetchError):
                check_package(here.read_bytes(), package)
                self.kept += 1
                return
        content = self.read(path)
        if content is None:
            raise FetchError(f"the package mirror has no {path}", details="its index names it")
        check_package(content, package)
        self._write(f"apk/{path}", content)

    def _has(self, name: str, sha256: str) -> bool:
        path = self.directory / name
        found = path.is_file() and file_sha256(path) == sha256
        self.kept += found
        return found

    def _add(self, name: str, source: Path) -> None:
        self._write(name, source.read_bytes())

    def _write(self, name: str, content: bytes) -> None:
        path = self.directory / name
        if not (path.is_file() and path.read_bytes() == content):
            write_file(path, [content])
            self.added += 1


def write_file(path: Path, content: Iterable[bytes]) -> None:
    """Write a file that is there wholly or not at all.

    Raises:
        DiskFullError: no room for it.
        UsageError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.writelines(content)
        temporary.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(f"no room for {path.name}", details=str(path)) from error
        raise UsageError(f"cannot write {path}", details=str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def read_root(path: Path) -> Root:
    """What an archive of an Alpine root says of packages.

    Raises:
        ImageError: it cannot be read.
    """
    installed: tuple[Package, ...] = ()
    keys: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is not None and name == INSTALLED:
                    installed = tuple(parse_index(stream.read().decode()))
                elif stream is not None and name.startswith(KEYS) and name.endswith(".rsa.pub"):
                    keys[name.rpartition("/")[2]] = stream.read()
    except (OSError, tarfile.TarError, UnicodeDecodeError) as error:
        raise ImageError(f"{path.name} cannot be read", details=str(error)) from error
    return Root(installed=installed, keys=keys)


def open_repositories(
    policy: Policy, arch: Arch, read: Callable[[str], bytes | None], keys: Mapping[str, bytes]
) -> list[Repository]:
    """The signed indexes of a release for an architecture; ``community`` where the mirror has it.

    Raises:
        FetchError: there is no ``main``, or an index is not signed by a key that is known.
    """
    found = []
    for name in REPOSITORIES:
        path = f"{apk_branch(policy.row.base)}/{name}/{arch.row.apk}"
        content = read(f"{path}/{INDEX}")
        if content is None:
            if name == REPOSITORIES[0]:
                raise FetchError(f"the package mirror has nothing for {policy.platform_tag(arch)}", details=path)
            continue
        packages, key = read_signed_index(content, keys, f"{path}/{INDEX}")
        found.append(Repository(path=path, content=content, key=key, packages=tuple(packages)))
    return found


def requests_of(recipe: ImageRecipe) -> list[list[str]]:
    """What the stages of an image install, each on a stock root."""
    arguments = ("SYSROOT_PACKAGES", "IMAGE_PACKAGES")
    found = [stage.args[name].split() for stage in recipe.stages for name in arguments if name in stage.args]
    return [list(words) for words in dict.fromkeys(map(tuple, found))]


def check_closure(row: ApkRow, wanted: Iterable[Package]) -> None:
    """Refuse packages that are not those the lock was measured with; a variant may want fewer of them.

    Raises:
        FetchError: there are others.
    """
    found = set(closure_of(wanted))
    if row.closure and (others := sorted(found - set(row.closure))):
        raise FetchError(
            f"the package mirror is not the one that the lock knows of {row.policy.platform_tag(row.arch)}",
            details="\n".join(others),
            resolution=f"Measure a lock for this mirror: {MEASURE}\n"
            "If it is a directory, add --apk-mirror DIR --base-archives DIR",
        )


def closure_of(packages: Iterable[Package]) -> tuple[str, ...]:
    """Packages as the lock names them, in order."""
    return tuple(sorted({f"{one.name}={one.version} {one.checksum}" for one in packages}))


def pinned_row(row: ApkRow, installed: Iterable[Package], wanted: Iterable[Package]) -> ApkRow:
    """A row of the lock with the versions that were found; what only provides a name stays as it is."""
    wanted = list(wanted)
    versions = {package.name: package.version for package in (*installed, *wanted)}

    def pinned(requests: Sequence[str]) -> tuple[str, ...]:
        names = [Dependency.parse(request).name for request in requests]
        return tuple(
            f"{name}={versions[name]}" if name in versions else request
            for name, request in zip(names, requests, strict=True)
        )

    return replace(
        row,
        sysroot=pinned(row.sysroot),
        image=pinned(row.image),
        extra=pinned(row.extra),
        closure=row.closure or closure_of(wanted),
    )


def needed_packages(row: ApkRow, packages: Sequence[Package], installed: Sequence[Package]) -> list[Package]:
    """All that a row's packages add to a stock root, where they are the newest or the versions the row has.

    Raises:
        UsageError: the index lacks something.
    """
    musl = f"musl={row.policy.row.musl_package}"
    return [
        *resolve([musl, *row.sysroot], packages, installed),
        *resolve([musl, *row.image, *row.extra], packages, installed),
    ]


def measure_closures(
    lock: Lock, read: Callable[[str], bytes | None], keys: Mapping[str, bytes], root: Callable[[BaseRow], Root | None]
) -> Lock:
    """``lock`` with the closures of the rows whose base and index are there.

    Raises:
        FetchError: an index is not signed by a key that is known.
        UsageError: an index lacks something.
    """

    def measured(row: ApkRow) -> ApkRow:
        found = root(lock.base(row.policy.row.base, row.arch))
        index = f"{apk_branch(row.policy.row.base)}/{REPOSITORIES[0]}/{row.arch.row.apk}/{INDEX}"
        if found is None or read(index) is None:
            return row
        repositories = open_repositories(row.policy, row.arch, read, {**found.keys, **keys})
        packages = [package for one in repositories for package in one.packages]
        return replace(row, closure=closure_of(needed_packages(row, packages, found.installed)))

    return replace(lock, apks=tuple(measured(row) for row in lock.apks))


def export_builder(session: Session, row: BuilderRow, supplies: Supplies, progress: Progress) -> Iterator[bytes]:
    """The root of a builder with its tools, as a tar: what needs no network any more.

    Raises:
        ImageError: it cannot be built on this engine.
    """
    engine, dockerfile = session.engine, "builder.Dockerfile"
    platform = row.arch.oci_platform
    args = {"BUILDER_PLATFORM": platform, "BUILDER_BASE": ensure_builder(engine, row.arch, supplies, progress)}
    context = context_tar(shipped_files(dockerfile))
    tag = f"{STAGE_REPOSITORY}:exported-builder-{row.arch.value}"
    labels = {LABEL: "stage", STAGE_LABEL: f"exported builder on {row.arch.value}"}
    spec = BuildSpec(context=context, dockerfile=dockerfile, tag=tag, platform="", args=args, labels=labels)
    with progress.step(f"builder for {row.arch.value} engines"):
        engine.build(spec, progress.detail)
    with session.container(ContainerSpec(image=tag, platform=platform, purpose="export", network=False)) as container:
        yield from engine.get(container, "/") or ()
