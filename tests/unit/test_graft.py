import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musllinux_build.arch import Arch
from musllinux_build.audit.naming import HASH_DIGITS, has_hash, hashed_name, unhashed_name
from musllinux_build.audit.repair import RepairReport, repair_wheel
from musllinux_build.elf.closure import is_reserved
from musllinux_build.elf.edit import ElfEdit
from musllinux_build.elf.facts import ElfFacts
from musllinux_build.elf.reader import read_elf
from musllinux_build.errors import PureProjectError, RepairError, WheelError
from musllinux_build.policy import Policy
from tests.elfgen import Obj, build
from tests.unit.auditing import DictSysroot, extension, module_name, put_wheel, rebuild

YAML = "/usr/lib/libyaml-0.so.2.0.9"


def yaml_root(arch: Arch = Arch.X86_64) -> DictSysroot:
    return DictSysroot(
        files={YAML: build(Obj(arch=arch, soname="libyaml-0.so.2", exports=["yaml_parse"], needed=["libc.so"]))},
        links={"/usr/lib/libyaml-0.so.2": YAML},
    )


def repaired(path: Path, output: Path, sysroot: DictSysroot | None) -> RepairReport:
    return repair_wheel(path, output, sysroot=sysroot)


def objects(path: Path) -> Mapping[str, ElfFacts]:
    with zipfile.ZipFile(path) as archive:
        found = {name: read_elf(archive.read(name), name) for name in archive.namelist()}
    return {name: facts for name, facts in found.items() if facts}


@pytest.mark.parametrize("arch", list(Arch))
def test_a_library_is_grafted_and_its_user_finds_it(tmp_path: Path, arch: Arch) -> None:
    module = extension(arch, needed=["libyaml-0.so.2", "libc.so"], undefined=["yaml_parse"])
    report = repaired(put_wheel(tmp_path, {module_name(arch): module}, arch), tmp_path / "out", yaml_root(arch))
    (graft,) = report.grafts
    assert report.path.name == f"demo-1.0-cp313-cp313-musllinux_1_2_{arch.value}.whl"
    assert (graft.soname, graft.source_path) == ("libyaml-0.so.2", YAML)
    assert re.fullmatch(r"libyaml-0-[0-9a-f]{12}\.so\.2\.0\.9", graft.new_name)
    facts = objects(report.path)
    assert facts[f"demo.libs/{graft.new_name}"].soname == graft.new_name
    assert facts[f"demo.libs/{graft.new_name}"].search_path is None
    assert facts[module_name(arch)].needed == (graft.new_name, "libc.so")
    assert facts[module_name(arch)].search_path == "$ORIGIN/../demo.libs"
    assert report.verdict.findings == ()
    assert [path.name for path in (tmp_path / "out").iterdir()] == [report.path.name]
    assert (report.size, report.floor) == (report.path.stat().st_size, report.verdict.floor)


def test_a_repaired_wheel_is_repaired_to_itself(tmp_path: Path) -> None:
    path = put_wheel(tmp_path, {module_name(): extension(needed=["libyaml-0.so.2"])})
    first = repaired(path, tmp_path / "a", yaml_root())
    again = repaired(path, tmp_path / "b", yaml_root())
    second = repaired(first.path, tmp_path / "c", None)
    assert first.sha256 == again.sha256 == second.sha256
    assert second.grafts == ()


def test_the_search_path_follows_the_installed_layout(tmp_path: Path) -> None:
    files = {
        module_name(name="demo-1.0.data/platlib/demo/sub/x"): extension(
            needed=["libyaml-0.so.2"], rpath="$ORIGIN/own:/opt"
        ),
        "demo/sub/own/libown.so": build(Obj()),
    }
    report = repaired(put_wheel(tmp_path, files), tmp_path / "out", yaml_root())
    name = module_name(name="demo-1.0.data/platlib/demo/sub/x")
    assert objects(report.path)[name].search_path == "$ORIGIN/own:$ORIGIN/../../demo.libs"


def test_two_libraries_with_one_soname_both_survive(tmp_path: Path) -> None:
    root = DictSysroot(
        files={
            "/opt/one/liba.so.1": build(Obj(soname="liba.so.1", exports=["one"])),
            "/opt/two/liba.so.1": build(Obj(soname="liba.so.1", exports=["two"])),
        }
    )
    files = {
        module_name(name="demo/x"): extension(needed=["liba.so.1"], undefined=["one"], rpath="/opt/one"),
        module_name(name="demo/y"): extension(needed=["liba.so.1"], undefined=["two"], rpath="/opt/two"),
    }
    report = repaired(put_wheel(tmp_path, files), tmp_path / "out", root)
    facts = objects(report.path)
    assert len({graft.new_name for graft in report.grafts}) == 2
    for module, symbol in (("demo/x", "one"), ("demo/y", "two")):
        (needed,) = facts[module_name(name=module)].needed
        assert facts[f"demo.libs/{needed}"].exports == {symbol}


def test_libraries_that_need_each_other(tmp_path: Path) -> None:
    root = DictSysroot(
        files={
            "/usr/lib/liba.so": build(Obj(needed=["libb.so"], exports=["a"], undefined=["b"])),
            "/usr/lib/libb.so": build(Obj(needed=["liba.so", "libz.so.1"], exports=["b"], undefined=["a"])),
            "/lib/libz.so.1": build(Obj(exports=["inflate"])),
        }
    )
    path = put_wheel(tmp_path, {module_name(): extension(needed=["liba.so"], undefined=["a"])})
    report = repaired(path, tmp_path / "out", root)
    names = {graft.source_path: graft.new_name for graft in report.grafts}
    facts = objects(report.path)
    assert facts[f"demo.libs/{names['/usr/lib/liba.so']}"].needed == (names["/usr/lib/libb.so"],)
    assert facts[f"demo.libs/{names['/usr/lib/libb.so']}"].needed == (
        names["/usr/lib/liba.so"],
        names["/lib/libz.so.1"],
    )
    assert {item.search_path for name, item in facts.items() if "libb" in name or "liba" in name} == {"$ORIGIN"}


def test_equal_libraries_that_need_each_other_are_one(tmp_path: Path) -> None:
    library = build(Obj(exports=["f"], needed=["liba.so", "libb.so"]))
    root = DictSysroot(files={"/usr/lib/liba.so": library, "/usr/lib/libb.so": library})
    module = extension(needed=["liba.so", "libb.so"], undefined=["f"])
    report = repaired(put_wheel(tmp_path, {module_name(): module}), tmp_path / "out", root)
    (graft,) = report.grafts
    assert objects(report.path)[module_name()].needed == (graft.new_name, graft.new_name)


def test_the_name_depends_on_what_a_library_needs(tmp_path: Path) -> None:
    def name_of_a(export: str) -> str:
        root = DictSysroot(
            files={
                "/lib/liba.so": build(Obj(needed=["libb.so"])),
                "/lib/libb.so": build(Obj(exports=[export])),
            }
        )
        path = put_wheel(tmp_path, {module_name(): extension(needed=["liba.so"])})
        report = repaired(path, tmp_path / export, root)
        return next(graft.new_name for graft in report.grafts if graft.source_path == "/lib/liba.so")

    assert name_of_a("one") != name_of_a("two")


@given(st.from_regex(r"[a-z.]{1,6}(\.so(\.[0-9]{1,2}){0,2})?", fullmatch=True))
@settings(max_examples=50, deadline=None)
def test_no_name_is_one_that_musl_takes_for_itself(name: str) -> None:
    new_name = hashed_name(name, "0123456789ab")
    assert not is_reserved(new_name)
    assert has_hash(new_name)
    assert hashed_name(unhashed_name(new_name), "0123456789ab") == new_name
    assert len(hashed_name(name, "0" * HASH_DIGITS)) == len(new_name)


@pytest.mark.parametrize(
    ("file", "grafted"),
    [
        ("libm-x.so.6", "libm-x-0.so.6"),
        ("libc.extra.so", "grafted-libc.extra-0.so"),
        ("libc++.so.1", "libc++-0.so.1"),
        ("plugin", "plugin-0.so"),
    ],
)
def test_names(file: str, grafted: str) -> None:
    assert hashed_name(file, "0") == grafted


@pytest.mark.parametrize(
    ("file", "plain"),
    [
        ("libgcc_s-0cd532bd.so.1", "libgcc_s.so.1"),
        ("libgcc_s-0cd532bd-c8f934f9.so.1", "libgcc_s.so.1"),
        ("libyaml-0-0123456789ab.so.2.0.9", "libyaml-0.so.2.0.9"),
        ("libicu-74.so", "libicu-74.so"),
        ("libarrow.so.2600", "libarrow.so.2600"),
    ],
)
def test_hashes_of_tools_are_taken_off(file: str, plain: str) -> None:
    assert unhashed_name(file) == plain
    assert has_hash(file) is (file != plain)


@pytest.mark.parametrize(
    ("root", "message"),
    [
        (
            DictSysroot(files={}),
            "needs libyaml-0.so.2, which musl does not find in the wheel, its search path or the root",
        ),
        (DictSysroot(files={"/lib/libyaml-0.so.2": b"text"}), "is no ELF object; musl stops there"),
        (DictSysroot(files={"/lib/libyaml-0.so.2": build(Obj(undefined=["statx"]))}), "needs statx"),
    ],
)
def test_a_refused_wheel_leaves_nothing(tmp_path: Path, root: DictSysroot, message: str) -> None:
    path = put_wheel(tmp_path, {module_name(): extension(needed=["libyaml-0.so.2"])})
    with pytest.raises(RepairError, match=re.escape(message)) as caught:
        repaired(path, tmp_path / "out", root)
    assert caught.value.resolution
    assert not (tmp_path / "out").exists()


def test_what_lies_in_data_cannot_reach_grafts(tmp_path: Path) -> None:
    tool = build(Obj(interp="/lib/ld-musl-x86_64.so.1", needed=["libyaml-0.so.2"]))
    path = put_wheel(tmp_path, {"demo-1.0.data/data/bin/tool": tool})
    with pytest.raises(RepairError, match="no fixed distance"):
        repaired(path, tmp_path / "out", yaml_root())


def test_a_patcher_that_breaks_something_is_found_out(tmp_path: Path) -> None:
    def careless(content: bytes | bytearray, edit: ElfEdit) -> bytes:
        return rebuild(content, replace(edit, needed=()))

    path = put_wheel(tmp_path, {module_name(): extension(needed=["libyaml-0.so.2"])})
    with pytest.raises(RepairError, match="changed something else"):
        repair_wheel(path, tmp_path / "out", sysroot=yaml_root(), patcher=careless)
    assert not (tmp_path / "out").exists()


def test_a_wheel_without_needs_is_retagged_and_its_members_stay(tmp_path: Path) -> None:
    path = put_wheel(tmp_path, {module_name(): extension(), "demo/data.txt": b"text" * 99}, purelib="true")
    report = repair_wheel(path, tmp_path / "out", policy=Policy.MUSLLINUX_1_1, sysroot=None, patcher=rebuild)
    assert report.path.name == "demo-1.0-cp313-cp313-musllinux_1_1_x86_64.whl"
    with zipfile.ZipFile(report.path) as archive:
        assert archive.namelist()[-1] == "demo-1.0.dist-info/RECORD"
        wheel_file = archive.read("demo-1.0.dist-info/WHEEL").decode()
        assert archive.read("demo/data.txt") == b"text" * 99
    assert "Root-Is-Purelib: false\nTag: cp313-cp313-musllinux_1_1_x86_64\n" in wheel_file


def test_what_is_no_compiled_wheel(tmp_path: Path) -> None:
    with pytest.raises(PureProjectError):
        repaired(put_wheel(tmp_path, {"demo.py": b""}), tmp_path / "out", None)
    (tmp_path / "demo-1.0-py3-none-any.whl").write_bytes(b"no zip")
    with pytest.raises(WheelError):
        repaired(tmp_path / "demo-1.0-py3-none-any.whl", tmp_path / "out", None)


def test_an_output_directory_that_cannot_be_written(tmp_path: Path) -> None:
    path = put_wheel(tmp_path, {module_name(): extension()})
    (tmp_path / "out").write_bytes(b"a file")
    with pytest.raises(RepairError, match="cannot be written"):
        repaired(path, tmp_path / "out", None)
