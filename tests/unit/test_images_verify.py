"""The contract's rows: what an image's configuration, commands and objects say, and what the table makes of it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session
from musllinux_build.errors import UsageError
from musllinux_build.images.absent import NOT_IN_SLIM, ROWS, absent_rows, read_absent
from musllinux_build.images.configuration import CONFIGURATION
from musllinux_build.images.contents import VARIANT_LABEL
from musllinux_build.images.contract import rows
from musllinux_build.images.objects import judge_tree, read_tree
from musllinux_build.images.promise import Level, Wanted
from musllinux_build.images.supplies import read_lock
from musllinux_build.images.trial import Trial, answers, one_script
from musllinux_build.images.verify import SCRIPT, Status, lacks, verify, wanted_of
from musllinux_build.policy import Policy
from musllinux_build.ports import PYTHONS_LABEL, ImageInfo
from musllinux_build.python import PythonTag
from musllinux_build.shipped import shipped
from musllinux_build.tarstream import tar_of
from tests.elfgen import Obj, build
from tests.fakes import FakeEngine, File, ListProgress

WANTED = Wanted(policy=Policy.MUSLLINUX_1_2, arch=Arch.ARMV7L)
PERFECT = ImageInfo(
    id="sha256:0",
    architecture="arm",
    variant="v7",
    env={
        "AUDITWHEEL_POLICY": "musllinux_1_2",
        "AUDITWHEEL_ARCH": "armv7l",
        "AUDITWHEEL_PLAT": "musllinux_1_2_armv7l",
        "LC_ALL": "en_US.UTF-8",
        "LANG": "en_US.UTF-8",
        "LD_LIBRARY_PATH": "",
        "DEVTOOLSET_ROOTPATH": "",
        "PIPX_DISABLE_SHARED_LIBS_AUTO_UPGRADE": "1",
        "SHELL": "/bin/bash",
        "PATH": "/opt/clang/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PKG_CONFIG_PATH": "/usr/local/lib/pkgconfig",
    },
    labels={
        **{
            f"org.opencontainers.image.{name}": "x"
            for name in ("title", "description", "source", "licenses", "version", "revision", "base.name")
        },
        "org.musllinux-build.policy": "musllinux_1_2",
        "org.musllinux-build.arch": "armv7l",
        **{f"org.musllinux-build.{name}": "x" for name in ("musl", "alpine", "pythons", "lock")},
    },
    entrypoint=("manylinux-entrypoint",),
    command=("/bin/bash",),
)


def broken(image: ImageInfo) -> set[str]:
    return {row.id for row in CONFIGURATION if row.config is not None and row.config(image, WANTED)}


def test_a_perfect_configuration_breaks_no_row() -> None:
    assert broken(PERFECT) == set()


@pytest.mark.parametrize(
    ("row", "changed"),
    [
        ("E1", {"env": {**PERFECT.env, "AUDITWHEEL_POLICY": "musllinux_1_1"}}),
        ("E2", {"env": {**PERFECT.env, "AUDITWHEEL_ARCH": "aarch64"}}),
        ("E3", {"env": {key: value for key, value in PERFECT.env.items() if key != "AUDITWHEEL_PLAT"}}),
        ("E5", {"env": {**PERFECT.env, "LD_LIBRARY_PATH": "/lib"}}),
        ("E6", {"env": {**PERFECT.env, "PATH": "/usr/bin:/usr/local/bin"}}),
        ("E7", {"env": {**PERFECT.env, "PKG_CONFIG_PATH": ""}}),
        ("E10", {"env": {**PERFECT.env, "CFLAGS": "-O3"}}),
        ("E10", {"env": {**PERFECT.env, "PIP_INDEX_URL": "x"}}),
        ("C1", {"entrypoint": ()}),
        ("C1", {"command": ("/bin/sh",)}),
        ("C4", {"variant": None}),
        ("C4", {"architecture": "arm64"}),
        ("C5", {"user": "builder"}),
        ("C5", {"workdir": "/project"}),
        ("C5", {"declared": ("VOLUME",)}),
        ("C5.oci", {"labels": {}}),
        ("C5.own", {"labels": {**PERFECT.labels, "org.musllinux-build.arch": "aarch64"}}),
    ],
)
def test_each_fault_breaks_its_row(row: str, changed: Mapping[str, object]) -> None:
    assert row in broken(replace(PERFECT, **changed))  # type: ignore[arg-type] # fields by name


def test_the_table_names_each_row_once() -> None:
    names = [row.id for row in rows()]
    assert len(names) == len(set(names))
    assert sum(row.level is Level.MUST for row in rows()) > 40


def test_what_an_image_says_of_itself() -> None:
    image = replace(PERFECT, labels={PYTHONS_LABEL: "3.9.2,3.13.5,3.14.1t"})
    found = wanted_of(image, "x")
    assert (found.policy, found.arch) == (Policy.MUSLLINUX_1_2, Arch.ARMV7L)
    assert found.pythons == (PythonTag(3, 9), PythonTag(3, 13), PythonTag(3, 14, free_threaded=True))
    silent = replace(image, env={})
    with pytest.raises(UsageError, match="does not say its policy"):
        wanted_of(silent, "x")
    assert wanted_of(silent, "x", Policy.MUSLLINUX_1_1).arch is Arch.ARMV7L


def an_engine(status: int, files: dict[str, File]) -> FakeEngine:
    """Every trial of the script says the same and ends with ``status``."""

    def answer(
        engine: FakeEngine, container: str, argv: Sequence[str], _: Mapping[str, str]
    ) -> tuple[int, bytes] | None:
        if argv[-1] == "cd /opt/python && ls -d cp*":
            return 0, b"cp313-cp313\n"
        if not argv[-1].endswith(SCRIPT):
            return None
        script = (engine.boxes[container].files[f"/{SCRIPT}"].data or b"").decode()
        marks = re.findall(r"printf '\\n%s (\d+) begin\\n' (\S+)", script)
        return 0, "".join(
            f"{mark} {at} begin\nsaid \x1b[31mthis\n{mark} {at} {status}\n" for at, mark in marks
        ).encode()

    engine = FakeEngine([answer])
    engine.add_image("image", Arch.ARMV7L, files={"/": File(), "/tmp": File(), **files})
    return engine


def test_trials_run_on_their_own_and_tell_how_they_ended(tmp_path: Path) -> None:
    trials = [
        Trial(script="cd /nonexistent || echo first; value=1; exit 3", variables={}),
        Trial(script='printf "%s %s" "$WHO" "${value:-unset}"', variables={"WHO": "it's $HOME"}),
        Trial(script="cat <<'END'\na)\n  b\nEND\necho to stderr >&2", variables={}),
        Trial(script='read line; echo "read: $line"', variables={}),
    ]
    path = tmp_path / "script"
    path.write_text(one_script(trials, {"ARCH": "x"}, "@mark"))
    said = subprocess.run(["/bin/sh", path], capture_output=True, text=True, check=True).stdout
    found = answers(said, "@mark")
    assert (found[0][0], found[0][1].splitlines()[-1]) == (3, "first")
    assert found[1] == (0, "it's $HOME unset")
    assert found[2] == (0, "a)\n  b\nto stderr\n")
    assert found[3][1].rstrip() == "read:"


def test_a_script_that_ends_early_leaves_the_rest_without_an_answer() -> None:
    assert answers("noise\n@m 0 begin\nx\n@m 0 0\n\n@m 1 begin\nkilled", "@m") == {0: (0, "x")}


def test_the_rows_are_scripts_that_a_shell_takes() -> None:
    trials = [Trial(script=row.script, variables={"TAG": "cp39-cp39"}) for row in rows()]
    script = one_script(trials, WANTED.environment, "@mark")
    assert subprocess.run(["/bin/sh", "-n"], input=script, text=True, check=False).returncode == 0


def test_an_image_whose_shell_does_not_start() -> None:
    engine = FakeEngine()
    engine.add_image("image", Arch.ARMV7L, files={"/": File(), "/tmp": File()})
    found = verify(Session(engine, ListProgress()), "image", PERFECT, WANTED)
    assert {result.status for result in found.results if result.id.startswith("X")} == {Status.FAIL}
    assert not found.passed


def test_a_slim_image_is_not_asked_for_what_it_leaves_out() -> None:
    slim = replace(PERFECT, labels={**PERFECT.labels, VARIANT_LABEL: "slim"})
    session = Session(an_engine(1, {}), ListProgress())
    found = {result.id: result.status for result in verify(session, "image", slim, WANTED).results}
    assert {id_ for id_, status in found.items() if status is Status.ABSENT} == set(
        absent_rows(lacks(slim.labels))
    ) & set(found)
    assert found["F8.gl"] is found["X5.uv"] is Status.ABSENT
    assert found["X5.gcc"] is found["F8.zlib"] is Status.FAIL
    lock = read_lock(shipped("dockerfiles") / "lock.toml")
    assert {name for row in lock.apks for name in row.extra} == {name for name in NOT_IN_SLIM if "." not in name}
    assert lacks(PERFECT.labels) == {}


@pytest.mark.parametrize(("status", "became"), [(0, Status.PASS), (1, Status.FAIL)])
def test_rows_follow_what_their_scripts_say(status: int, became: Status) -> None:
    engine = an_engine(status, {})
    wanted = replace(WANTED, pythons=(PythonTag(3, 9),))
    session = Session(engine, ListProgress())
    found = verify(session, "image", PERFECT, wanted, {"X5.gfortran": "not in this mirror"})
    scripts = [result for result in found.results if result.id.startswith(("X", "B", "F", "M"))]
    absent = [result for result in scripts if result.status is Status.ABSENT]
    assert [result.id for result in absent] == (["X5.gfortran"] if status else [])
    assert {result.status for result in scripts if result not in absent} == {became}
    assert {"F1.cp39-cp39", "F1.cp313-cp313", "B3.cp313-cp313"} <= {result.id for result in scripts}
    assert all("\x1b" not in result.evidence for result in found.results)
    assert found.passed is (status == 0)
    assert json.loads(json.dumps(found.to_json()))["passed"] is found.passed
    assert engine.boxes == {}
    # Every command of a 32-bit image runs under its personality.
    assert all(ran[0] == "linux32" for ran in engine.created[0].ran)


def test_a_package_stands_for_its_rows() -> None:
    known = {row.id for row in rows()}
    for package, ids in ROWS.items():
        assert set(ids) <= known, package
    found = absent_rows({"g++": "no package", "B5": "a reason of its own", "module.tkinter": "no tk"})
    assert found["X5.c++"] == "no package"
    assert found["B5"] == "a reason of its own"
    assert found["module.tkinter"] == "no tk"


def test_the_page_names_the_module_that_no_image_has() -> None:
    page = (Path(__file__).parents[2] / "docs" / "images.md").read_text(encoding="utf-8")
    absent = read_absent(Path(__file__).parents[1] / "lab" / "absent.toml")
    assert "module.tkinter" in absent
    assert "everything the reference images guarantee, but `tkinter` |" in page


@pytest.mark.parametrize("text", ["[other]\n", "[absent]\na = 1\n", "absent = 3\n", "["])
def test_a_file_that_is_no_table_of_what_is_absent(tmp_path: Path, text: str) -> None:
    (tmp_path / "absent.toml").write_text(text)
    with pytest.raises(UsageError):
        read_absent(tmp_path / "absent.toml")


def test_the_labs_list_names_packages_and_rows() -> None:
    known = {row.id for row in rows()} | set(ROWS)
    known |= {policy.platform_tag(arch) for policy in (Policy.MUSLLINUX_1_1, Policy.MUSLLINUX_1_2) for arch in Arch}
    listed = read_absent(Path(__file__).parents[1] / "lab" / "absent.toml")
    assert [name for name in listed if name not in known and not name.startswith("module.")] == []


def problems(files: Mapping[str, bytes]) -> Mapping[str, tuple[str, ...]]:
    tree, odd = read_tree([tar_of(dict(files))])
    return judge_tree(tree, odd, Policy.MUSLLINUX_1_2, Arch.X86_64).by_row


LOADER = build(Obj(exports=["malloc", "qsort_r"], interp=None, soname="libc.musl-x86_64.so.1"))
INTERP = "/lib/ld-musl-x86_64.so.1"


def test_a_sound_image_has_no_problem() -> None:
    program = build(Obj(interp=INTERP, needed=["libc.musl-x86_64.so.1"], undefined=["malloc"]))
    extension = build(Obj(undefined=["PyList_New", "malloc"], exports=["PyInit_x"]))
    files = {"lib/ld-musl-x86_64.so.1": LOADER, "usr/bin/tool": program, "opt/_internal/cpython-3/x.so": extension}
    assert problems(files) == {"A1": (), "A2": (), "A3": (), "A4": ()}


@pytest.mark.parametrize(
    ("row", "path", "obj", "said"),
    [
        ("A1", "opt/x.so", Obj(arch=Arch.AARCH64), "/opt/x.so is aarch64"),
        ("A2", "opt/x.so", Obj(undefined=["nobody_has"]), "/opt/x.so does not find nobody_has"),
        ("A2", "opt/x.so", Obj(needed=["libnot.so.1"]), "/opt/x.so does not find libnot.so.1"),
        ("A3", "opt/x.so", Obj(undefined=["qsort_r"]), "/opt/x.so needs qsort_r"),
        ("A3", "opt/x.so", Obj(relr=True), "/opt/x.so has DT_RELR"),
        ("A2", "usr/bin/x", Obj(interp=INTERP, undefined=["PyList_New"]), "/usr/bin/x does not find PyList_New"),
    ],
)
def test_each_odd_object_is_told(row: str, path: str, obj: Obj, said: str) -> None:
    found = problems({"lib/ld-musl-x86_64.so.1": LOADER, path: build(obj)})
    assert any(said in problem for problem in found[row]), found
    assert all(not others for name, others in found.items() if name != row)


def test_an_interpreter_must_not_need_the_distribution() -> None:
    module = build(Obj(needed=["libz.so.1"], exports=["PyInit_x"]))
    library = build(Obj(soname="libz.so.1"))
    found = problems(
        {"lib/ld-musl-x86_64.so.1": LOADER, "lib/libz.so.1": library, "opt/_internal/cpython-3/m.so": module}
    )
    assert found["A4"] == ("/opt/_internal/cpython-3/m.so needs libz.so.1, found at /lib/libz.so.1",)
