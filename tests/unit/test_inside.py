"""Building inside an image: what tells that this is one, and the directories that are its containers."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.specifiers import SpecifierSet

from musllinux_build.adapters.own_root import OwnRoot
from musllinux_build.adapters.process import ProcessGroups
from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session, signals_as_errors, undisturbed
from musllinux_build.builds.steps import Places
from musllinux_build.cli.build import build as build_command
from musllinux_build.cli.closing import table_lines
from musllinux_build.cli.doctor import doctor as doctor_command
from musllinux_build.config import Config
from musllinux_build.doctor import (
    State,
    check_certificates,
    check_compiler,
    check_index,
    check_interpreters,
    check_own_image,
    check_space,
)
from musllinux_build.errors import BuildError, EngineError, TerminatedError, UsageError
from musllinux_build.plan import plan
from musllinux_build.policy import Policy
from musllinux_build.ports import BuildSpec, ContainerSpec, ImageInfo
from musllinux_build.python import PythonTag
from musllinux_build.report import NOT_PROVEN, table_rows
from musllinux_build.shipped import shipped
from musllinux_build.surroundings import (
    MANIFEST,
    OwnImage,
    choose,
    find_own_image,
    own_environment,
    own_pythons,
)
from musllinux_build.tarstream import tar_of
from tests.fakes import ListProgress
from tests.unit.test_pipeline import Bench, target

HERE = OwnImage(policy=Policy.MUSLLINUX_1_2, arch=Arch.AARCH64)
VARIABLES = {"AUDITWHEEL_POLICY": "musllinux_1_2", "AUDITWHEEL_ARCH": "aarch64"}
FILES = {"/opt/python", "/lib/ld-musl-aarch64.so.1"}
SPEC = ContainerSpec(image="this", platform="linux/amd64", purpose="build")


@pytest.mark.parametrize(
    ("environment", "files", "found"),
    [
        (VARIABLES, FILES, HERE),
        (VARIABLES, {MANIFEST, "/lib/ld-musl-aarch64.so.1"}, HERE),
        ({"AUDITWHEEL_PLAT": "musllinux_1_2_aarch64"}, FILES, HERE),
        ({**VARIABLES, "AUDITWHEEL_PLAT": "musllinux_1_1_x86_64"}, FILES, HERE),
        (VARIABLES, {"/opt/python"}, None),
        (VARIABLES, {"/lib/ld-musl-aarch64.so.1"}, None),
        ({**VARIABLES, "AUDITWHEEL_ARCH": "x86_64"}, FILES, None),
        ({"AUDITWHEEL_POLICY": "manylinux_2_28", "AUDITWHEEL_ARCH": "aarch64"}, FILES, None),
        ({"AUDITWHEEL_PLAT": "musllinux_1_2"}, FILES, None),
        ({}, FILES, None),
    ],
)
def test_an_image_is_known_by_variables_and_files(
    environment: dict[str, str], files: set[str], found: OwnImage | None
) -> None:
    assert find_own_image(environment, files.__contains__) == found


def test_whoever_names_an_engine_gets_it_unless_inside_is_asked_for() -> None:
    named = {**VARIABLES, "DOCKER_HOST": "tcp://engine"}
    assert choose(VARIABLES, FILES.__contains__, wanted=None) == HERE
    assert choose(named, FILES.__contains__, wanted=None) is None
    assert choose(named, FILES.__contains__, wanted=True) == HERE
    assert choose(VARIABLES, FILES.__contains__, wanted=False) is None
    with pytest.raises(UsageError, match="no musllinux image"):
        choose({}, FILES.__contains__, wanted=True)


@pytest.mark.parametrize(
    "asked",
    [
        Config(archs=(Arch.AARCH64, Arch.S390X)),
        Config(policies=(Policy.MUSLLINUX_1_1,)),
        Config(only=("cp313-musllinux_1_1_aarch64",)),
        Config(only=("cp313-musllinux_x86_64",)),
    ],
)
def test_asking_for_another_image_is_a_mistake_that_names_this_one(asked: Config) -> None:
    with pytest.raises(UsageError, match="inside musllinux_1_2_aarch64") as caught:
        HERE.confine(asked, asked)
    assert "--no-inside" in caught.value.resolution


def test_the_image_is_the_default_and_what_a_project_wants_elsewhere_is_skipped() -> None:
    pythons = (PythonTag(3, 11), PythonTag(3, 13))
    oldest = OwnImage(policy=Policy.MUSLLINUX_1_1, arch=Arch.X86_64)
    assert oldest.confine(Config(), Config()).policies == (Policy.MUSLLINUX_1_1,)
    both = HERE.confine(Config(archs=(Arch.X86_64, Arch.AARCH64)), Config(only=("cp313-musllinux_1_2_aarch64",)))
    chosen = plan(
        both,
        pythons=pythons,
        requires_python=SpecifierSet(),
        native=HERE.arch,
        images={(HERE.policy, HERE.arch): ""},
        elsewhere=HERE.elsewhere,
    )
    assert {item.arch for item in chosen.targets} == {Arch.AARCH64}
    assert {skip.reason for skip in chosen.skipped} == {HERE.elsewhere}


def test_interpreters_are_those_that_are_what_their_name_says() -> None:
    there = {f"/opt/python/{name}/bin/python" for name in ("cp39-cp39", "cp313-cp313", "cp314-cp314t", "pp311-pypy311")}
    there |= {f"/opt/python/{name}" for name in ("cp313-cp313/lib/python3.13", "cp314-cp314t/lib/python3.14t")}
    # cp39-cp39 leads to another release, as clients that look for that name are helped where there is no 3.9.
    names = ["cp311-cp311", "cp314-cp314t", "cp39-cp39", "cp313-cp313", "pp311-pypy311", "cp313"]
    assert own_pythons(names, there.__contains__) == (PythonTag(3, 13), PythonTag(3, 14, free_threaded=True))


def test_of_the_environment_a_build_gets_what_image_network_and_pip_say() -> None:
    kept = {
        "PATH": "/bin",
        "HOME": "/root",
        "LC_ALL": "C",
        "https_proxy": "p",
        "PIP_INDEX_URL": "i",
        "PIP_CACHE_DIR": "c",
    }
    left = dict.fromkeys(("CFLAGS", "CC", "PYTHONPATH", "VIRTUAL_ENV", "LD_PRELOAD", "PIP_TARGET", "TMPDIR"), "x")
    assert own_environment({**left, **kept, **VARIABLES}) == {**kept, **VARIABLES}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[OwnRoot]:
    image = ImageInfo(id="this", architecture="amd64", variant=None, env={"PATH": os.environ["PATH"], "WORD": "image"})
    yield OwnRoot(image, tmp_path, undisturbed)
    assert list(tmp_path.iterdir()) == []


def test_directories_are_numbered_and_gone_afterwards(root: OwnRoot, tmp_path: Path) -> None:
    first, second = root.create(replace(SPEC, labels={"run": "a"})), root.create(SPEC)
    assert [first, second] == [str(tmp_path / f"musllinux-build-{number}") for number in (0, 1)]
    assert Path(first).stat().st_mode & 0o777 == 0o700
    assert root.containers("run=a") == [first]
    for name in (first, second, second):
        root.remove(name)


def test_a_command_has_environment_directory_and_temporary_files_of_its_own(root: OwnRoot) -> None:
    box = root.create(SPEC)
    said: list[bytes] = []
    argv = ["/bin/sh", "-c", "echo $WORD $TMPDIR $HOME; pwd; echo err >&2; exit 7"]
    assert root.run(box, argv, env={"WORD": "two", "PATH": os.environ["PATH"]}, cwd=box, on_output=said.append) == 7
    assert b"".join(said).decode().splitlines() == [f"two {box}/tmp", box, "err"]
    assert root.run(box, ["/bin/sh", "-c", "test $WORD = image"]) == 0
    assert root.run(box, ["no-such-command"], on_output=said.append) == 127
    assert said[-1] == b"no-such-command: not found\n"
    assert root.run(box, ["/bin/sh", "-c", "kill -9 $$"]) == 137
    root.remove(box)


def test_files_go_in_and_come_out(root: OwnRoot) -> None:
    box = root.create(SPEC)
    root.put(box, box, [b"", tar_of({"a/b": b"hello" * 200, "c": b""}, mode=0o750)])
    Path(box, "link").symlink_to("/nowhere")
    found = root.stat(box, f"{box}/a/b")
    assert found is not None
    assert (found.size, found.mode & 0o777, found.is_dir, found.is_link) == (1000, 0o750, False, False)
    link = root.stat(box, f"{box}/link")
    assert link is not None
    assert link.link_target == "/nowhere"
    assert root.stat(box, f"{box}/none") is None
    assert root.get(box, f"{box}/none") is None
    stream = root.get(box, f"{box}/a")
    assert stream is not None
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        assert sorted(tar.getnames()) == ["a", "a/b"]
        content = tar.extractfile("a/b")
        assert content is not None
        assert content.read() == b"hello" * 200
    root.remove(box)


def entry(name: str, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    if link:
        info.type, info.linkname = tarfile.SYMTYPE, link
    return info


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../out")],
        [entry("/out")],
        [entry("a/../../out")],
        [entry("a", "/etc"), entry("a/out")],
        [entry("a", ".."), entry("a/out")],
        [entry("a", "../out"), entry("a")],
    ],
)
def test_nothing_is_unpacked_outside(root: OwnRoot, tmp_path: Path, entries: Sequence[tarfile.TarInfo]) -> None:
    box = root.create(SPEC)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info in entries:
            tar.addfile(info)
    with pytest.raises(EngineError) as caught:
        root.put(box, box, [buffer.getvalue()])
    assert "leads out of" in caught.value.details
    assert not (tmp_path / "out").exists()
    root.remove(box)


def test_what_a_command_leaves_running_ends_with_its_directory(root: OwnRoot, tmp_path: Path) -> None:
    box = root.create(SPEC)
    said: list[bytes] = []
    started = time.monotonic()
    assert root.run(box, ["/bin/sh", "-c", "sleep 60 & echo $!"], on_output=said.append) == 0
    assert time.monotonic() - started < 10  # it holds the output open, and is not waited for
    child = Path(f"/proc/{int(b''.join(said))}/stat")
    assert child.exists()
    root.remove(box)
    deadline = time.monotonic() + 10
    while child.exists() and child.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not child.exists() or child.read_text().split()[2] == "Z"


def test_a_directory_that_nobody_may_write_to_is_removed(root: OwnRoot) -> None:
    box = root.create(SPEC)
    place = Path(box, "closed")
    place.mkdir()
    (place / "file").touch()
    place.chmod(0o500)
    root.remove(box)


def test_a_signal_ends_the_command_and_leaves_no_directory(root: OwnRoot) -> None:
    session = Session(root, ListProgress(), remove_by_hand="rm -rf")
    killer = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGTERM))
    started = time.monotonic()

    def work() -> None:
        with closing(session), session.container(SPEC) as box:
            killer.start()
            session.check(box, ["/bin/sh", "-c", "sleep 60; true"])

    with signals_as_errors(), pytest.raises(TerminatedError):
        work()
    assert time.monotonic() - started < 10


def test_there_are_no_other_images_no_volumes_and_no_other_platforms(root: OwnRoot) -> None:
    refusals: list[Callable[[], object]] = [
        lambda: root.pull("x", "linux/amd64"),
        lambda: root.build(BuildSpec(context=[], tag="x", platform="linux/amd64"), print),
        lambda: root.create(replace(SPEC, platform="linux/arm64")),
        lambda: root.create(replace(SPEC, volumes={"v": "/v"})),
        lambda: root.create(replace(SPEC, command=["/probe"])),
        lambda: root.volume("v", {}),
        lambda: root.tag("this", "x"),
        lambda: root.save("this"),
        lambda: root.load([]),
        lambda: root.wait("x"),
        lambda: root.run("/", ["true"]),
    ]
    for refused in refusals:
        with pytest.raises(EngineError):
            refused()
    assert root.image("this") is not None
    assert root.image("other") is None
    assert root.info().arch is Arch.X86_64


def test_output_is_whole_however_much_there_is() -> None:
    programs, said = ProcessGroups(), bytearray()
    script = "import sys; sys.stdout.write('x' * 300000 + '.')"
    assert programs.run([sys.executable, "-c", script], env={}, cwd="/", on_output=said.extend) == 0
    assert len(said) == 300001
    assert programs.run([sys.executable, "-c", "import sys; sys.exit(3)"], env={}, cwd="/nowhere") == 127
    programs.end()


def inside(bench: Bench) -> Bench:
    """The same run without compilers of ours and without a stock Alpine, at home in a directory."""
    supply = replace(
        bench.run.supply, stock=None, toolchain=None, places=lambda _: Places(project="/at/project", work="/at/work")
    )
    bench.run = replace(bench.run, supply=supply, host=replace(bench.run.host, ca_bundle=b""))
    bench.project.dist = "/at/work/dist"
    return bench


def test_a_wheel_is_tried_in_a_fresh_environment_and_the_report_says_so(tmp_path: Path) -> None:
    bench = inside(Bench(tmp_path, Config(test_command="test {project}")))
    report = bench.build(target())
    assert report.exit_code == 0
    (outcome,) = report.outcomes
    assert outcome.wheel is not None
    assert outcome.wheel.proven == ()
    assert bench.project.seen == ["build", "venv", "pip", "-c", "test /at/project"]
    assert bench.purposes == ["build", "verify"]
    assert not any(box.spec.volumes for box in bench.engine.created)
    assert json.loads(json.dumps(report.to_json()))["wheels"][0]["caveat"].endswith(NOT_PROVEN)
    assert any(line.endswith(NOT_PROVEN) for line in table_lines(table_rows(report)))


def test_before_all_runs_in_place_before_the_builds(tmp_path: Path) -> None:
    bench = inside(Bench(tmp_path, Config(before_all="prepare {project}", verify=False)))
    report = bench.build(target(minor=11), target(minor=13))
    assert bench.project.seen == ["prepare /at/project", "build", "build"]
    assert {outcome.wheel.caveat for outcome in report.outcomes if outcome.wheel} == {f"not verified; {NOT_PROVEN}"}


@pytest.mark.parametrize("step", ["venv", "pip", "-c"])
def test_a_failure_there_is_a_failed_verification_and_the_wheel_is_kept(tmp_path: Path, step: str) -> None:
    bench = inside(Bench(tmp_path))
    bench.project.status = {step: 1}
    (outcome,) = bench.build(target()).outcomes
    assert outcome.error is not None
    assert outcome.error.exit_code == 10
    assert "fresh environment" in outcome.error.brief
    assert Path(outcome.error.resolution.rpartition(" ")[2]).is_file()
    assert bench.written == []


def test_builds_get_the_compilers_first_and_the_proof_does_not(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.build(target())
    paths = bench.project.paths
    assert [place.endswith("/targets/x86_64/bin") for place in paths["build"].split(":")[:2]] == [False, True]
    assert "toolchain" not in paths["-c"]
    alone = inside(Bench(tmp_path))
    alone.build(target())
    assert alone.project.paths["build"] == "/opt/python/cp313-cp313/bin:/usr/bin:/bin"


def test_a_step_that_fails_in_a_directory_is_a_build_error(
    root: OwnRoot, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from musllinux_build.builds.session import Log
    from musllinux_build.builds.steps import Step

    session = Session(root, ListProgress())
    step = Step(title="build", argv=("/bin/sh", "-c", "echo error: x; exit 3"), env={}, cwd="/")
    log = Log(tmp_path_factory.mktemp("logs") / "log", "x")
    with closing(log), session.container(SPEC) as box, pytest.raises(BuildError) as caught:
        session.execute(box, step, log)
    assert caught.value.details == "error: x"


def test_doctor_says_where_it_is() -> None:
    found = check_own_image(HERE, "3.13.12", "1.2.2-r1")
    assert found.state is State.OK
    assert "musllinux_1_2_aarch64 (Alpine 3.13.12, musl 1.2.2-r1)" in found.found
    assert NOT_PROVEN in found.found
    assert check_own_image(HERE, "3.20.3", "1.2.5-r0").state is State.WARNING
    assert check_own_image(HERE, "", "").state is State.OK
    assert check_interpreters([]).state is State.FAILED
    assert check_interpreters([PythonTag(3, 13)]).found == "cp313"
    assert check_compiler("gcc (Alpine 10.2.1) 10.2.1\nmore", "").found == "gcc (Alpine 10.2.1) 10.2.1"
    assert "build-base" in check_compiler("", "gcc: command not found").mend
    assert check_space(1 << 20, "/tmp").state is State.WARNING
    assert check_space(None, "/tmp").state is State.WARNING
    assert check_space(1 << 40, "/tmp").state is State.OK
    assert check_certificates(b"", mend="apk add x").mend == "apk add x"
    assert check_index(0, "", asked="from here").found == "reachable from here"


@pytest.mark.parametrize("command", [build_command, doctor_command])
def test_inside_where_there_is_no_image(command: object) -> None:
    environment = dict.fromkeys((*VARIABLES, "AUDITWHEEL_PLAT"), "")
    result = CliRunner().invoke(command, ["--inside"], env=environment, standalone_mode=False)  # type: ignore[arg-type] # one of two
    assert isinstance(result.exception, UsageError)
    assert "no musllinux image" in result.exception.brief


def test_an_installation_without_the_makings_of_images_says_so() -> None:
    with pytest.raises(UsageError, match="missing from this installation"):
        shipped("no such directory")
