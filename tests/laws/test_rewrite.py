"""Wheels that somebody else repaired: what an edit mends is mended, what changes gets a new name, the rest stays."""

import re
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musllinux_build.arch import Arch
from musllinux_build.audit.options import RepairOptions
from musllinux_build.audit.repair import RepairReport, repair_wheel
from musllinux_build.elf.facts import ElfFacts, Hazard
from musllinux_build.elf.reader import read_elf
from tests.elfgen import Obj, build
from tests.unit.auditing import DictSysroot, extension, module_name, put_wheel

OLD = "demo.libs/liba-0cd532bd.so.1"
TAG = "cp313-cp313-musllinux_1_2_{}"


def wheel(directory: Path, files: Mapping[str, bytes], arch: Arch = Arch.X86_64) -> Path:
    directory.mkdir(exist_ok=True)
    return put_wheel(directory, files, arch, tag=TAG.format(arch.value))


def repaired(path: Path, output: Path, options: RepairOptions | None = None) -> RepairReport:
    return repair_wheel(path, output, sysroot=None, options=options or RepairOptions())


def objects(path: Path) -> Mapping[str, ElfFacts]:
    with zipfile.ZipFile(path) as archive:
        found = {name: read_elf(archive.read(name), name) for name in archive.namelist()}
    return {name: facts for name, facts in found.items() if facts}


def user(needed: str = "liba-0cd532bd.so.1", arch: Arch = Arch.X86_64, **parts: object) -> bytes:
    return extension(arch, needed=[needed], rpath="$ORIGIN/../demo.libs", **parts)


@pytest.mark.parametrize("arch", list(Arch))
def test_a_library_that_is_mended_is_renamed_and_found(tmp_path: Path, arch: Arch) -> None:
    library = build(Obj(arch=arch, soname="liba-0cd532bd.so.1", exports=["a"], relr=True))
    other = build(Obj(arch=arch, soname="libb-1cd532bd.so", needed=["liba-0cd532bd.so.1"], rpath="$ORIGIN"))
    files = {
        OLD: library,
        "demo.libs/libb-1cd532bd.so": other,
        module_name(arch): user("libb-1cd532bd.so", arch),
        module_name(arch, "demo/y"): extension(arch),
    }
    report = repaired(wheel(tmp_path, files, arch), tmp_path / "out")
    facts = objects(report.path)
    now = {change.was: change.member for change in report.changes}
    assert now.keys() == {OLD, "demo.libs/libb-1cd532bd.so", module_name(arch)}
    assert re.fullmatch(r"demo\.libs/liba-[0-9a-f]{12}\.so\.1", now[OLD])
    assert OLD not in facts
    renamed, following = now[OLD].rpartition("/")[2], now["demo.libs/libb-1cd532bd.so"].rpartition("/")[2]
    assert facts[now[OLD]].soname == renamed
    assert Hazard.RELR not in facts[now[OLD]].hazards
    assert facts[f"demo.libs/{following}"].needed == (renamed,)
    assert facts[module_name(arch)].needed == (following,)
    assert report.grafts == ()
    assert report.verdict.conforms


def test_an_extension_is_edited_in_place(tmp_path: Path) -> None:
    report = repaired(wheel(tmp_path, {module_name(): extension(relr=True)}), tmp_path / "out")
    (change,) = report.changes
    assert (change.member, change.was, change.expanded_relr) == (module_name(), module_name(), True)


@pytest.mark.parametrize(
    ("member", "source"),
    [
        ("demo/libpublic.so.3", b""),  # a name without a hash may be known to other packages
        (OLD, b"ctypes.CDLL(here / 'liba-0cd532bd.so.1')"),
    ],
)
def test_names_that_somebody_may_know_stay(tmp_path: Path, member: str, source: bytes) -> None:
    name = member.rpartition("/")[2]
    module = extension(needed=[name], rpath="$ORIGIN:$ORIGIN/../demo.libs")
    files = {member: build(Obj(relr=True)), module_name(): module, "demo/__init__.py": source}
    report = repaired(wheel(tmp_path, files), tmp_path / "out")
    assert [(change.member, change.was) for change in report.changes] == [(member, member)]


def test_a_library_that_only_ctypes_opens_keeps_its_name(tmp_path: Path) -> None:
    report = repaired(wheel(tmp_path, {OLD: build(Obj(relr=True)), module_name(): extension()}), tmp_path / "out")
    assert [change.member for change in report.changes] == [OLD]


@pytest.mark.parametrize(
    ("search_path", "kept"),
    [
        ("/usr/local/lib:$ORIGIN/../demo.libs", "$ORIGIN/../demo.libs"),
        ("$LIB/x:$ORIGIN/own:$ORIGIN/../../../../lib", "$ORIGIN/own"),
        ("/opt", None),
    ],
)
def test_search_paths_are_mended(tmp_path: Path, search_path: str, kept: str | None) -> None:
    report = repaired(wheel(tmp_path, {module_name(): extension(rpath=search_path)}), tmp_path / "out")
    assert objects(report.path)[module_name()].search_path == kept
    assert not [finding for finding in report.verdict.findings if finding.rule.startswith("search-path")]


def test_a_wheel_with_nothing_to_mend_is_copied(tmp_path: Path) -> None:
    path = wheel(tmp_path, {OLD: build(Obj(exports=["a"])), module_name(): user(undefined=["a"])})
    report = repaired(path, tmp_path / "out")
    assert (report.path.read_bytes(), report.copied, report.changes) == (path.read_bytes(), True, ())


def test_other_platforms_of_an_untouched_wheel_stay(tmp_path: Path) -> None:
    tag = "py3-none-manylinux_2_17_x86_64.musllinux_1_1_x86_64"
    path = put_wheel(tmp_path, {"demo/libx.so": build(Obj())}, tag=tag, wheel_file=wheel_file(tag))
    report = repaired(path, tmp_path / "out")
    assert (report.path.name, report.copied) == (path.name, True)


def wheel_file(tag: str) -> str:
    python, abi, platforms = tag.split("-")
    tags = "".join(f"Tag: {python}-{abi}-{platform}\n" for platform in platforms.split("."))
    return f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\n{tags}"


def test_the_stack_flag_goes_when_asked_for(tmp_path: Path) -> None:
    path = wheel(tmp_path, {module_name(): extension(exec_stack=True)})
    assert repaired(path, tmp_path / "out").copied
    report = repaired(path, tmp_path / "clear", RepairOptions(clear_exec_stack=True))
    assert not objects(report.path)[module_name()].hazards


def test_stripping_takes_what_is_not_loaded_and_is_stable(tmp_path: Path) -> None:
    library = build(Obj(exports=["a"])) + b"debug" * 999
    path = wheel(tmp_path, {OLD: library, module_name(): user()})
    assert repaired(path, tmp_path / "plain").copied
    report = repaired(path, tmp_path / "out", RepairOptions(strip=True))
    (renamed,) = (change.member for change in report.changes if change.stripped)
    assert renamed != OLD
    with zipfile.ZipFile(report.path) as archive:
        assert archive.getinfo(renamed).file_size < len(library) - 4000
    assert repaired(report.path, tmp_path / "again", RepairOptions(strip=True)).copied


def tool(arch: Arch = Arch.X86_64) -> bytes:
    return build(Obj(arch=arch, interp=f"/lib/{arch.row.loader}", needed=["liba.so", "libc.so"]))


def test_a_program_of_scripts_moves_beside_its_libraries(tmp_path: Path) -> None:
    root = DictSysroot(files={"/lib/liba.so": build(Obj(exports=["a"]))})
    files = {
        module_name(): extension(),
        "demo-1.0.data/scripts/tool": tool(),
        "demo-1.0.data/scripts/other": b"#!/bin/sh",
    }
    report = repair_wheel(wheel(tmp_path, files), tmp_path / "out", sysroot=root)
    assert objects(report.path)["demo.scripts/tool"].search_path == "$ORIGIN/../demo.libs"
    with zipfile.ZipFile(report.path) as archive:
        shim = archive.read("demo-1.0.data/scripts/tool")
        modes = {name: archive.getinfo(name).external_attr >> 16 for name in archive.namelist()}
    assert shim.startswith(b"#!python\n")
    compile(shim, "tool", "exec")
    for name in ("demo-1.0.data/scripts/tool", "demo-1.0.data/scripts/other", "demo.scripts/tool"):
        assert stat.S_IMODE(modes[name]) == 0o755
    assert repair_wheel(report.path, tmp_path / "again", sysroot=root).copied


def test_a_program_does_not_move_over_another_file(tmp_path: Path) -> None:
    root = DictSysroot(files={"/lib/liba.so": build(Obj(exports=["a"]))})
    files = {"demo-1.0.data/scripts/tool": tool(), "demo.scripts/tool": b"taken"}
    with pytest.raises(Exception, match="that file exists"):
        repair_wheel(wheel(tmp_path, files), tmp_path / "out", sysroot=root)


NAMES = ["liba-0cd532bd.so.1", "libb.so", "libc-0123456789ab.so.2", "libd-8badf00d.so"]


@st.composite
def wheels(draw: st.DrawFn) -> Mapping[str, bytes]:
    """Wheels with some libraries that need each other and themselves, and have something to mend or not."""
    present = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    some = st.lists(st.sampled_from(present), unique=True, max_size=3)
    paths = st.sampled_from(["$ORIGIN", "$ORIGIN:/opt", "$ORIGIN:$LIB", "$ORIGIN:$ORIGIN/../../../../.."])
    files = {
        f"demo.libs/{name}": build(
            Obj(soname=name, exports=[f"f{at}"], needed=draw(some), rpath=draw(paths), relr=draw(st.booleans()))
        )
        for at, name in enumerate(present)
    }
    for name in draw(st.lists(st.sampled_from(["demo/x", "demo/y"]), min_size=1, unique=True)):
        files[module_name(name=name)] = user(draw(st.sampled_from(present)), relr=draw(st.booleans()))
    return files


@given(files=wheels())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_repairing_twice_is_repairing_once(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    path = wheel(tmp_path, files)
    once = repaired(path, tmp_path / "once")
    twice = repaired(once.path, tmp_path / "twice")
    assert once.path.read_bytes() == twice.path.read_bytes()
    assert twice.copied
    facts = objects(once.path)
    assert len(facts) == len(files)
    assert not [name for name, found in facts.items() if Hazard.RELR in found.hazards]
    libraries = {name.rpartition("/")[2] for name in facts if name.startswith("demo.libs/")}
    for name, found in facts.items():
        assert set(found.needed) <= libraries, name
    assert repaired(path, tmp_path / "other").sha256 == once.sha256


PLACES = ["/opt/one", "/opt/two", "/opt/three"]


@st.composite
def roots(draw: st.DrawFn) -> DictSysroot:
    """Directories with a library of one name, some of them equal, that need another of one name, some of them equal."""
    files = {}
    for place in PLACES:
        inner, outer = draw(st.sampled_from("ab")), draw(st.sampled_from("cd"))
        files[f"{place}/libinner.so"] = build(Obj(exports=[inner]))
        files[f"{place}/libouter.so"] = build(Obj(needed=["libinner.so"], rpath="$ORIGIN", exports=[outer]))
    return DictSysroot(files=files)


@given(root=roots())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_user_gets_its_own_library_and_equal_ones_are_one(tmp_path: Path, root: DictSysroot) -> None:
    modules = {module_name(name=f"demo{place}"): place for place in PLACES}
    files = {name: extension(needed=["libouter.so"], rpath=place) for name, place in modules.items()}
    report = repair_wheel(wheel(tmp_path, files), tmp_path / "out", sysroot=root)
    facts = objects(report.path)
    for name, place in modules.items():
        (outer,) = facts[name].needed
        (inner,) = facts[f"demo.libs/{outer}"].needed
        for library, new in (("libouter.so", outer), ("libinner.so", inner)):
            original = read_elf(root.files[f"{place}/{library}"], library)
            assert original is not None
            assert facts[f"demo.libs/{new}"].exports == original.exports
    pairs = {(root.files[f"{place}/libouter.so"], root.files[f"{place}/libinner.so"]) for place in PLACES}
    inners = {inner for _, inner in pairs}
    assert len(report.grafts) == len(pairs) + len(inners)
    assert repair_wheel(report.path, tmp_path / "again", sysroot=root).copied
