"""The native compiler's data: flags, names, the build context, and a volume that is only trusted when sealed."""

from __future__ import annotations

import io
import shlex
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from musllinux_build import toolchain
from musllinux_build.arch import Arch
from musllinux_build.builds.session import RUN_LABEL, Session
from musllinux_build.builds.volumes import FILL_LABEL, Clock, ensure_volume
from musllinux_build.errors import EngineError, FetchError, ImageError
from musllinux_build.ports import LABEL, BuildSpec, ContainerSpec, Engine, ImageInfo, PathStat
from musllinux_build.toolchain import (
    TOOLCHAIN_MOUNT,
    clang_cfg,
    container_env,
    context_tar,
    ensure_toolchain_image,
    path_with_toolchain,
    small_files,
    target_names,
    toolchain_image_tag,
    toolchain_key,
    toolchain_volume,
    toolchain_volume_name,
)
from tests.fakes import ListProgress

SHA256 = "0" * 64
TAG = "musllinux-build/toolchain:x86_64-0123456789abcdef"
VOLUME = "musllinux-build-toolchain-0123456789abcdef"
SEAL = f"{VOLUME}-seal"


def make_wheel(directory: Path, members: Mapping[str, bytes]) -> Path:
    path = directory / "ziglang.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in members.items():
            wheel.writestr(name, content)
    return path


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(
        tmp_path,
        {
            "ziglang/zig": b"ELF",
            "ziglang/lib/include/stdarg.h": b"/* stdarg */",
            "ziglang/lib/std/std.zig": b"std",
            "ziglang/lib/libc/musl/src/a.c": b"a",
            "ziglang/lib/libc/include/generic-musl/stdio.h": b"musl",
            "ziglang/lib/libc/include/aarch64-linux-any/asm.h": b"asm",
            "ziglang/lib/libc/include/aarch64-linux-gnu/gnu.h": b"not needed",
            "ziglang/lib/libc/mingw/m.c": b"not needed",
            "ziglang/lib/libcxx/x.cpp": b"not needed",
            "ziglang/__main__.py": b"not needed",
            "ziglang-1.dist-info/RECORD": b"",
        },
    )


class FakeEngine:
    """Images, volumes and the copy into an empty volume, as an engine does them."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.built: list[tuple[BuildSpec, bytes]] = []
        self.volumes: dict[str, dict[str, str]] = {}
        self.filled: set[str] = set()
        self.running: dict[str, ContainerSpec] = {}
        self.created: list[ContainerSpec] = []
        self.status = 0
        self.missing: set[str] = set()
        self.on_create: Callable[[], None] = lambda: None

    @property
    def port(self) -> Engine:
        return cast("Engine", self)

    def image(self, ref: str) -> ImageInfo | None:
        return ImageInfo(id="sha256:1", architecture="amd64", variant=None) if ref in self.known else None

    def build(self, spec: BuildSpec, on_line: Callable[[str], None]) -> ImageInfo:
        self.built.append((spec, b"".join(spec.context)))
        self.known.add(spec.tag)
        on_line("Step 1")
        found = self.image(spec.tag)
        assert found is not None
        return found

    def create(self, spec: ContainerSpec) -> str:
        self.on_create()
        self.filled.update(spec.volumes)
        self.running["c1"] = spec
        self.created.append(spec)
        return "c1"

    def wait(self, container: str) -> int:
        assert container in self.running
        return self.status

    def stat(self, container: str, path: str) -> PathStat | None:
        assert container in self.running
        name = path.rpartition("/")[2]
        if path.removeprefix(f"{TOOLCHAIN_MOUNT}/") in self.missing:
            return None
        return PathStat(name=name, size=1, mode=0o755, link_target="", is_dir=False, is_link=False)

    def remove(self, container: str) -> None:
        self.running.pop(container, None)

    def containers(self, label: str) -> Sequence[str]:
        key, _, value = label.partition("=")
        return [name for name, spec in self.running.items() if spec.labels.get(key) == value]

    def volume(self, name: str, labels: Mapping[str, str]) -> bool:
        made = name not in self.volumes
        self.volumes.setdefault(name, dict(labels))
        return made

    def volume_labels(self, name: str) -> Mapping[str, str] | None:
        return self.volumes.get(name)

    def remove_volume(self, name: str) -> None:
        self.volumes.pop(name, None)
        self.filled.discard(name)


def ensure(engine: FakeEngine, *, clock: Clock | None = None) -> str:
    session = Session(engine.port, ListProgress())
    return ensure_volume(session, toolchain_volume(TAG, "linux/amd64"), clock=clock or Clock(now=lambda: 1000.0))


# --- flags and names


def test_path_puts_the_compiler_first_and_nothing_else_is_set() -> None:
    assert path_with_toolchain(Arch.AARCH64, "/a:/b") == f"{TOOLCHAIN_MOUNT}/targets/aarch64/bin:/a:/b"
    assert list(container_env(Arch.S390X)) == ["PATH"]
    assert path_with_toolchain(Arch.S390X, "").endswith("/usr/bin:/sbin:/bin")


@pytest.mark.parametrize("arch", Arch)
def test_every_architecture_has_its_triple_and_baseline(arch: Arch) -> None:
    lines = clang_cfg(arch).splitlines()
    assert lines[0] == f"--target={arch.row.triple}"
    assert any(line.startswith(("-march=", "-mcpu=")) for line in lines)
    assert "-resource-dir=<CFGDIR>/../../lib" in lines
    # Clang takes a linker's argument in its configuration for an input, and links when asked for its version.
    assert not [line for line in lines if line.startswith("-Wl,")]
    assert {"gcc", "ld.lld", f"{arch.row.triple}-gcc", f"{arch.row.triple}-ranlib"} < set(target_names(arch))


def test_armv7l_has_no_neon() -> None:
    assert {"-mfpu=vfpv3-d16", "-mfloat-abi=hard"} < set(clang_cfg(Arch.ARMV7L).splitlines())


def test_every_name_is_known_to_the_launcher() -> None:
    source = small_files(Arch.X86_64)["src/launcher.c"].decode()
    for name in {*toolchain.TOOLS, *toolchain.PREFIXED}:
        assert f'{{"{name}", ' in source


# --- the build context


def unpack(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar}


def test_the_context_holds_what_the_dockerfile_copies(wheel: Path) -> None:
    members = unpack(b"".join(context_tar(Arch.AARCH64, wheel)))
    assert {
        *(
            "Dockerfile",
            "src/launcher.c",
            "src/place.c",
            "src/applet.c",
            *(f"src/{name}.args" for name in ("launcher", "place", "applet")),
            "src/names",
        ),
        *("zig/zig", "zig/lib/std/std.zig", "zig/lib/libc/musl/src/a.c", "zig/lib/include/stdarg.h"),
        *("zig/lib/libc/include/generic-musl/stdio.h", "zig/lib/libc/include/aarch64-linux-any/asm.h"),
        *("files/lib/include/stdarg.h", "files/targets/armv7l/clang.cfg"),
    } <= set(members)
    assert not [name for name in members if name.endswith((".cpp", ".py", "gnu.h", "m.c", "RECORD"))]
    assert members["zig/zig"].mode == 0o755
    assert members["files/targets"].isdir()
    assert {(member.mtime, member.uid, member.uname) for member in members.values()} == {(0, 0, "")}


def test_the_context_is_the_same_every_time(wheel: Path) -> None:
    assert b"".join(context_tar(Arch.X86_64, wheel)) == b"".join(context_tar(Arch.X86_64, wheel))


def test_the_launcher_is_compiled_for_the_engine() -> None:
    arguments = shlex.split(small_files(Arch.PPC64LE)["src/launcher.args"].decode())
    assert arguments[:2] == ["-target", "powerpc64le-linux-musl"]
    assert "-static" in arguments


def test_names_reach_every_target() -> None:
    names = small_files(Arch.X86_64)["src/names"].decode().splitlines()
    assert len(names) == len(set(names)) == sum(len(target_names(arch)) for arch in Arch)
    assert "targets/i686/bin/i586-alpine-linux-musl-gcc" in names


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    other = make_wheel(tmp_path, {"other/__init__.py": b""})
    with pytest.raises(FetchError, match="no ziglang wheel"):
        list(context_tar(Arch.X86_64, other))


# --- the image


def test_the_key_changes_with_the_engine_and_the_wheel() -> None:
    keys = {toolchain_key(arch, digit * 64) for arch in Arch for digit in "01"}
    assert len(keys) == 2 * len(Arch)
    assert toolchain_key(Arch.X86_64, SHA256) == toolchain_key(Arch.X86_64, SHA256)


def test_tag_and_volume_carry_the_key() -> None:
    tag = toolchain_image_tag(Arch.X86_64, SHA256)
    key = toolchain_key(Arch.X86_64, SHA256)[:16]
    assert tag == f"musllinux-build/toolchain:x86_64-{key}"
    assert toolchain_volume_name(tag) == f"musllinux-build-toolchain-{key}"


def test_the_image_is_built_once_without_network(wheel: Path) -> None:
    engine, progress = FakeEngine(), ListProgress()
    tag = ensure_toolchain_image(engine.port, Arch.AARCH64, wheel, progress)
    assert ensure_toolchain_image(engine.port, Arch.AARCH64, wheel, progress) == tag
    [(spec, context)] = engine.built
    assert (spec.tag, spec.platform, spec.network, spec.labels[LABEL]) == (tag, "linux/arm64", "none", "toolchain")
    assert "Dockerfile" in unpack(context)
    assert progress.lines[1:] == ["Step 1"]


# --- the volume


def test_an_empty_engine_gets_a_filled_and_sealed_volume() -> None:
    engine = FakeEngine()
    assert ensure(engine) == VOLUME
    assert engine.filled == {VOLUME}
    assert engine.running == {}
    assert all(RUN_LABEL in spec.labels for spec in engine.created)
    assert engine.volumes[VOLUME][FILL_LABEL] == engine.volumes[SEAL][FILL_LABEL]
    assert engine.volumes[VOLUME][LABEL] == "toolchain"


def test_a_sealed_volume_is_used_as_it_is() -> None:
    engine = FakeEngine()
    ensure(engine)
    before = dict(engine.volumes)
    engine.on_create = lambda: pytest.fail("filled again")
    assert ensure(engine) == VOLUME
    assert engine.volumes == before


@pytest.mark.parametrize(
    "left",
    [
        {VOLUME: {FILL_LABEL: "10-dead"}},
        {VOLUME: {FILL_LABEL: "10-dead"}, SEAL: {FILL_LABEL: "10-other"}},
        {VOLUME: {FILL_LABEL: "9999-clock-went-back"}},
        {VOLUME: {}, SEAL: {}},
        {VOLUME: {}},
        {SEAL: {FILL_LABEL: "10-pruned"}},
    ],
)
def test_what_an_interrupted_run_left_is_replaced(left: dict[str, dict[str, str]]) -> None:
    engine = FakeEngine()
    engine.volumes = left
    ensure(engine)
    word = engine.volumes[VOLUME][FILL_LABEL]
    assert word.startswith("1000-")
    assert engine.volumes[SEAL][FILL_LABEL] == word


def test_a_container_left_behind_is_removed_with_its_volume() -> None:
    engine = FakeEngine()
    spec = ContainerSpec(image=TAG, platform="linux/amd64", purpose="toolchain", labels={FILL_LABEL: VOLUME})
    engine.running["old"] = spec
    ensure(engine)
    assert engine.running == {}


def test_another_run_is_waited_for() -> None:
    engine = FakeEngine()
    engine.volumes[VOLUME] = {FILL_LABEL: "990-other"}
    engine.on_create = lambda: pytest.fail("filled twice")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            engine.volumes[SEAL] = {FILL_LABEL: "990-other"}

    assert ensure(engine, clock=Clock(now=lambda: 1000.0, pause=pause)) == VOLUME
    assert len(pauses) == 3


def test_another_run_that_dies_is_replaced() -> None:
    engine = FakeEngine()
    engine.volumes[VOLUME] = {FILL_LABEL: "990-other"}
    times = iter([1000.0, 1030.0, 1060.0, 1061.0])
    ensure(engine, clock=Clock(now=lambda: next(times), pause=lambda _: None))
    assert engine.volumes[SEAL][FILL_LABEL].startswith("1061-")


@pytest.mark.parametrize(("status", "missing"), [(1, set()), (0, {"lib/include/stdarg.h"})])
def test_a_volume_that_did_not_fill_is_removed(status: int, missing: set[str]) -> None:
    engine = FakeEngine()
    engine.status, engine.missing = status, missing
    with pytest.raises(ImageError) as caught:
        ensure(engine)
    assert (engine.volumes, engine.running) == ({}, {})
    assert TAG in caught.value.resolution
    assert all(path in caught.value.details for path in missing)


def test_an_interruption_leaves_nothing() -> None:
    engine = FakeEngine()

    def interrupt() -> None:
        raise KeyboardInterrupt

    engine.on_create = interrupt
    with pytest.raises(KeyboardInterrupt):
        ensure(engine)
    assert engine.volumes == {}


def test_a_volume_taken_over_meanwhile_is_not_trusted() -> None:
    engine = FakeEngine()
    engine.on_create = lambda: engine.volumes.update({VOLUME: {FILL_LABEL: "1000-other"}})
    with pytest.raises(EngineError, match="another run"):
        ensure(engine)
