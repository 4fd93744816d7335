"""The drop-in: the reference's words, statuses and fields, on wheels and roots from bytes."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from pathlib import Path

import pytest

from musllinux_build.api import read
from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.tags import MusllinuxTag
from musllinux_build_auditwheel.main import main
from musllinux_build_auditwheel.target import choose_target, running_musl
from tests.elfgen import Obj, build
from tests.unit.auditing import extension, module_name, put_wheel

FIELDS = {
    *("version", "wheel", "pure", "overall_tag", "sym_tag", "pyfpe", "ucs2", "unsupported_isa"),
    *("versioned_symbols", "external_libs", "policy_upgrades"),
}
"""Those of the reference's `show --json`, schema version 1, all of them required."""
REAL = "/usr/lib/libyaml-0.so.2.0.9"


@pytest.fixture
def needs(tmp_path: Path) -> Path:
    versions = {"libyaml-0.so.2": ["YAML_1"]}
    return put_wheel(tmp_path, {module_name(): extension(needed=["libyaml-0.so.2"], versions=versions)})


@pytest.fixture
def pure(tmp_path: Path) -> Path:
    return put_wheel(tmp_path, {"pure.py": b""}, distribution="pure", tag="py3-none-any")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    (place / "usr/lib").mkdir(parents=True)
    (place / REAL[1:]).write_bytes(build(Obj(soname="libyaml-0.so.2")))
    (place / "usr/lib/libyaml-0.so.2").symlink_to(REAL)
    return place


def run(*arguments: object, **environment: str) -> int:
    try:
        return main([str(argument) for argument in arguments], environment)
    except SystemExit as stop:
        return int(str(stop.code))


def shown(capsys: pytest.CaptureFixture[str], *arguments: object, **environment: str) -> dict[str, object]:
    assert run("show", "--json", *arguments, **environment) == 0
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


def test_programs_that_parse_the_version_get_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    line = capsys.readouterr().out
    assert re.match(r"auditwheel \d+\.\d+\.\d+ ", line)
    assert "musllinux-build-auditwheel" in line
    assert line.count("\n") == 1


def test_show_has_the_reference_s_fields_and_ours(needs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = shown(capsys, needs)
    assert document.keys() == {*FIELDS, "musllinux_build"}
    assert (document["overall_tag"], document["sym_tag"]) == ("linux_x86_64", "musllinux_1_2_x86_64")
    assert document["external_libs"] == {"libyaml-0.so.2": None}
    assert document["versioned_symbols"] == {"libyaml-0.so.2": ["YAML_1"]}
    assert document["policy_upgrades"] == {"musllinux_1_2_x86_64": {"libs_to_eliminate": ["libyaml-0.so.2"]}}


def test_show_says_where_the_root_has_it(needs: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, needs, "--root", root)["external_libs"] == {"libyaml-0.so.2": "/usr/lib/libyaml-0.so.2"}
    (root / "opt").mkdir()
    (root / "usr/lib/libyaml-0.so.2").rename(root / "opt/libyaml-0.so.2")
    found = {"libyaml-0.so.2": "/opt/libyaml-0.so.2"}
    assert shown(capsys, needs, "--root", root)["external_libs"] == {"libyaml-0.so.2": None}
    assert shown(capsys, needs, "--root", root, "--ldpaths", "/opt:/lib")["external_libs"] == found
    for variable in ("AUDITWHEEL_LD_LIBRARY_PATH", "LD_LIBRARY_PATH"):
        assert shown(capsys, needs, "--root", root, **{variable: "relative:/opt"})["external_libs"] == found


def test_a_platform_wheel_is_shown_with_status_0_whatever_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tag = "cp313-cp313-musllinux_1_1_x86_64"
    newer = put_wheel(tmp_path, {module_name(): extension(undefined=["gettid"])}, tag=tag)
    assert shown(capsys, newer)["overall_tag"] == "musllinux_1_2_x86_64"
    assert run("show", newer) == 0
    told = capsys.readouterr().out
    assert 'platform tag: "musllinux_1_2_x86_64"' in " ".join(told.split())
    assert "symbol-too-new" in told
    fine = put_wheel(tmp_path, {module_name(): extension()}, distribution="fine")
    assert run("show", fine) == 0
    assert "not good" not in capsys.readouterr().out


def test_pure_wheels_are_status_1_unless_allowed(
    pure: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("show", pure) == 1
    assert "not look like a platform wheel" in capsys.readouterr().out
    assert run("show", "--json", pure) == 1
    assert json.loads(capsys.readouterr().out).keys() == {"version", "wheel", "error"}
    assert shown(capsys, pure, "--allow-pure-python-wheel") == {"version": 1, "wheel": pure.name, "pure": True}
    assert run("repair", pure, "-w", tmp_path / "out") == 1
    assert not (tmp_path / "out").exists()
    assert run("repair", pure, "-w", tmp_path / "out", "--allow-pure-python-wheel") == 0
    assert (tmp_path / "out" / pure.name).read_bytes() == pure.read_bytes()


def test_repair_grafts_and_tags(needs: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run("repair", "-w", out, "--root", root, "-L", "/libs", "-z", 9, needs, SOURCE_DATE_EPOCH="0") == 0
    said = capsys.readouterr()
    (name,) = [path.name for path in out.iterdir()]
    assert name == "demo-1.0-cp313-cp313-musllinux_1_2_x86_64.whl"
    assert f"Fixed-up wheel written to {out / name}" in said.err
    assert not said.out
    assert any(member.startswith("demo/libs/libyaml-0-") for member in read(out / name).wheel.files)
    first = hashlib.sha256((out / name).read_bytes()).digest()
    assert run("repair", "-w", out, "--root", root, out / name) == 0
    assert hashlib.sha256((out / name).read_bytes()).digest() == first


def test_a_refused_repair_leaves_nothing(needs: Path, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("repair", "-w", out, needs) == 1
    assert run("repair", "-w", out, "--root", root, "--patcher", "none", needs) == 1
    broken = tmp_path / "broken-1.0-cp313-cp313-linux_x86_64.whl"
    broken.write_bytes(b"no zip")
    assert run("repair", "-w", out, broken) == 1
    assert run("show", broken) == 1
    assert not list(out.iterdir())
    assert run("repair", "-w", out, "--exclude", "libyaml*", needs) == 0


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--plat", "manylinux_2_17_x86_64"], {}),
        (["--plat", "musllinux_9_9_x86_64"], {}),
        ([], {"AUDITWHEEL_PLAT": "musllinux_9_9_x86_64"}),
        ([], {"AUDITWHEEL_POLICY": "manylinux_2_17"}),
        ([], {"AUDITWHEEL_ZIP_COMPRESSION_LEVEL": "11"}),
        ([], {"SOURCE_DATE_EPOCH": "now"}),
        (["--exclude", "libnothing*"], {}),
        (["-z", "x"], {}),
        (["no-such.whl"], {}),
    ],
)
def test_wrong_usage_is_status_2(
    tmp_path: Path, needs: Path, root: Path, arguments: list[str], environment: dict[str, str]
) -> None:
    assert run("repair", "-w", tmp_path / "out", "--root", root, *arguments, needs, **environment) == 2
    assert not list((tmp_path / "out").glob("*"))


def with_isa_note(content: bytes, level: int) -> bytes:
    """A 64-bit object whose stack header became a note: the levels of x86-64 that it needs (.note.gnu.property)."""
    note = struct.pack("<3L4s2L2L", 4, 16, 5, b"GNU\0", 0xC0008002, 4, (1 << level) - 1, 0)
    (first,), (count,) = struct.unpack_from("<Q", content, 32), struct.unpack_from("<H", content, 56)
    headers = [first + 56 * at for at in range(count)]
    (stack,) = [at for at in headers if content[at : at + 4] == struct.pack("<L", 0x6474E551)]
    header = struct.pack("<2L6Q", 4, 4, len(content), 0, 0, len(note), len(note), 8)
    return content[:stack] + header + content[stack + 56 :] + note


def test_an_extended_instruction_set_keeps_a_wheel_from_its_tag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put_wheel(tmp_path, {module_name(): with_isa_note(extension(), level=3)})
    document = shown(capsys, path)
    assert (document["unsupported_isa"], document["overall_tag"]) == (True, "linux_x86_64")
    document = shown(capsys, path, "--disable-isa-ext-check")
    assert (document["unsupported_isa"], document["overall_tag"]) == (False, "musllinux_1_2_x86_64")
    assert run("repair", "-w", tmp_path / "out", path) == 1
    assert run("repair", "-w", tmp_path / "out", "--disable-isa-ext-check", path) == 0


def test_the_policy_is_asked_for_in_order(tmp_path: Path, needs: Path) -> None:
    one_one = MusllinuxTag(series=(1, 1), arch="x86_64")
    tagged = put_wheel(tmp_path, {module_name(): extension()}, tag="cp313-cp313-musllinux_1_1_x86_64")
    image = {"AUDITWHEEL_POLICY": "musllinux_1_2", "AUDITWHEEL_ARCH": "x86_64"}

    def chosen(path: Path, environment: dict[str, str], plat: str = "auto") -> str:
        return choose_target(read(path), environment, plat=plat, running=one_one).policy.value

    assert chosen(tagged, image, "musllinux_1_2_x86_64") == "musllinux_1_2"
    assert chosen(tagged, image) == "musllinux_1_1"
    assert chosen(needs, image) == "musllinux_1_2"
    assert chosen(needs, {}) == "musllinux_1_1"
    foreign = choose_target(read(needs), {}, plat="musllinux_1_2_s390x", running=one_one)
    assert (foreign.arch, foreign.sysroot) == (Arch.S390X, None)
    assert choose_target(read(needs), {}, running=one_one).sysroot is not None
    with pytest.raises(UsageError):
        choose_target(read(needs), {}, running=MusllinuxTag(series=(9, 9), arch="x86_64"))


def test_a_wheel_of_another_platform_is_measured_where_the_image_says_against_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put_wheel(tmp_path, {module_name(): extension()}, tag="cp313-cp313-manylinux_2_17_x86_64")
    with pytest.raises(UsageError, match="promises no musllinux"):
        choose_target(read(path), {})
    assert choose_target(read(path), {}, running=MusllinuxTag(series=(1, 1), arch="x86_64")).policy.value
    assert shown(capsys, path, AUDITWHEEL_POLICY="musllinux_1_2")["overall_tag"] == "musllinux_1_2_x86_64"
    assert choose_target(read(path), {}, plat="musllinux_1_1_x86_64").policy.value == "musllinux_1_1"


def test_the_running_musl_is_the_newest_tag_an_interpreter_accepts() -> None:
    tags = ["linux_x86_64", "musllinux_1_2_x86_64", "musllinux_1_1_x86_64"]
    assert running_musl(tags) == MusllinuxTag(series=(1, 2), arch="x86_64")
    assert running_musl(["manylinux_2_36_x86_64"]) is None


def test_lddtree_is_json(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "x.so"
    place.write_bytes(extension(needed=["libyaml-0.so.2", "libnone.so.1", "libc.musl-x86_64.so.1"]))
    assert run("lddtree", "--root", root, place) == 0
    tree = json.loads(capsys.readouterr().out)
    found = {name: library["realpath"] for name, library in tree["libraries"].items()}
    assert found == {"libyaml-0.so.2": REAL, "libnone.so.1": None, "libc.musl-x86_64.so.1": None}
    assert tree["libraries"]["libc.musl-x86_64.so.1"]["is_libc"]
    (tmp_path / "text").write_text("no ELF")
    assert run("lddtree", tmp_path / "text") == 1
    assert run("lddtree", tmp_path / "none") == 1


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert "lddtree" in capsys.readouterr().out
