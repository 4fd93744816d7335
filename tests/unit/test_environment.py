"""Build environments on an engine in memory: when they are made, what they are given to, and when they are not used."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from musllinux_build.arch import Arch
from musllinux_build.builds.environment import (
    ANSWER,
    FRESH_SECONDS,
    HOME,
    LEFT,
    MOST_BYTES,
    NATIVE_MOUNT,
    WANTS_MORE,
    Environments,
    hooks_argv,
    interpreter_volume,
    parse_answer,
    platforms,
    read_answer,
)
from musllinux_build.builds.inside import resolve
from musllinux_build.builds.steps import IN_CONTAINER
from musllinux_build.buildsystem import BuildSystem
from musllinux_build.config import Config
from musllinux_build.errors import BuildError, ImageError
from musllinux_build.plan import Target
from musllinux_build.policy import Policy
from musllinux_build.ports import PYTHONS_LABEL, ImageInfo
from musllinux_build.python import PythonTag
from musllinux_build.tarstream import tar_of
from tests.fakes import FakeEngine, File
from tests.unit.test_pipeline import IMAGE, Bench, target, wheel, with_userland

SYSTEM = BuildSystem(requires=("setuptools",), backend="setuptools.build_meta")
Answer = tuple[int, bytes] | None


class Pip:
    """What resolve.py and run_hooks.py do."""

    def __init__(
        self,
        *,
        wants: Sequence[Sequence[str]] = (),
        lacks: str = "",
        status: int = 0,
        without_wheel: Sequence[str] = (),
        first_fails: bool = False,
    ) -> None:
        self.first_fails = first_fails
        self.asked: list[Mapping[str, Any]] = []
        self.without_wheel = without_wheel
        self.installed: list[list[str]] = []
        self.wants = [list(wish) for wish in wants]
        self.lacks = lacks
        self.status = status
        self.resolved: list[list[str]] = []
        self.generators: list[bool] = []
        self.environments: list[Mapping[str, str]] = []
        self.hooks: list[Mapping[str, object]] = []

    def __call__(  # noqa: PLR0911 - one way out for each command
        self, engine: FakeEngine, container: str, argv: Sequence[str], env: Mapping[str, str]
    ) -> Answer:
        script = next((word.rpartition("/")[2] for word in argv if word.endswith((".py",))), "")
        files = engine.boxes[container].files
        if script == "resolve.py":
            asked = json.loads(argv[-1])
            self.resolved.append(asked["requirements"])
            self.generators.append(asked["generators"])
            self.asked.append(asked)
            self.environments.append(env)
            left = [one for one in asked["requirements"] if one in self.without_wheel]
            if self.lacks in asked["requirements"]:
                return 1, b"no matching distribution"
            files[LEFT] = File(data=json.dumps(left).encode())
            files.update({HOME: File(), f"{HOME}/pyvenv.cfg": File(data=repr(asked["requirements"]).encode())})
            return 0, b""
        if "--no-cache-dir" in argv and "--python" in argv:
            self.installed.append([*argv])
            return self.status, b""
        if script != "run_hooks.py":
            return None
        assert files[f"{HOME}/pyvenv.cfg"].data == repr(self.resolved[-1]).encode() or not self.resolved
        asked = json.loads(argv[-1])
        self.hooks.append({**asked, "path": env["PATH"], "argv": argv})
        if self.first_fails and len(self.hooks) == 1:
            return 3, b""
        if self.wants and (wish := self.wants.pop(0)):
            files[ANSWER] = File(data=json.dumps(wish).encode())
            return 77, b""
        if not self.status:
            files.update({f"{asked['dist']}/{name}": File(data=data) for name, data in [wheel()]})
        return self.status, b"error: no\n"


def bench_with(tmp_path: Path, pip: Pip, system: BuildSystem | None = SYSTEM) -> Bench:
    bench = Bench(tmp_path)
    bench.engine.commands.insert(0, pip)
    where = Environments(
        directory=tmp_path / "kept",
        native=lambda _: bench.known(f"{IMAGE}-x86_64"),
        interpreter=lambda _, python: f"python-{python}",
    )
    bench.run = replace(
        bench.run,
        supply=replace(bench.run.supply, environments=where),
        host=replace(bench.run.host, build_system=system),
    )
    return bench


def test_the_environment_is_made_natively_and_kept(tmp_path: Path) -> None:
    pip = Pip()
    bench = bench_with(tmp_path, pip)
    assert bench.build(target()).exit_code == 0
    assert bench.build(target()).exit_code == 0
    assert pip.resolved == [["setuptools"]]
    assert bench.purposes.count("environment") == 1
    assert "build" not in bench.project.seen
    (box, *_) = (box for box in bench.engine.created if box.spec.purpose == "environment")
    assert box.image.arch is Arch.X86_64
    assert pip.hooks[0]["known"] == ["setuptools"]
    assert str(pip.hooks[0]["path"]).startswith(f"{HOME}/bin:/opt/python/cp313-cp313/bin:")
    assert not bench.engine.boxes


def test_a_foreign_target_gets_its_own_wheels_from_a_native_pip(tmp_path: Path) -> None:
    pip = Pip()
    bench = bench_with(tmp_path, pip)
    bench.build(target(Arch.ARMV7L))
    (box,) = (box for box in bench.engine.created if box.spec.purpose == "environment")
    assert box.image.arch is Arch.X86_64
    assert pip.hooks[0]["argv"][0] == "linux32"  # type: ignore[index] # an argument vector


def test_a_backend_that_asks_for_more_gets_it(tmp_path: Path) -> None:
    pip = Pip(wants=[["ninja>=1.5"]])
    bench = bench_with(tmp_path, pip)
    assert bench.build(target()).exit_code == 0
    assert pip.resolved == [["setuptools"], ["setuptools", "ninja>=1.5"]]
    assert pip.hooks[1]["known"] == ["setuptools", "ninja>=1.5"]


@pytest.mark.parametrize("arch", [Arch.S390X, Arch.X86_64])
def test_cython_runs_natively_where_the_rest_does_not(tmp_path: Path, arch: Arch) -> None:
    pip = Pip()
    bench = bench_with(tmp_path, pip, replace(SYSTEM, requires=("Cython>=3 ; python_version > '3'", "setuptools")))
    with_userland(bench)
    bench.build(target(arch))
    foreign = arch is not Arch.X86_64
    (box,) = (box for box in bench.engine.created if box.spec.purpose == "build")
    assert box.spec.volumes.get("python-cp313") == (NATIVE_MOUNT if foreign else None)
    assert pip.generators == [foreign]


def test_without_a_loader_nothing_is_handed_to_a_native_interpreter(tmp_path: Path) -> None:
    pip = Pip()
    bench = bench_with(tmp_path, pip, replace(SYSTEM, requires=("Cython>=3", "setuptools")))
    with_userland(bench, fails=True)
    bench.build(target(Arch.S390X))
    assert pip.generators == [False]


@pytest.mark.parametrize("shell", [True, False])
@pytest.mark.parametrize("arch", [Arch.S390X, Arch.X86_64])
def test_programs_of_an_environment_are_native_where_a_loader_is(tmp_path: Path, arch: Arch, *, shell: bool) -> None:
    pip = Pip()
    bench = bench_with(tmp_path, pip)
    if shell:
        with_userland(bench)
    bench.build(target(arch))
    assert [asked["programs"] for asked in pip.asked] == [shell and arch is not Arch.X86_64]


@pytest.mark.parametrize(
    ("there", "native", "taken"),
    [
        (b"\x7fELF foreign", b"\x7fELF native", True),
        (b"\x7fELF foreign", None, False),  # no wheel for this machine
        (b"\x7fELF foreign", b"#!/bin/sh", False),
        (b"#!/bin/sh", b"\x7fELF native", False),
        (None, b"\x7fELF native", False),
    ],
)
def test_a_program_is_replaced_by_its_native_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bytes | None, native: bytes | None, *, taken: bool
) -> None:
    program, packages = tmp_path / "bin" / "ninja", tmp_path / "lib"
    program.parent.mkdir()
    (packages / "ninja-1.13.0.dist-info").mkdir(parents=True)
    (packages / "ninja-1.13.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: Ninja\nVersion: 1.13.0\n"
    )
    if there is not None:
        program.write_bytes(there)

    def install(place: str, platforms: Sequence[str], requirements: Sequence[str], *options: str) -> int:
        assert (platforms, requirements, options) == ([], ["ninja==1.13.0"], ("--no-deps",))
        if native is not None:
            (Path(place) / "bin").mkdir()
            (Path(place) / "bin" / "ninja").write_bytes(native)
        return native is None

    monkeypatch.setattr(resolve, "install", install)
    resolve.replace_program("ninja", str(tmp_path), str(packages))
    resolve.replace_program("patchelf", str(tmp_path), str(packages))
    found = program.read_bytes() if program.exists() else None
    assert found == (native if taken else there)


@pytest.mark.parametrize(
    "pip",
    [Pip(lacks="setuptools"), Pip(wants=[["cmake"]], lacks="cmake"), Pip(wants=[["x"]] * 9), Pip(wants=[["./x"]])],
)
def test_without_one_the_container_makes_its_own(tmp_path: Path, pip: Pip) -> None:
    bench = bench_with(tmp_path, pip)
    assert bench.build(target()).exit_code == 0
    assert bench.project.seen[0] == "build"
    assert not bench.engine.boxes


def natively(tmp_path: Path, pip: Pip, **changes: Any) -> Bench:
    bench = bench_with(tmp_path, pip, replace(SYSTEM, **changes))
    with_userland(bench)
    for arch in (Arch.X86_64, Arch.AARCH64):
        ref = f"{IMAGE}-{arch.value}"
        homes = {"/opt/python/cp313-cp313": File(link="../_internal/cpython"), "/bin/sh": File(link="/bin/busybox")}
        bench.engine.add_image(ref, arch, {PYTHONS_LABEL: "3.13.5"}, {**homes, "/opt/_internal/cpython": File()})
    bench.run = replace(bench.run, config=replace(bench.run.config, accel="python"))
    return bench


def test_the_whole_build_runs_on_a_native_interpreter(tmp_path: Path) -> None:
    pip = Pip()
    bench = natively(tmp_path, pip)
    bench.build(target(Arch.AARCH64))
    (hooks,) = pip.hooks
    assert hooks["machine"] == "aarch64"
    assert pip.asked[0]["prefix"] == NATIVE_MOUNT
    assert pip.asked[0]["platforms"] == []
    assert pip.asked[0]["target"] == {
        "machine": "aarch64",
        "multiarch": "aarch64-linux-musl",
        "home": "/opt/_internal/cpython-3.13.5",
        "library": "python3.13",
    }
    assert not any("emulated interpreter" in line for line in bench.progress.lines)


@pytest.mark.parametrize(
    ("arch", "changes", "pip", "reason"),
    [
        (Arch.S390X, {}, Pip(), "another word size or byte order than x86_64"),
        (Arch.ARMV7L, {}, Pip(), "another word size or byte order than x86_64"),
        (Arch.AARCH64, {"requires": ("setuptools", "NumPy>=2")}, Pip(), "numpy asks the kernel"),
        (Arch.AARCH64, {}, Pip(wants=[["numpy>=2"], ["numpy>=2"]]), "numpy asks the kernel"),
        (Arch.AARCH64, {"requires": ("oldest-supported-numpy",)}, Pip(), "oldest-supported-numpy asks the kernel"),
        (Arch.AARCH64, {}, Pip(first_fails=True), "failed with exit status 3"),
        (Arch.AARCH64, {"requires": ("cffi", "setuptools")}, Pip(without_wheel=["cffi"]), "its environment is not"),
    ],
)
def test_what_is_not_built_so_is_emulated_and_the_reason_told(
    tmp_path: Path, arch: Arch, changes: dict[str, Any], pip: Pip, reason: str
) -> None:
    bench = natively(tmp_path, pip, **changes)
    bench.build(target(arch))
    (told,) = (line for line in bench.progress.lines if "is built on an emulated interpreter: " in line)
    assert reason in told
    assert pip.hooks[-1]["machine"] == ""


@pytest.mark.parametrize("pip", [Pip(first_fails=True), Pip(without_wheel=["setuptools"])])
def test_an_emulated_build_after_another_begins_with_before_build(tmp_path: Path, pip: Pip) -> None:
    bench = natively(tmp_path, pip)
    bench.run = replace(bench.run, config=replace(bench.run.config, before_build="make headers"))
    bench.build(target(Arch.AARCH64))
    assert bench.project.seen.count("make headers") == 2


def test_variables_of_pip_hold_for_all_that_is_installed(tmp_path: Path) -> None:
    pip = Pip()
    bench = bench_with(tmp_path, pip)
    given = {"PIP_EXTRA_INDEX_URL": "https://index.example/$WHICH", "WHICH": "simple", "https_proxy": "http://proxy"}
    for value in ("old", "old", "new"):
        environment = {"WHICH": value, **{name: text for name, text in given.items() if name != "WHICH"}}
        bench.run = replace(bench.run, config=replace(bench.run.config, environment=environment))
        assert bench.build(target()).exit_code == 0
    assert [env.get("PIP_EXTRA_INDEX_URL") for env in pip.environments] == [
        "https://index.example/old",
        "https://index.example/new",
    ]
    assert "WHICH" not in pip.environments[0]
    assert bench.project.environments["pip"]["PIP_EXTRA_INDEX_URL"] == "https://index.example/new"
    assert bench.project.environments["pip"]["https_proxy"] == "http://proxy"


@pytest.mark.parametrize("variable", ["PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT", "PIP_FIND_LINKS", "PIP_NO_BINARY"])
def test_what_names_files_of_the_project_is_left_to_the_container(tmp_path: Path, variable: str) -> None:
    pip = Pip()
    bench = bench_with(tmp_path, pip)
    bench.run = replace(bench.run, config=replace(bench.run.config, environment={variable: "wanted.txt"}))
    assert bench.build(target()).exit_code == 0
    assert "environment" not in bench.purposes
    assert bench.project.environments["build"][variable] == "wanted.txt"
    assert (variable in bench.project.environments["pip"]) is (variable == "PIP_NO_BINARY")
    assert any(f"because of {variable}" in line for line in bench.progress.lines)


def test_without_the_native_image_the_container_makes_its_own(tmp_path: Path) -> None:
    def native(policy: Policy) -> ImageInfo:
        raise ImageError(f"no image of {policy.value} for this machine")

    bench = bench_with(tmp_path, Pip(), replace(SYSTEM, requires=("Cython", "setuptools")))
    environments = bench.run.supply.environments
    assert environments is not None
    none = replace(environments, native=native, interpreter=lambda policy, _: native(policy).id)
    bench.run = replace(bench.run, supply=replace(bench.run.supply, environments=none))
    with_userland(bench)
    bench.build(target(Arch.AARCH64))
    assert "build" in bench.project.seen
    assert sum("no image of musllinux_1_2 for this machine" in line for line in bench.progress.lines) == 2


def test_what_has_no_wheel_is_built_once_where_no_project_is(tmp_path: Path) -> None:
    pip = Pip(without_wheel=["cffi"])
    bench = bench_with(tmp_path, pip, replace(SYSTEM, requires=("setuptools", "cffi")))
    for _ in range(2):
        assert bench.build(target()).exit_code == 0
    python = "/opt/python/cp313-cp313/bin/python"
    command = [python, "-m", "pip", "--python", f"{HOME}/bin/python", "install", "--no-cache-dir", "--", "cffi"]
    assert pip.installed == [command]
    assert bench.purposes.count("requirements") == 1
    (box,) = (box for box in bench.engine.created if box.spec.purpose == "requirements")
    assert not any(name.startswith(f"{IN_CONTAINER.project}/") for name in box.files)
    assert pip.resolved == [["setuptools", "cffi"]]
    assert pip.hooks[-1]["known"] == ["setuptools", "cffi"]
    # With other variables it is built again.
    bench.run = replace(bench.run, config=replace(bench.run.config, environment={"CFLAGS": "-O3"}))
    assert bench.build(target()).exit_code == 0
    assert len(pip.installed) == 2


def test_what_fails_to_be_built_ends_the_build(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, Pip(without_wheel=["cffi"], status=1), replace(SYSTEM, requires=("cffi",)))
    (outcome,) = bench.build(target()).outcomes
    assert isinstance(outcome.error, BuildError)
    assert "install cffi" in outcome.error.brief
    assert len(list((tmp_path / "kept").glob("*.tar"))) == 1
    assert not bench.engine.boxes


def test_the_backend_is_told_its_settings(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import json, pathlib\n"
        "def get_requires_for_build_wheel(settings):\n    return settings['asked']\n"
        "def build_wheel(place, settings):\n"
        "    pathlib.Path(place, 'x-1-py3-none-any.whl').write_text(json.dumps(settings))\n"
        "    return 'x-1-py3-none-any.whl'\n"
    )
    system = BuildSystem(requires=(), backend="own", paths=(str(tmp_path),))
    config = Config(config_settings={"asked": ("cmake", "ninja"), "x": ("1",)})
    argv = hooks_argv(system, ["cmake"], config.config_settings)
    asked = {**json.loads(argv[-1]), "answer": str(tmp_path / "answer"), "dist": str(tmp_path / "dist")}

    def run(**changes: object) -> int:
        script = Path(resolve.__file__).with_name("run_hooks.py")
        command = [sys.executable, "-I", str(script), json.dumps({**asked, **changes})]
        return subprocess.run(command, check=False, capture_output=True).returncode

    assert run() == WANTS_MORE
    assert json.loads((tmp_path / "answer").read_text()) == ["ninja"]
    assert run(known=["cmake", "ninja"]) == 0
    assert json.loads((tmp_path / "dist" / "x-1-py3-none-any.whl").read_text()) == {
        "asked": ["cmake", "ninja"],
        "x": "1",
    }


def test_a_table_that_is_wrong_is_the_frontend_s_business(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, Pip(), None)
    bench.build(target())
    assert "environment" not in bench.purposes
    assert bench.project.seen[0] == "build"


def test_a_failed_build_is_told_and_not_tried_in_another_way(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, Pip(status=3))
    (outcome,) = bench.build(target()).outcomes
    assert isinstance(outcome.error, BuildError)
    assert "exit status 3" in outcome.error.brief
    assert "error: no" in outcome.error.details
    assert "build" not in bench.project.seen


def test_what_an_index_said_is_asked_again_the_next_day(tmp_path: Path) -> None:
    pip = Pip()
    bench = bench_with(tmp_path, pip)
    bench.build(target())
    (kept,) = (tmp_path / "kept").glob("*.tar")
    later = kept.stat().st_mtime + FRESH_SECONDS + 1
    environments = bench.run.supply.environments
    assert environments is not None
    supply = replace(bench.run.supply, environments=replace(environments, now=lambda: later))
    bench.run = replace(bench.run, supply=supply)
    bench.build(target())
    assert len(pip.resolved) == 2
    assert sorted((tmp_path / "kept").iterdir()) == [kept.with_suffix(".json"), kept]


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"\xff", b'["a", 1]', b"[" * 200_000])
def test_an_answer_that_is_none(content: bytes | None) -> None:
    assert parse_answer(content) is None


def test_an_answer_without_end_is_none() -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(2 * MOST_BYTES // len(piece)):
            yield piece
        pytest.fail("all of it was read")

    piece = bytes(1 << 20)
    assert read_answer(endless()) is None
    assert read_answer(None) is None
    assert read_answer([tar_of({"answer.json": b'["a"]'})]) == ("a",)


def test_platforms_are_those_of_the_policy() -> None:
    one = Target(arch=Arch.S390X, policy=Policy.MUSLLINUX_1_1, python=PythonTag(3, 9))
    assert platforms(one) == ["musllinux_1_1_s390x", "musllinux_1_0_s390x", "linux_s390x"]


def test_the_volume_of_an_interpreter_is_its_directory_in_the_image() -> None:
    image = ImageInfo(
        id="sha256:0123456789abcdef01",
        architecture="amd64",
        variant=None,
        labels={PYTHONS_LABEL: "3.9.2,3.13.5,3.13.5t"},
    )
    plain = interpreter_volume(image, PythonTag(3, 13))
    assert (plain.name, plain.mount) == (
        "musllinux-build-python-cp313-0123456789abcdef",
        "/opt/_internal/cpython-3.13.5",
    )
    threads = interpreter_volume(image, PythonTag(3, 13, free_threaded=True))
    assert threads.mount == "/opt/_internal/cpython-3.13.5-nogil"
    assert "lib/python3.13t/os.py" in threads.expected
    with pytest.raises(ImageError, match=r"no Python 3\.14"):
        interpreter_volume(image, PythonTag(3, 14))
