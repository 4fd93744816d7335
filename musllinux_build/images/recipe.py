"""What an image is made from and with: a target and the lock → build arguments, labels, tag and files, as data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.images.contents import Composition, labels, manifest, tool_groups
from musllinux_build.images.lock import Lock, SourceRow, WheelRow, format_lock
from musllinux_build.images.reference import Variant, image_reference
from musllinux_build.policy import Policy
from musllinux_build.python import PythonTag

OLDEST, NEWEST = (3, 9), (3, 15)
"""The feature releases of CPython that the scripts build."""
FIRST_FREE_THREADED = (3, 13)

OLDEST_FOR_TOOLS = (3, 11)
"""The first release that the tools of an image run on."""

LIBRARIES = (
    *("openssl", "zlib", "bzip2", "xz", "libffi", "sqlite"),
    *("ncurses", "readline", "gdbm", "mpdecimal", "zstd", "util-linux"),
)
"""The sources that every interpreter is linked with."""

OPENSSL_TARGETS: dict[Arch, str] = {
    # OpenSSL's Configurations/10-main.conf: the configuration with the architecture's assembler.
    Arch.X86_64: "linux-x86_64",
    Arch.AARCH64: "linux-aarch64",
    Arch.I686: "linux-x86",
    Arch.PPC64LE: "linux-ppc64le",
    Arch.S390X: "linux64-s390x",
    Arch.ARMV7L: "linux-armv4",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFile:
    """A pinned file and its path in the build context."""

    path: str
    row: SourceRow | WheelRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A CPython of an image, with the GIL or free-threaded (PEP 703)."""

    source: SourceRow
    free_threaded: bool = False

    @property
    def threads(self) -> str:
        """``t`` or nothing: the suffix of its version and tags."""
        return "t" if self.free_threaded else ""

    @property
    def label(self) -> str:
        """``3.13.5t``."""
        return f"{self.source.version}{self.threads}"

    @property
    def tag(self) -> PythonTag:
        """``cp313t``."""
        return PythonTag.parse(f"{self.source.minor}{self.threads}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecipe:
    """One image build of several. ``needs`` maps a build argument to the name of the stage it is the image of.

    ``directories`` have to exist in the context even when they are empty; ``texts`` are files by their content;
    ``apk`` and ``tool`` say what else the stage takes: the packages of the mirror, the files of this tool.
    """

    name: str
    dockerfile: str
    args: Mapping[str, str]
    files: tuple[ContextFile, ...] = ()
    directories: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    bases: tuple[str, ...] = ()
    """The arguments of bases that only the engine knows: BUILDER_BASE, TARGET_BASE, TOOLCHAIN_IMAGE."""
    apk: bool = False
    tool: bool = False
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecipe:
    """The stages of one image, needed ones first and the image itself last; ``tag`` is what it is called."""

    policy: Policy
    arch: Arch
    tag: str
    labels: Mapping[str, str]
    stages: tuple[StageRecipe, ...]


def apk_branch(release: str) -> str:
    """``v3.13``: the directory of a release's packages on a mirror."""
    return f"v{'.'.join(release.split('.')[:2])}"


def lock_digest(lock: Lock) -> str:
    """16 hexadecimal digits that change with any row of the lock."""
    return hashlib.sha256(format_lock(lock).encode()).hexdigest()[:16]


def plan_image(
    policy: Policy,
    arch: Arch,
    lock: Lock,
    *,
    pythons: Sequence[Interpreter],
    libraries: Sequence[SourceRow],
    engine: Arch,
    registry: str,
    variant: Variant = Variant.FULL,
) -> ImageRecipe:
    """The recipe for an image with these interpreters, built on an engine of architecture ``engine``.

    Raises:
        UsageError: an interpreter is not among those the scripts build, there are two of one tag or too many, or a
            library is missing.
    """
    selected = _selected(pythons)
    missing = [name for name in LIBRARIES if name not in {row.name for row in libraries}]
    if missing:
        raise UsageError(f"the lock does not have {', '.join(missing)}")
    target = policy.platform_tag(arch)
    common = {"BUILDER_PLATFORM": engine.oci_platform, "TARGET_PLATFORM": arch.oci_platform}
    composition = Composition(
        policy=policy,
        arch=arch,
        variant=variant,
        lock=lock,
        lock_digest=lock_digest(lock),
        pythons=tuple(one.label for one in selected),
        sources=(*(one.source for one in selected), *libraries),
    )
    facts = {**common, **_target_args(composition), "CLOCK": str(lock.clock)}
    builder = StageRecipe(
        name=f"builder on {engine.value}", dockerfile="builder.Dockerfile", args=common, bases=("BUILDER_BASE",)
    )
    static = StageRecipe(
        name=f"libraries for {target}",
        dockerfile="libraries.Dockerfile",
        args=facts,
        files=tuple(ContextFile(path=f"sources/{row.name}/{row.archive}", row=row) for row in libraries),
        directories=("apk",),
        needs={"BUILDER": builder.name},
        bases=("TARGET_BASE", "TOOLCHAIN_IMAGE"),
        apk=True,
    )
    zlib = next(row for row in libraries if row.name == "zlib")
    natives = [_native(one, zlib, common, engine, builder.name) for one in selected]
    interpreters = [
        StageRecipe(
            name=f"CPython {one.label} for {target}",
            dockerfile="interpreter.Dockerfile",
            args={**facts, "CPYTHON_VERSION": one.source.version, "CPYTHON_THREADS": one.threads},
            files=(ContextFile(path=f"sources/{one.source.archive}", row=one.source), *_wheels(lock, one)),
            directories=("wheels",),
            needs={"LIBRARIES": static.name, "NATIVE": native.name},
        )
        for one, native in zip(selected, natives, strict=True)
    ]
    tools = _tools(composition, selected, natives, facts)
    collected = _collected(interpreters, tools, common, composition)
    image = StageRecipe(
        name=target,
        dockerfile="Dockerfile",
        args=facts,
        directories=("apk",),
        needs={"INTERPRETERS": collected[-1].name},
        bases=("TARGET_BASE",),
        apk=True,
    )
    return ImageRecipe(
        policy=policy,
        arch=arch,
        tag=image_reference(registry, policy, arch, variant),
        labels=labels(composition),
        stages=(builder, static, *natives, *interpreters, tools, *collected, image),
    )


def _wheels(lock: Lock, python: Interpreter) -> tuple[ContextFile, ...]:
    """What is unpacked into an interpreter: the wheels of its release, or those of every other."""
    rows = lock.wheel_group(f"python{python.source.minor}") or lock.wheel_group("python")
    return tuple(ContextFile(path=f"wheels/{row.filename}", row=row) for row in rows)


def _collected(
    interpreters: Sequence[StageRecipe], tools: StageRecipe, common: Mapping[str, str], image: Composition
) -> list[StageRecipe]:
    """One image with all interpreters, in as many steps, and then the tools."""
    target = image.policy.platform_tag(image.arch)
    stages = [StageRecipe(name="no interpreter", dockerfile="empty.Dockerfile", args=common, directories=("out",))]
    named = [
        (f"{number} of {len(interpreters)} interpreters of {target}", one.name)
        for number, one in enumerate(interpreters, start=1)
    ]
    for name, part in (*named, (f"interpreters and {tools.name}", tools.name)):
        needs = {"COLLECTED": stages[-1].name, "INTERPRETER": part}
        stages.append(StageRecipe(name=name, dockerfile="collect.Dockerfile", args=common, needs=needs))
    return stages


def _native(python: Interpreter, zlib: SourceRow, common: Mapping[str, str], engine: Arch, builder: str) -> StageRecipe:
    """The build python: nothing of it depends on the target."""
    source = python.source
    return StageRecipe(
        name=f"build python {python.label} on {engine.value}",
        dockerfile="native.Dockerfile",
        args={**common, "CPYTHON_VERSION": source.version, "CPYTHON_THREADS": python.threads},
        files=tuple(ContextFile(path=f"sources/{row.archive}", row=row) for row in (source, zlib)),
        needs={"BUILDER": builder},
    )


def _tools(
    image: Composition, pythons: Sequence[Interpreter], natives: Sequence[StageRecipe], facts: Mapping[str, str]
) -> StageRecipe:
    """The image's own commands, which run on its newest interpreter that has a GIL.

    Raises:
        UsageError: no interpreter of the image can run them.
    """
    able = [
        (one, native)
        for one, native in zip(pythons, natives, strict=True)
        if (one.tag.major, one.tag.minor) >= OLDEST_FOR_TOOLS and not one.free_threaded
    ]
    if not able:
        raise UsageError(
            f"an image of CPython {', '.join(image.pythons)} alone cannot be made",
            details="its auditwheel, which every client calls, runs on CPython 3.11 or later, with a GIL",
            resolution="Add one, for example --python 3.13.",
        )
    python, native = able[-1]
    wheels = [row for group in tool_groups(image.variant) for row in image.lock.wheel_group(group, image.arch)]
    known = [PythonTag(OLDEST[0], minor, threads) for minor, threads in _known_minors()]
    return StageRecipe(
        name=f"tools of {image.policy.platform_tag(image.arch)}, {image.variant.value}",
        dockerfile="tools.Dockerfile",
        args={**facts, "CPYTHON_VERSION": python.source.version},
        files=tuple(ContextFile(path=f"tools/{row.filename}", row=row) for row in wheels),
        directories=("tools",),
        needs={"NATIVE": native.name},
        tool=True,
        texts={
            "contents/manifest.json": manifest(image),
            "contents/interpreters": "".join(f"{tag.directory}\n" for tag in known),
        },
    )


def _known_minors() -> list[tuple[int, bool]]:
    """What an image may have: minor release, and whether it is free-threaded."""
    return [
        (minor, threads)
        for minor in range(OLDEST[1], NEWEST[1] + 1)
        for threads in (False, True)
        if not threads or minor >= FIRST_FREE_THREADED[1]
    ]


def _selected(pythons: Sequence[Interpreter]) -> tuple[Interpreter, ...]:
    """The interpreters in order, every one of them possible and none twice."""
    selected: dict[PythonTag, Interpreter] = {}
    for one in sorted(pythons, key=lambda one: (one.source.order, one.free_threaded)):
        release = (one.tag.major, one.tag.minor)
        if not OLDEST <= release <= NEWEST or (one.free_threaded and release < FIRST_FREE_THREADED):
            known = f"{'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}, free-threaded from 3.13"
            raise UsageError(f"CPython {one.label} is not among those that are built", resolution=f"Known: {known}.")
        if (other := selected.get(one.tag)) is not None:
            raise UsageError(f"CPython {one.label} and {other.label} cannot be in one image")
        selected[one.tag] = one
    if not selected:
        raise UsageError("an image needs an interpreter")
    return tuple(selected.values())


def _target_args(image: Composition) -> dict[str, str]:
    """The names of the target; every one comes from a table."""
    policy, arch = image.policy, image.arch
    musl = f"musl={policy.row.musl_package}"
    return {
        "POLICY": policy.value,
        "MUSL_PACKAGE": policy.row.musl_package,
        "APK_BRANCH": apk_branch(policy.row.base),
        "SYSROOT_PACKAGES": " ".join((musl, *image.lock.apk(policy, arch).sysroot)),
        "IMAGE_PACKAGES": " ".join(image.packages),
        "TARGET_ARCH": arch.value,
        "TARGET_TRIPLE": arch.row.triple,
        "TARGET_MULTIARCH": arch.row.multiarch,
        "TARGET_LOADER": arch.row.loader,
        "TARGET_LIBC": arch.row.libc_soname,
        "TARGET_ELF": f"{arch.row.elf.machine}:{arch.row.elf.bits}",
        "OPENSSL_TARGET": OPENSSL_TARGETS[arch],
    }
