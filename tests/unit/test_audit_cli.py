import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from musllinux_build.adapters.patchelf import Patchelf, edit_options
from musllinux_build.adapters.process import Completed
from musllinux_build.adapters.sysroot import DirectorySysroot
from musllinux_build.cli.audit import audit
from musllinux_build.elf.edit import ElfEdit
from musllinux_build.errors import RepairError, UsageError
from tests.unit.auditing import extension, module_name, put_wheel


def test_show_says_yes_and_no(tmp_path: Path) -> None:
    good = put_wheel(tmp_path, {module_name(): extension()}, distribution="good")
    bad = put_wheel(tmp_path, {module_name(): extension(undefined=["statx"])}, distribution="bad")
    yes = CliRunner().invoke(audit, ["show", str(good)])
    assert yes.exit_code == 0
    assert "conforms to musllinux_1_2_x86_64" in yes.output
    no = CliRunner().invoke(audit, ["show", str(good), str(bad)])
    assert no.exit_code == 1
    assert "[symbol-too-new]" in no.output
    assert "statx" in no.output
    assert max(map(len, no.output.splitlines())) <= 80
    assert CliRunner().invoke(audit, ["show", str(bad), "--floor", "1.2.5"]).exit_code == 0


def test_show_as_json(tmp_path: Path) -> None:
    path = put_wheel(tmp_path, {module_name(): extension(relr=True)})
    result = CliRunner().invoke(audit, ["show", "--json", "--policy", "musllinux_1_1", str(path)])
    (verdict,) = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (verdict["schema"], verdict["conforms"], verdict["policy"]) == (1, False, "musllinux_1_1")
    assert verdict["effective_floor"] == "1.2.4"
    assert [finding["rule"] for finding in verdict["findings"]] == ["relr"]


@pytest.mark.parametrize("arguments", [["--policy", "musllinux_1_3"], ["--floor", "new"]])
def test_wrong_options_name_what_is_right(tmp_path: Path, arguments: list[str]) -> None:
    path = put_wheel(tmp_path, {module_name(): extension()})
    result = CliRunner().invoke(audit, ["show", *arguments, str(path)])
    assert isinstance(result.exception, UsageError)
    assert result.exception.resolution


def test_repair_prints_what_it_wrote(tmp_path: Path) -> None:
    path = put_wheel(tmp_path, {module_name(): extension()})
    out = tmp_path / "out"
    (tmp_path / "root").mkdir()
    result = CliRunner().invoke(
        audit, ["repair", "-w", str(out), "--root", str(tmp_path / "root"), str(path)], env={"SOURCE_DATE_EPOCH": "0"}
    )
    assert result.exit_code == 0
    assert "musllinux_1_2_x86_64.whl" in result.stdout
    assert "repairing" in result.stderr
    (report,) = json.loads(CliRunner().invoke(audit, ["repair", "--json", "-w", str(out), str(path)]).stdout)
    assert (report["grafts"], report["verdict"]["conforms"]) == ([], True)
    wrong = CliRunner().invoke(audit, ["repair", "-w", str(out), str(path)], env={"SOURCE_DATE_EPOCH": "now"})
    assert isinstance(wrong.exception, UsageError)


def test_links_never_lead_out_of_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/liba.so.1").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    for link, target in {
        "lib": "usr/lib",
        "usr/lib/liba.so": "/usr/lib/liba.so.1",
        "usr/lib/up": "../../../../secret",
        "usr/lib/absolute": str(tmp_path / "secret"),
        "usr/lib/loop": "loop",
    }.items():
        (root / link).symlink_to(target)
    os.mkfifo(root / "usr/lib/pipe")
    sysroot = DirectorySysroot(root)
    assert sysroot.real_path("/lib/liba.so") == "/usr/lib/liba.so.1"
    assert sysroot.read("/lib/../lib/./liba.so") == b"inside"
    for path in ("/lib/up", "/lib/absolute", "/lib/loop", "/lib/pipe", "/lib", "/none", "/lib/nul\0", "/../secret"):
        assert sysroot.read(path) is None
    with pytest.raises(UsageError):
        DirectorySysroot(tmp_path / "secret")


def test_patchelf_is_told_what_to_do() -> None:
    edit = ElfEdit(soname="new.so", needed=(("a", "b"),), search_path="$ORIGIN")
    assert edit_options(edit) == (
        ("--remove-rpath",),
        ("--force-rpath", "--set-rpath", "$ORIGIN"),
        ("--set-soname", "new.so", "--replace-needed", "a", "b"),
    )
    assert edit_options(ElfEdit(search_path=None)) == (("--remove-rpath",),)
    added = ElfEdit(add_needed=("c.so",), clear_exec_stack=True)
    assert edit_options(added) == (("--add-needed", "c.so", "--clear-execstack"),)
    with pytest.raises(RepairError, match="DT_RELR"):
        Patchelf(lambda argv: pytest.fail(str(argv)), "patchelf")(b"", ElfEdit(expand_relr=True))


def test_patchelf_failures_are_explained() -> None:
    def run(argv: Sequence[str]) -> Completed:
        Path(argv[-1]).write_bytes(b"edited")
        failed = int("--set-rpath" in argv)
        return Completed(argv=tuple(argv), returncode=failed, stdout=b"", stderr=b"no room")

    patcher = Patchelf(run, "patchelf")
    assert patcher(b"object", ElfEdit(soname=None, needed=(), search_path=None)) == b"edited"
    with pytest.raises(RepairError) as caught:
        patcher(b"object", ElfEdit(soname=None, needed=(), search_path="$ORIGIN"))
    assert "no room" in caught.value.details
