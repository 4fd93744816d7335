"""The main job on an engine in memory: order, cleaning up, what is kept, and every way to fail."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from musllinux_build.adapters.container_sysroot import ContainerSysroot
from musllinux_build.arch import Arch
from musllinux_build.builds.pipeline import build_all
from musllinux_build.builds.session import Session, signals_as_errors
from musllinux_build.builds.steps import FALLBACKS, IN_CONTAINER
from musllinux_build.builds.workshop import Host, Run, Supply
from musllinux_build.config import Accel, Compiler, Config
from musllinux_build.elf.edit import ElfEdit
from musllinux_build.errors import ImageError
from musllinux_build.plan import Plan, Target
from musllinux_build.policy import Policy
from musllinux_build.ports import ImageInfo
from musllinux_build.python import PythonTag
from musllinux_build.report import Report, distinct_errors, table_rows
from musllinux_build.tags import serves
from musllinux_build.tarstream import CHUNK, tar_of
from musllinux_build.toolchain import TOOLCHAIN_MOUNT
from musllinux_build.userland import KEPT_SHELL, USERLAND_MOUNT, Userland
from tests.elfgen import Obj, build
from tests.fakes import FakeEngine, File, ListProgress
from tests.wheelgen import WheelSpec, build_wheel

IMAGE, STOCK = "ours:1", "stock:1"
Answer = tuple[int, bytes] | None
EXTENSION = build(Obj(needed=["libc.musl-x86_64.so.1"], exports=["PyInit_x"], undefined=["malloc"]))


def target(arch: Arch = Arch.X86_64, minor: int = 13) -> Target:
    return Target(arch=arch, policy=Policy.MUSLLINUX_1_2, python=PythonTag(3, minor))


def wheel(python: str = "cp313", *, pure: bool = False) -> tuple[str, bytes]:
    tag = "py3-none-any" if pure else f"{python}-{python}-linux_x86_64"
    files = {"x.py": b""} if pure else {f"x.cpython-{python[2:]}-x86_64-linux-musl.so": EXTENSION}
    return f"demo-1.0-{tag}.whl", build_wheel(WheelSpec(files=files, tag=tag))


class Project:
    """What the commands of the build do in the container."""

    def __init__(self) -> None:
        self.wheels: Callable[[str], Mapping[str, bytes]] = lambda python: dict([wheel(python)])
        self.status: dict[str, int] = {}
        self.seen: list[str] = []
        self.paths: dict[str, str] = {}
        """The PATH of each kind of command."""
        self.environments: dict[str, Mapping[str, str]] = {}
        self.dist = IN_CONTAINER.dist
        self.during_build: Callable[[], None] = lambda: None

    def __call__(self, engine: FakeEngine, container: str, argv: Sequence[str], env: Mapping[str, str]) -> Answer:
        words = list(argv)
        kind = next((word for word in ("build", "venv", "pip", "-c") if word in words and words[0] != "/bin/sh"), "")
        if kind == "build":
            self.during_build()
            home = next(word for word in words if word.startswith("/opt/python/"))
            python = home.split("/")[3].partition("-")[0]
            files = engine.boxes[container].files
            files.update({f"{self.dist}/{name}": File(data=data) for name, data in self.wheels(python).items()})
        elif words[:2] == ["/bin/sh", "-ec"]:
            kind = words[2]
        if not kind:
            return None
        self.seen.append(kind)
        self.paths[kind] = env.get("PATH", "")
        self.environments[kind] = env
        return self.status.get(kind, 0), f"{kind} said this\nerror: and that\n".encode()


class Bench:
    """A run on the fake engine."""

    def __init__(self, tmp_path: Path, config: Config | None = None, *, fail_fast: bool = False) -> None:
        self.project = Project()
        self.engine = FakeEngine([self.project])
        self.progress = ListProgress()
        homes = {f"/opt/python/cp3{minor}-cp3{minor}": File(link="../_internal/cpython") for minor in (11, 13)}
        homes["/bin/sh"] = File(link="/bin/busybox")
        files = {"/opt": File(), "/opt/python": File(), "/opt/_internal": File(), "/opt/_internal/cpython": File()}
        for arch in Arch:
            self.engine.add_image(f"{IMAGE}-{arch.value}", arch, files={**files, **homes})
            self.engine.add_image(f"{STOCK}-{arch.value}", arch)
        self.images: Callable[[Policy, Arch], ImageInfo] = lambda _, arch: self.known(f"{IMAGE}-{arch.value}")
        self.output = tmp_path / "out"
        self.run = Run(
            session=Session(self.engine, self.progress),
            config=config or Config(),
            host=Host(
                source=tar_of({"setup.py": b""}),
                index={},
                ca_bundle=b"ca",
                output=self.output,
                logs=tmp_path / "logs",
                fail_fast=fail_fast,
            ),
            supply=Supply(
                image=self._image,
                stock=lambda _, arch: self.known(f"{STOCK}-{arch.value}"),
                toolchain=lambda: "compilers",
                apk_mirror=lambda _policy, _arch: None,
                patcher=no_patches,
                sysroot=lambda container: ContainerSysroot(self.engine, container),
            ),
        )

    def _image(self, policy: Policy, arch: Arch) -> ImageInfo:
        return self.images(policy, arch)  # a test may have replaced it

    def known(self, ref: str) -> ImageInfo:
        found = self.engine.image(ref)
        assert found is not None
        return found

    def build(self, *targets: Target) -> Report:
        return build_all(self.run, Plan(targets=targets, skipped=()))

    @property
    def written(self) -> list[str]:
        return sorted(path.name for path in self.output.glob("*")) if self.output.exists() else []

    @property
    def purposes(self) -> list[str]:
        return [box.spec.purpose for box in self.engine.created]


def no_patches(_content: bytes | bytearray, _edit: ElfEdit) -> bytes:
    raise AssertionError("nothing is grafted here")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_wheel_is_built_tagged_proven_and_written(bench: Bench) -> None:
    report = bench.build(target())
    (outcome,) = report.outcomes
    assert outcome.error is None
    assert outcome.wheel is not None
    assert outcome.wheel.proven == ("3.13.12", "3.20.3")
    assert bench.written == ["demo-1.0-cp313-cp313-musllinux_1_2_x86_64.whl"]
    assert bench.project.seen[0] == "build"
    assert sorted(bench.project.seen[1:]) == ["-c", "-c", "pip", "pip"]
    assert report.exit_code == 0
    assert table_rows(report)[0].name == bench.written[0]


def test_no_container_is_left_and_none_has_a_host_mount(bench: Bench) -> None:
    bench.build(target())
    assert not bench.engine.boxes
    assert all(not path.startswith(("/", ".")) for box in bench.engine.created for path in box.spec.volumes)


def test_the_foreign_compiler_is_mounted_for_builds_only(bench: Bench) -> None:
    bench.build(target())
    mounted = {box.spec.purpose for box in bench.engine.created if box.spec.volumes}
    assert mounted == {"build"}


def with_userland(bench: Bench, *, fails: bool = False) -> None:
    def userland(policy: Policy) -> Userland:
        if fails:
            raise ImageError("no make for this engine")
        return Userland(volume=f"userland-{policy.value}", arch=Arch.X86_64)

    bench.run = replace(bench.run, supply=replace(bench.run.supply, userland=userland))


def test_a_foreign_container_has_native_programs_until_it_is_read(bench: Bench) -> None:
    with_userland(bench)
    shells: list[str] = []

    def look() -> None:
        (box,) = (box for box in bench.engine.boxes.values() if box.spec.purpose == "build")
        shells.append(box.files["/bin/sh"].link)
        assert box.files["/lib/ld-musl-x86_64.so.1"].link == f"{USERLAND_MOUNT}/root/lib/ld-musl-x86_64.so.1"

    bench.project.during_build = look
    bench.build(target(Arch.AARCH64))
    assert shells == [f"{USERLAND_MOUNT}/root/bin/busybox"]
    (box,) = (box for box in bench.engine.created if box.spec.purpose == "build")
    assert box.files["/bin/sh"].link == "/bin/busybox"
    assert ("/bin/rm", "-f", "/lib/ld-musl-x86_64.so.1", KEPT_SHELL) in box.ran
    assert box.spec.volumes["userland-musllinux_1_2"] == USERLAND_MOUNT
    compilers, programs, *rest = bench.project.paths["build"].split(":")[1:]
    assert (compilers, programs) == (f"{TOOLCHAIN_MOUNT}/targets/aarch64/bin", f"{USERLAND_MOUNT}/bin")
    assert rest == ["/usr/bin", "/bin"]


def test_a_shell_of_an_image_that_is_no_link_stays(bench: Bench) -> None:
    with_userland(bench)
    bench.engine.add_image(f"{IMAGE}-s390x", Arch.S390X, files={"/bin": File(), "/bin/sh": File(data=b"a shell")})

    def look() -> None:
        (box,) = (box for box in bench.engine.boxes.values() if box.spec.purpose == "build")
        assert box.files["/bin/sh"].data == b"a shell"
        assert box.files["/lib/ld-musl-x86_64.so.1"].link

    bench.project.during_build = look
    bench.build(target(Arch.S390X))
    (box,) = (box for box in bench.engine.created if box.spec.purpose == "build")
    assert box.files["/bin/sh"].data == b"a shell"
    assert ("/bin/rm", "-f", "/lib/ld-musl-x86_64.so.1", KEPT_SHELL) in box.ran


@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.I686])
def test_what_the_kernel_executes_needs_no_userland(bench: Bench, arch: Arch) -> None:
    with_userland(bench)
    bench.build(target(arch))
    assert "build" in bench.purposes
    assert not any(USERLAND_MOUNT in box.spec.volumes.values() for box in bench.engine.created)


def test_without_a_userland_the_build_goes_on_slowly(bench: Bench) -> None:
    with_userland(bench, fails=True)
    bench.build(target(Arch.AARCH64))
    assert "build" in bench.project.seen
    assert any("scripts are emulated: no make for this engine" in line for line in bench.progress.lines)


@pytest.mark.parametrize(
    ("compiler", "mounted", "falls_back"), [("auto", True, True), ("clang", True, False), ("gcc", False, False)]
)
def test_the_compiler_is_chosen(tmp_path: Path, compiler: Compiler, mounted: bool, falls_back: bool) -> None:
    bench = Bench(tmp_path, Config(compiler=compiler))
    bench.build(target())
    (box,) = (box for box in bench.engine.created if box.spec.purpose == "build")
    assert (TOOLCHAIN_MOUNT in box.spec.volumes.values()) is mounted
    assert (bench.project.environments["build"].get("MUSLLINUX_BUILD_FALLBACKS") == FALLBACKS) is falls_back


@pytest.mark.parametrize(
    ("accel", "mounted"),
    [("off", set()), ("compiler", {TOOLCHAIN_MOUNT}), ("full", {TOOLCHAIN_MOUNT, USERLAND_MOUNT})],
)
def test_how_much_is_native_is_chosen(tmp_path: Path, accel: Accel, mounted: set[str]) -> None:
    bench = Bench(tmp_path, Config(accel=accel))
    with_userland(bench)
    bench.build(target(Arch.S390X))
    (box,) = (box for box in bench.engine.created if box.spec.purpose == "build")
    assert {*box.spec.volumes.values()} == mounted


def test_a_wheel_that_names_its_compiler_s_place_is_warned_of(bench: Bench) -> None:
    files = {
        "x.cpython-313-x86_64-linux-musl.so": EXTENSION,
        "config.py": b"#" * CHUNK + b"CC = '/opt/musllinux-build/cc'",
    }
    content = build_wheel(WheelSpec(files=files, tag="cp313-cp313-linux_x86_64"))
    bench.project.wheels = lambda _: {"demo-1.0-cp313-cp313-linux_x86_64.whl": content}
    assert bench.build(target()).exit_code == 0
    (warning,) = (line for line in bench.progress.lines if "where its compiler was" in line)
    assert warning.endswith("in: config.py")


def test_what_gcc_compiled_is_told(bench: Bench) -> None:
    def compile_some() -> None:
        (box,) = (box for box in bench.engine.boxes.values() if box.spec.purpose == "build")
        lines = b"".join(b"clang failed\tsrc/%d.c\n" % number for number in range(5)) + b"no tab\nFortran\t\x1bx.f90\n"
        box.files[FALLBACKS] = File(data=lines)

    bench.project.during_build = compile_some
    report = bench.build(target())
    (outcome,) = report.outcomes
    assert outcome.wheel is not None
    assert outcome.wheel.fallbacks[0] == ("clang failed", "src/0.c")
    told = "6 compiled by the image's own gcc (0.c, 1.c, 2.c and 3 more): clang failed, Fortran"
    assert table_rows(report)[0].caveat == told
    assert any(told in line for line in bench.progress.lines)


def test_before_all_runs_once_and_its_image_is_kept(tmp_path: Path) -> None:
    first = Bench(tmp_path, Config(before_all="apk add yaml-dev"))
    assert first.build(target(minor=11), target(minor=13)).exit_code == 0
    assert first.project.seen.count("apk add yaml-dev") == 1
    builds = [box for box in first.engine.created if box.spec.purpose == "build"]
    assert len({box.spec.image for box in builds[1:]}) == 1
    assert builds[1].spec.image.startswith("musllinux-build/before-all:")
    assert not [name for name in builds[1].files if name.startswith("/tmp/musllinux-build/ca")][1:]
    assert first.build(target()).exit_code == 0
    assert first.project.seen.count("apk add yaml-dev") == 1


@pytest.mark.parametrize(
    ("script", "runs"),
    [
        ("apk add yaml-dev", 1),
        ("apk add --no-cache a=1.2-r3 b && apk add c", 1),
        ("make deps", 2),
        ("apk add $X", 2),
        ("apk add --allow-untrusted {project}/x.apk", 2),
        ("apk add x > /project/y", 2),
    ],
)
def test_a_script_that_may_read_the_source_runs_again_when_it_changes(tmp_path: Path, script: str, runs: int) -> None:
    bench = Bench(tmp_path, Config(before_all=script))
    bench.build(target())
    host = bench.run.host
    changed = Host(source=tar_of({"setup.py": b"#"}), index={}, ca_bundle=b"ca", output=host.output, logs=host.logs)
    bench.run = Run(session=bench.run.session, config=bench.run.config, host=changed, supply=bench.run.supply)
    bench.build(target())
    assert bench.project.seen.count(script.replace("{project}", "/project")) == runs


@pytest.mark.parametrize(("step", "code"), [("build", 4), ("before", 4), ("pip", 10), ("-c", 10), ("test", 10)])
def test_a_step_that_fails(tmp_path: Path, step: str, code: int) -> None:
    bench = Bench(tmp_path, Config(before_build="before", test_command="test"))
    bench.project.status = {step: 3}
    (outcome,) = bench.build(target()).outcomes
    assert outcome.error is not None
    assert outcome.error.exit_code == code
    assert "exit status 3" in outcome.error.brief
    assert "error: and that" in outcome.error.details
    log, _, line = outcome.error.resolution.splitlines()[0].partition(": ")[2].rpartition(":")
    assert b"error: and that" in Path(log).read_bytes().splitlines()[int(line) - 1]
    assert bench.written == []
    assert not bench.engine.boxes


def test_a_wheel_that_fails_its_proof_is_not_lost(bench: Bench) -> None:
    bench.project.status = {"-c": 1}
    (outcome,) = bench.build(target()).outcomes
    assert outcome.error is not None
    assert Path(outcome.error.resolution.rpartition(" ")[2]).is_file()


@pytest.mark.parametrize(
    ("names", "code"), [([], 14), (["a-1-cp313-cp313-linux_x86_64.whl", "b-1-cp313-cp313-linux_x86_64.whl"], 14)]
)
def test_no_wheel_or_two(bench: Bench, names: list[str], code: int) -> None:
    bench.project.wheels = lambda _: dict.fromkeys(names, b"")
    assert bench.build(target()).exit_code == code
    assert bench.written == []


def test_a_pure_project_has_its_own_code_and_advice(bench: Bench) -> None:
    bench.project.wheels = lambda _: dict([wheel(pure=True)])
    (outcome,) = bench.build(target()).outcomes
    assert outcome.error is not None
    assert outcome.error.exit_code == 7
    assert "py3-none-any" in outcome.error.resolution


def test_a_wheel_that_is_none(bench: Bench) -> None:
    bench.project.wheels = lambda _: {"demo-1.0-cp313-cp313-linux_x86_64.whl": b"not a zip"}
    assert bench.build(target()).exit_code == 5
    assert bench.written == []


def test_the_rest_is_built_after_a_failure_and_the_status_tells(bench: Bench) -> None:
    bench.project.wheels = lambda python: {} if python == "cp311" else dict([wheel(python)])
    report = bench.build(target(minor=11), target(minor=13))
    assert [bool(outcome.wheel) for outcome in report.outcomes] == [False, True]
    assert report.exit_code == 14


def test_fail_fast_stops(tmp_path: Path) -> None:
    bench = Bench(tmp_path, fail_fast=True)
    bench.project.wheels = lambda _: {}
    assert len(bench.build(target(minor=11), target(minor=13)).outcomes) == 1


def test_no_emulation_for_a_foreign_architecture(bench: Bench) -> None:
    bench.engine.runs = {Arch.X86_64}
    report = bench.build(target(Arch.S390X), target())
    assert [outcome.error.exit_code if outcome.error else 0 for outcome in report.outcomes] == [9, 0]


def test_an_image_of_the_wrong_architecture(bench: Bench) -> None:
    bench.images = lambda _policy, _arch: bench.known(f"{IMAGE}-aarch64")
    (outcome,) = bench.build(target()).outcomes
    assert isinstance(outcome.error, ImageError)
    assert "arm64" in outcome.error.brief


def test_an_output_that_is_no_directory(bench: Bench) -> None:
    bench.output.write_text("a file where the directory should be")
    (outcome,) = bench.build(target()).outcomes
    assert outcome.error is not None
    assert outcome.error.exit_code == 2
    assert "--output" in outcome.error.resolution


def test_a_disk_that_is_full_on_the_host(bench: Bench) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/x")

    bench.project.during_build = full
    (outcome,) = bench.build(target()).outcomes
    assert outcome.error is not None
    assert outcome.error.exit_code == 11
    assert not bench.engine.boxes


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_and_leaves_nothing(bench: Bench, number: signal.Signals, code: int) -> None:
    bench.project.during_build = lambda: os.kill(os.getpid(), number)
    with signals_as_errors(), pytest.raises(Exception) as caught:  # noqa: PT011 - either of the two
        bench.build(target())
    assert getattr(caught.value, "exit_code", None) == code
    bench.run.session.close()
    assert not bench.engine.boxes
    assert bench.written == []


def test_one_abi3_wheel_serves_every_later_python_and_is_proven_with_each(bench: Bench) -> None:
    abi3 = build_wheel(WheelSpec(files={"x.abi3.so": EXTENSION}, tag="cp311-abi3-linux_x86_64"))
    bench.project.wheels = lambda _: {"demo-1.0-cp311-abi3-linux_x86_64.whl": abi3}
    report = bench.build(target(minor=11), target(minor=13))
    assert report.exit_code == 0
    assert bench.project.seen.count("build") == 1
    assert bench.project.seen.count("pip") == 4
    first, second = report.outcomes
    assert second.same_as == bench.written[0]
    assert first.wheel is not None
    assert first.wheel.sha256 == hashlib.sha256((bench.output / bench.written[0]).read_bytes()).hexdigest()


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_wheel_serves_its_architecture_wherever_the_others_stand_in_the_plan(bench: Bench, jobs: int) -> None:
    def wheels(python: str) -> Mapping[str, bytes]:
        files = {"x.abi3.so": EXTENSION, "y.py": python.encode()}
        return {
            "demo-1.0-cp311-abi3-linux_x86_64.whl": build_wheel(WheelSpec(files=files, tag="cp311-abi3-linux_x86_64"))
        }

    bench.project.wheels = wheels
    bench.run = replace(bench.run, host=replace(bench.run.host, jobs=jobs))
    first, _, last = bench.build(target(minor=11), target(Arch.I686, 11), target(minor=13)).outcomes
    assert first.wheel is not None
    assert last.wheel is not None
    assert last.same_as == first.wheel.path.name
    assert first.wheel.sha256 == last.wheel.sha256 == hashlib.sha256(first.wheel.path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "python", "expected"),
    [
        ("x-1-cp311-abi3-musllinux_1_2_x86_64.whl", PythonTag(3, 13), True),
        ("x-1-cp313-abi3-musllinux_1_2_x86_64.whl", PythonTag(3, 11), False),
        ("x-1-cp311-abi3-musllinux_1_2_x86_64.whl", PythonTag(3, 13, free_threaded=True), False),
        ("x-1-py3-none-musllinux_1_2_x86_64.whl", PythonTag(3, 13, free_threaded=True), True),
        ("x-1-cp311-cp311-musllinux_1_2_x86_64.whl", PythonTag(3, 13), False),
        ("x-1-cp313-none-musllinux_1_2_x86_64.whl", PythonTag(3, 14), False),
    ],
)
def test_which_wheel_serves_which_python(name: str, python: PythonTag, expected: bool) -> None:
    assert serves(name, python) is expected


def test_a_wheel_for_any_platform_with_compiled_code_is_not_pure(bench: Bench) -> None:
    data = build_wheel(WheelSpec(files={"x/lib.so": EXTENSION}, tag="py3-none-any", purelib="true"))
    bench.project.wheels = lambda _: {"demo-1.0-py3-none-any.whl": data}
    (outcome,) = bench.build(target()).outcomes
    assert outcome.error is None
    assert bench.written == ["demo-1.0-py3-none-musllinux_1_2_x86_64.whl"]


def test_a_pure_project_ends_the_run_and_is_told_once(bench: Bench) -> None:
    bench.project.wheels = lambda _: dict([wheel(pure=True)])
    report = bench.build(target(minor=11), target(minor=13))
    assert len(report.outcomes) == 1
    assert [row.remark for row in table_rows(report)][-1] == "not reached"
    assert len(distinct_errors(report)) == 1


def test_an_image_without_the_python(bench: Bench) -> None:
    info = bench.known(f"{IMAGE}-x86_64")
    bench.images = lambda _policy, _arch: replace(info, labels={"org.musllinux-build.pythons": "3.11.2"})
    (outcome,) = bench.build(target()).outcomes
    assert isinstance(outcome.error, ImageError)
    assert "only 3.11" in outcome.error.brief
