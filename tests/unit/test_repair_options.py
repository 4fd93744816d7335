import io
import json
import tarfile
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from musllinux_build.adapters.container_sysroot import ContainerSysroot
from musllinux_build.arch import Arch
from musllinux_build.audit.options import Include, RepairOptions
from musllinux_build.audit.repair import RepairReport, repair_wheel
from musllinux_build.builds.session import Session
from musllinux_build.cli.audit import audit
from musllinux_build.cli.library_root import image_root
from musllinux_build.cli.repair_options import parse_plat_option
from musllinux_build.errors import UsageError
from musllinux_build.policy import Policy
from musllinux_build.ports import ContainerSpec
from tests.elfgen import Obj, build
from tests.fakes import FakeEngine, File, ListProgress
from tests.unit.auditing import DictSysroot, extension, module_name, put_wheel, rebuild

ROOT = DictSysroot(
    files={
        "/usr/lib/liba.so.1.2": build(Obj(needed=["libb.so"], exports=["a"])),
        "/usr/lib/libb.so": build(Obj(exports=["b"])),
        "/opt/libz.so.1": build(Obj(exports=["inflate"])),
    },
    links={"/usr/lib/liba.so.1": "/usr/lib/liba.so.1.2"},
)


def repaired(tmp_path: Path, options: RepairOptions, needed: str = "liba.so.1", **parts: str) -> RepairReport:
    path = put_wheel(tmp_path, {module_name(): extension(needed=[needed])}, Arch.X86_64, **parts)
    return repair_wheel(path, tmp_path / "out", sysroot=ROOT, patcher=rebuild, options=options)


@pytest.mark.parametrize("pattern", ["liba.so.1", "liba.*", "/usr/lib/liba.so.1", "*.1.2"])
def test_what_is_excluded_stays_outside_with_what_it_needs(tmp_path: Path, pattern: str) -> None:
    report = repaired(tmp_path, RepairOptions(exclude=(pattern,)))
    assert report.grafts == ()
    assert report.verdict.conforms


def test_an_exclusion_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'libc\.so' matches no library") as caught:
        repaired(tmp_path, RepairOptions(exclude=("libb.so", "libc.so")))
    assert "liba.so.1" in caught.value.resolution
    assert not (tmp_path / "out").exists()


def test_what_every_system_is_trusted_to_have(tmp_path: Path) -> None:
    options = RepairOptions(whitelist=frozenset({"libz.so.1"}), ld_paths=("/opt",))
    assert repaired(tmp_path, options, "libz.so.1").grafts == ()
    assert [
        graft.source_path for graft in repaired(tmp_path, RepairOptions(ld_paths=("/opt",)), "libz.so.1").grafts
    ] == ["/opt/libz.so.1"]


def test_where_grafts_go(tmp_path: Path) -> None:
    with zipfile.ZipFile(repaired(tmp_path, RepairOptions(lib_sdir="/libs", level=0)).path) as archive:
        (name,) = [name for name in archive.namelist() if "libb" in name]
        assert name.startswith("demo/libs/libb-")
        assert archive.getinfo(name).compress_type == zipfile.ZIP_STORED


def test_tags(tmp_path: Path) -> None:
    tag = "cp313-cp313-linux_x86_64.musllinux_1_2_x86_64"
    with zipfile.ZipFile(repaired(tmp_path, RepairOptions(update_tags=False), tag=tag).path) as archive:
        assert Path(archive.filename or "").name == f"demo-1.0-{tag}.whl"
        assert "Tag: cp313-cp313-linux_x86_64" in archive.read("demo-1.0.dist-info/WHEEL").decode()
    later = "cp313-cp313-musllinux_1_1_x86_64.musllinux_1_2_x86_64"
    assert repaired(tmp_path, RepairOptions(), tag=later).path.name == f"demo-1.0-{later}.whl"
    only = repaired(tmp_path, RepairOptions(only_plat=True), tag=later)
    assert only.path.name == "demo-1.0-cp313-cp313-musllinux_1_1_x86_64.whl"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-L", "/../x"],
        ["--ldpaths", "lib"],
        ["--include", "=x"],
        ["--plat", "musllinux_1_3_x86_64"],
        ["--plat", "musllinux_1_2_x86_64", "--policy", "musllinux_1_1"],
    ],
)
def test_wrong_values_are_told(tmp_path: Path, arguments: list[str]) -> None:
    path = put_wheel(tmp_path, {module_name(): extension()})
    result = CliRunner().invoke(audit, ["repair", "-w", str(tmp_path / "out"), *arguments, str(path)])
    assert isinstance(result.exception, UsageError)
    assert result.exception.resolution


def test_a_platform_is_policy_and_architecture() -> None:
    assert parse_plat_option("musllinux_1_1_armv7l") == (Policy.MUSLLINUX_1_1, Arch.ARMV7L)
    assert parse_plat_option("auto", Policy.MUSLLINUX_1_2) == (Policy.MUSLLINUX_1_2, None)
    assert Include.parse("liba.so=x/*.so") == Include(library="liba.so", member="x/*.so")
    with pytest.raises(UsageError):
        RepairOptions(level=10)


def test_one_wheel_keeps_no_other_from_its_turn(tmp_path: Path) -> None:
    bad = put_wheel(tmp_path, {module_name(): extension(undefined=["statx"])}, distribution="bad")
    pure = put_wheel(tmp_path, {"pure.py": b""}, distribution="pure")
    good = put_wheel(tmp_path, {module_name(): extension()}, distribution="good")
    out = tmp_path / "out"
    result = CliRunner().invoke(audit, ["repair", "-w", str(out), str(bad), str(pure), str(good)])
    assert result.exit_code == 6
    assert "bad-1.0" in result.stderr
    assert "pure-1.0" in result.stderr
    assert [path.name for path in out.iterdir()] == ["good-1.0-cp313-cp313-musllinux_1_2_x86_64.whl"]
    told = json.loads(CliRunner().invoke(audit, ["repair", "--json", "-w", str(out), str(bad), str(good)]).stdout)
    assert "error" in told[0]
    assert (told[1]["copied"], told[1]["changes"]) == (False, [])


def test_what_was_done_is_told(tmp_path: Path) -> None:
    files = {
        "demo.libs/liba-0cd532bd.so": build(Obj(relr=True)),
        module_name(): extension(needed=["liba-0cd532bd.so"], rpath="/opt:$ORIGIN/../demo.libs", exec_stack=True),
        module_name(name="demo/y"): extension(rpath="/opt"),
    }
    path = put_wheel(tmp_path, files)
    options = ["--clear-exec-stack", "--strip"]
    said = CliRunner().invoke(audit, ["repair", "-w", str(tmp_path / "out"), *options, str(path)]).stdout
    for words in (
        "DT_RELR expanded",
        "needs liba-",
        "searches $ORIGIN/../demo.libs",
        "searches nowhere",
        "no executable",
    ):
        assert words in " ".join(said.split())
    again = CliRunner().invoke(
        audit, ["repair", "-w", str(tmp_path / "b"), *options, *map(str, (tmp_path / "out").iterdir())]
    )
    assert "copied as it is" in again.stdout


def test_a_root_may_be_an_archive_and_only_one(tmp_path: Path) -> None:
    library = build(Obj(exports=["a"]))
    archive = tmp_path / "root.tar"
    with tarfile.open(archive, "w") as tar:
        member = tarfile.TarInfo("./usr/lib/liba.so")
        member.size = len(library)
        tar.addfile(member, io.BytesIO(library))
    path = put_wheel(tmp_path, {module_name(): extension(needed=["liba.so"])})
    words = ["repair", "-w", str(tmp_path / "out"), "--root", str(archive), str(path)]
    assert "grafted /usr/lib/liba.so" in CliRunner().invoke(audit, words).stdout
    assert isinstance(CliRunner().invoke(audit, [*words, "--image", "x"]).exception, UsageError)


def test_names_of_a_directory_in_a_container() -> None:
    engine = FakeEngine()
    inside = {"/usr/lib": File(), "/usr/lib/liba.so": File(b"a"), "/usr/lib/deep/libb.so": File(b"b")}
    engine.add_image("img", Arch.X86_64, files={**inside, "/usr/lib/deep": File()})
    container = engine.create(ContainerSpec(image="img", platform="linux/amd64", purpose="test"))
    sysroot = ContainerSysroot(engine, container)
    assert list(sysroot.names("/usr/lib")) == ["deep", "liba.so"]
    assert list(sysroot.names("/nowhere")) == []
    assert list(sysroot.names("/usr/lib/liba.so")) == []


def test_a_root_may_be_an_image_and_nothing_of_it_stays(tmp_path: Path) -> None:
    engine = FakeEngine()
    places = {name: File() for name in ("/usr", "/usr/lib")}
    engine.add_image("img", Arch.X86_64, files={**places, "/usr/lib/liba.so": File(build(Obj(exports=["a"])))})
    path = put_wheel(tmp_path, {module_name(): extension(needed=["liba.so"])})
    with closing(Session(engine, ListProgress())) as session, image_root(session, "img", None) as root:
        assert not engine.created[0].running
        report = repair_wheel(path, tmp_path / "out", sysroot=root)
    assert [graft.source_path for graft in report.grafts] == ["/usr/lib/liba.so"]
    assert engine.boxes == {}
