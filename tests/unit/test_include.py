from pathlib import Path

import pytest

from musllinux_build.audit.identity import merge_equal
from musllinux_build.audit.options import Include, RepairOptions
from musllinux_build.audit.repair import RepairReport, repair_wheel
from musllinux_build.elf.reader import read_elf
from musllinux_build.errors import RepairError, UsageError
from musllinux_build.wheel.contents import read_wheel
from tests.elfgen import Obj, build
from tests.unit.auditing import DictSysroot, extension, module_name, put_wheel

PLUG = build(Obj(soname="libplug.so.1", needed=["libdeep.so"], exports=["plug"]))
ROOT = DictSysroot(
    files={
        "/usr/lib/libplug.so.1.2": PLUG,
        "/usr/lib/libdeep.so": build(Obj(exports=["deep"])),
        "/opt/one/libs.so": build(Obj(exports=["one"])),
        "/opt/two/libs.so": build(Obj(exports=["two"])),
    },
    links={"/usr/lib/libplug.so": "/usr/lib/libplug.so.1.2", "/usr/lib/libplug.so.1": "/usr/lib/libplug.so.1.2"},
)


def repaired(path: Path, output: Path, *includes: str, root: DictSysroot | None = ROOT) -> RepairReport:
    options = RepairOptions(include=tuple(Include.parse(text) for text in includes))
    return repair_wheel(path, output, sysroot=root, options=options)


def needed(report: RepairReport, member: str) -> tuple[str, ...]:
    content = read_wheel(report.path.read_bytes(), report.path.name).read(member)
    facts = read_elf(content, member)
    assert facts is not None
    return facts.needed


@pytest.mark.parametrize("library", ["libplug.so.1", "/usr/lib/libplug.so.1", "libplug*", "/usr/lib/libplug.*"])
def test_an_included_library_keeps_its_name_and_brings_what_it_needs(tmp_path: Path, library: str) -> None:
    path = put_wheel(tmp_path, {module_name(): extension()})
    report = repaired(path, tmp_path / "out", library)
    plug, deep = sorted(report.grafts, key=lambda graft: not graft.reached)
    assert plug.member == "demo.libs/libplug.so.1"
    assert "by its path" in plug.reached
    assert needed(report, plug.member) == (deep.new_name,)
    assert deep.new_name.startswith("libdeep-")
    assert repaired(report.path, tmp_path / "again", library).copied


def test_a_member_comes_to_need_it(tmp_path: Path) -> None:
    path = put_wheel(tmp_path, {module_name(): extension(), module_name(name="demo/y"): extension()})
    report = repaired(path, tmp_path / "out", "libplug.so.1=demo/x*")
    assert needed(report, module_name()) == ("libplug.so.1",)
    assert needed(report, module_name(name="demo/y")) == ()
    (plug,) = (graft for graft in report.grafts if graft.reached)
    assert plug.reached == f"dlopen('libplug.so.1') finds it once {module_name()} is loaded"
    assert [change.added_needed for change in report.changes] == [("libplug.so.1",)]
    # The wheel has it: no root is asked for again.
    assert repaired(report.path, tmp_path / "again", "libplug.so.1=demo/x*", root=None).copied


@pytest.mark.parametrize(
    ("include", "root", "message"),
    [
        ("libnone.so", ROOT, "is not in the root"),
        ("lib*none", ROOT, "is not in the root"),
        ("/usr/lib/libnone.so", ROOT, "is not in the root"),
        ("libplug.so.1", None, "no root"),
        ("libplug.so.1=demo/z*", ROOT, "matches no object"),
    ],
)
def test_an_include_of_nothing_is_an_error(
    tmp_path: Path, include: str, root: DictSysroot | None, message: str
) -> None:
    path = put_wheel(tmp_path, {module_name(): extension()})
    with pytest.raises(UsageError, match=message):
        repaired(path, tmp_path / "out", include, root=root)
    assert not (tmp_path / "out").exists()


def test_a_need_that_depends_on_who_loads_is_refused(tmp_path: Path) -> None:
    files = {
        "demo/libown.so": build(Obj(needed=["libs.so"])),
        module_name(name="demo/x"): extension(needed=["libown.so"], rpath="$ORIGIN:/opt/one"),
        module_name(name="demo/y"): extension(needed=["libown.so"], rpath="$ORIGIN:/opt/two"),
    }
    with pytest.raises(RepairError) as caught:
        repaired(put_wheel(tmp_path, files), tmp_path / "out")
    assert "demo/libown.so: needs libs.so, which is /opt/one/libs.so or /opt/two/libs.so" in caught.value.details
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("rpath", "warned"), [(None, True), ("$ORIGIN", True), ("$ORIGIN/../other.libs", False)])
def test_an_excluded_library_that_nobody_finds_is_told(tmp_path: Path, rpath: str | None, warned: bool) -> None:
    path = put_wheel(tmp_path, {module_name(): extension(needed=["libplug.so.1"], rpath=rpath)})
    report = repair_wheel(path, tmp_path / "out", sysroot=ROOT, options=RepairOptions(exclude=("libplug*",)))
    assert ("excluded-not-reachable" in {finding.rule for finding in report.verdict.findings}) is warned


def test_the_same_library_is_one_also_within_cycles() -> None:
    content = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "c": "c", "a3": "a"}
    needs = {
        "a1": {"b": "b1"},
        "b1": {"a": "a1"},
        "a2": {"b": "b2"},
        "b2": {"a": "a2"},
        "a3": {"b": "c"},  # the same bytes, and something else behind them
        "c": {},
    }
    merged = merge_equal(needs, content.__getitem__)
    assert merged == {"a1": "a1", "a2": "a1", "b1": "b1", "b2": "b1", "a3": "a3", "c": "c"}
