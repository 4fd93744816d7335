import re
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.audit.judge import judge_wheel
from musllinux_build.audit.verdict import Severity, Verdict
from musllinux_build.errors import PureProjectError, UsageError, WheelError
from musllinux_build.policies.load import load_table
from musllinux_build.policy import MuslVersion, Policy
from tests.elfgen import Obj, build
from tests.unit.auditing import DictSysroot, extension, module_name, put_wheel


def found(verdict: Verdict) -> set[tuple[str, str]]:
    return {(finding.rule, finding.evidence) for finding in verdict.findings}


def judged(directory: Path, arch: Arch, **parts: object) -> Verdict:
    return judge_wheel(put_wheel(directory, {module_name(arch): extension(arch, **parts)}, arch))


@pytest.mark.parametrize("arch", list(Arch))
def test_a_wheel_that_keeps_its_promise(tmp_path: Path, arch: Arch) -> None:
    parts = {"needed": ["libc.so"], "undefined": ["malloc", "gettid", "fopen64", "PyLong_FromLong", "_Py_NoneStruct"]}
    verdict = judged(tmp_path, arch, weak=["statx", "nobody"], **parts)
    assert verdict.findings == ()
    assert verdict.conforms
    assert (verdict.arch, verdict.policy) == (arch, Policy.MUSLLINUX_1_2)
    assert verdict.floor == MuslVersion(1, 2, 2)
    assert [reason.cause for reason in verdict.reasons] == ["gettid"]


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize(
    ("parts", "finding"),
    [
        ({"undefined": ["qsort_r"]}, ("symbol-too-new", "qsort_r")),
        ({"undefined": ["statx"]}, ("symbol-too-new", "statx")),
        ({"undefined": ["fcntl64"]}, ("symbol-of-glibc", "fcntl64")),
        ({"undefined": ["__memcpy_chk"]}, ("symbol-of-glibc", "__memcpy_chk")),
        ({"undefined": ["nobody_has_it"]}, ("symbol-not-provided", "nobody_has_it")),
        ({"needed": ["liba.so.1"]}, ("library-not-found", "liba.so.1")),
        ({"needed": ["libpython3.13.so.1.0"]}, ("libpython", "libpython3.13.so.1.0")),
        ({"relr": True}, ("relr", "DT_RELR")),
        ({"initial_exec": True}, ("initial-exec-tls", "initial-exec-tls")),
        ({"irelative": True}, ("ifunc", "ifunc")),
        ({"ifunc_used": True}, ("ifunc", "ifunc")),
        ({"versions": {"libc.so.6": ["GLIBC_2.17"]}}, ("glibc-versions", "GLIBC_2.17")),
        ({"versions": {"ld-linux-x86-64.so.2": ["GLIBC_2.3"]}}, ("glibc-versions", "GLIBC_2.3")),
        ({"interp": "/lib64/ld-linux-x86-64.so.2"}, ("foreign-interpreter", "/lib64/ld-linux-x86-64.so.2")),
    ],
)
def test_each_planted_defect_is_an_error(
    tmp_path: Path, arch: Arch, parts: dict[str, object], finding: tuple[str, str]
) -> None:
    verdict = judged(tmp_path, arch, **parts)
    assert {(item.rule, item.evidence) for item in verdict.errors} == {finding}
    assert not verdict.conforms
    assert all(item.file and item.message and item.remedy for item in verdict.findings)


@pytest.mark.parametrize(
    ("parts", "finding"),
    [
        ({"exec_stack": True}, ("executable-stack", "executable-stack")),
        ({"textrel": True}, ("text-relocations", "text-relocations")),
        ({"rpath": "/usr/lib:$LIB"}, ("search-path-token", "/usr/lib:$LIB")),
        ({"rpath": "/usr/local/lib"}, ("search-path-absolute", "/usr/local/lib")),
        ({"rpath": "$ORIGIN/../../lib"}, ("search-path-escapes", "$ORIGIN/../../lib")),
    ],
)
def test_what_may_break_is_told_and_does_not_fail(
    tmp_path: Path, parts: dict[str, object], finding: tuple[str, str]
) -> None:
    verdict = judged(tmp_path, Arch.X86_64, **parts)
    assert found(verdict) == {finding}
    assert verdict.conforms


def test_libgcc_may_have_a_version_that_looks_like_glibc(tmp_path: Path) -> None:
    assert judged(tmp_path, Arch.AARCH64, versions={"libgcc_s.so.1": ["GLIBC_2.0"]}).conforms


@pytest.mark.parametrize("arch", list(Arch))
def test_an_object_of_another_architecture(tmp_path: Path, arch: Arch) -> None:
    other = Arch.S390X if arch is not Arch.S390X else Arch.X86_64
    path = put_wheel(
        tmp_path, {module_name(arch): extension(other), "demo/kernel.o": build(Obj(arch=other, kind=1))}, arch
    )
    assert found(judge_wheel(path)) == {("wrong-architecture", other.value), ("not-loadable", "o")}


def test_soft_float_arm(tmp_path: Path) -> None:
    verdict = judged(tmp_path, Arch.ARMV7L, flags=0x05000200)
    assert found(verdict) == {("wrong-abi-flags", "soft-float arm")}


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize(
    ("tag", "suffix", "rule"),
    [
        ("cp313-cp313", "cpython-313-{gnu}", "suffix-never-imports"),
        ("cp310-cp310", "cpython-310-{gnu}", None),
        ("cp310-cp310", "cpython-310-{musl}", "suffix-never-imports"),
        ("cp313-cp313", "cpython-312-{musl}", "suffix-never-imports"),
        ("cp313-cp313", "abi3", None),
        ("cp313-cp313", "cpython-313t-{musl}", "suffix-never-imports"),
        ("cp313-cp313t", "cpython-313t-{musl}", None),
        ("cp313-cp313t", "cpython-313-{musl}", "suffix-never-imports"),
        ("cp313-cp313t", "abi3", "suffix-never-imports"),
        ("cp315-abi3.abi3t", "abi3t", None),
        ("cp314-cp314", "abi3t", "suffix-never-imports"),
        ("cp315-cp315t", "abi3t", None),
        ("cp39-abi3", "abi3", None),
        ("cp39-abi3", "cpython-313-{musl}", "suffix-too-narrow"),
        ("cp311-abi3", "cpython-39-{gnu}", "suffix-never-imports"),
        ("py3-none", "cpython-313-{musl}", "abi-none-with-extension"),
        ("pp311-pypy311_pp73", "cpython-39-{musl}", None),
    ],
)
def test_a_suffix_against_the_tags(tmp_path: Path, arch: Arch, tag: str, suffix: str, rule: str | None) -> None:
    musl = arch.row.multiarch
    name = f"x.{suffix.format(musl=musl, gnu=musl.replace('-musl', '-gnu', 1))}.so"
    verdict = judge_wheel(put_wheel(tmp_path, {name: extension(arch)}, arch, tag=f"{tag}-linux_{arch.value}"))
    assert {item.rule for item in verdict.findings} == ({rule} if rule else set())


def test_a_stale_extension_beside_a_good_one(tmp_path: Path) -> None:
    files = {module_name(): extension(), "demo/x.cpython-312-x86_64-linux-musl.so": extension()}
    assert {item.rule for item in judge_wheel(put_wheel(tmp_path, files)).findings} == {"suffix-stale"}
    both = {"x.cpython-313-x86_64-linux-musl.so": extension(), "x.abi3.so": extension()}
    assert judge_wheel(put_wheel(tmp_path, both, tag="cp39-abi3-linux_x86_64")).findings == ()


def test_time64_names_need_a_newer_musl_on_32_bit_only(tmp_path: Path) -> None:
    assert judged(tmp_path, Arch.I686, undefined=["__time64"]).floor == MuslVersion(1, 2, 0)
    assert not judged(tmp_path, Arch.X86_64, undefined=["__time64"]).conforms


def test_the_chain_names_who_led_there(tmp_path: Path) -> None:
    files = {
        module_name(): extension(needed=["liba-0123abcd.so"], rpath="$ORIGIN/../demo.libs"),
        "demo.libs/liba-0123abcd.so": build(Obj(needed=["libb-0123abcd.so"], exports=["a"])),
        "demo.libs/libb-0123abcd.so": build(Obj(undefined=["preadv2"])),
    }
    (finding,) = judge_wheel(put_wheel(tmp_path, files)).errors
    assert (finding.file, finding.chain) == (
        "demo.libs/libb-0123abcd.so",
        (module_name(), "demo.libs/liba-0123abcd.so"),
    )
    assert "first with it" in finding.message


def test_symbols_of_a_missing_library_are_not_counted_twice(tmp_path: Path) -> None:
    verdict = judged(tmp_path, Arch.X86_64, needed=["liba.so"], undefined=["from_a", "fcntl64", "statx"])
    assert found(verdict) == {
        ("library-not-found", "liba.so"),
        ("symbol-of-glibc", "fcntl64"),
        ("symbol-too-new", "statx"),
    }


def test_a_symbol_that_the_wheel_brings_raises_no_floor(tmp_path: Path) -> None:
    files = {
        module_name(): extension(needed=["liba-0123abcd.so"], undefined=["qsort_r"], rpath="$ORIGIN"),
        "demo/liba-0123abcd.so": build(Obj(exports=["qsort_r"])),
    }
    verdict = judge_wheel(put_wheel(tmp_path, files))
    assert verdict.floor == load_table(Arch.X86_64).oldest
    assert found(verdict) == {("interposed-by-musl", "qsort_r")}


def test_programs_have_no_python_api(tmp_path: Path) -> None:
    program = build(Obj(interp="/lib/ld-musl-x86_64.so.1", undefined=["Py_Main"], initial_exec=True))
    verdict = judge_wheel(put_wheel(tmp_path, {"demo/tool": program}))
    assert found(verdict) == {("symbol-not-provided", "Py_Main"), ("program-not-executable", "mode")}


def test_a_program_that_needs_no_libc_has_none(tmp_path: Path) -> None:
    parts = {"interp": "/lib/ld-musl-x86_64.so.1", "undefined": ["_exit"]}
    bare, linked = (build(Obj(needed=needed, **parts)) for needed in ((), ("libc.so",)))  # type: ignore[arg-type] # fields
    verdict = judge_wheel(put_wheel(tmp_path, {"demo/bare": bare, "demo/linked": linked, module_name(): extension()}))
    assert [item.file for item in verdict.errors] == ["demo/bare"]
    assert {item.rule for item in verdict.errors} == {"symbol-not-provided"}


def test_two_files_for_one_name(tmp_path: Path) -> None:
    files = {
        module_name(name="demo/x"): extension(needed=["liba.so"], rpath="$ORIGIN/one"),
        module_name(name="demo/y"): extension(needed=["liba.so"], rpath="$ORIGIN/two"),
        "demo/one/liba.so": build(Obj()),
        "demo/two/liba.so": build(Obj(soname="liba.so")),
    }
    expected = {("one-name-two-files", "liba.so"), ("name-not-unique", "liba.so")}
    assert found(judge_wheel(put_wheel(tmp_path, files))) == expected


def test_a_directory_of_the_searched_name_ends_the_search(tmp_path: Path) -> None:
    files = {
        module_name(): extension(needed=["liba.so"], rpath="$ORIGIN/first:$ORIGIN"),
        "demo/first/liba.so/notes/readme.txt": b"text",
        "demo/liba.so": build(Obj()),
    }
    assert [item.rule for item in judge_wheel(put_wheel(tmp_path, files)).errors] == ["library-not-loadable"]


def test_libraries_of_a_root_are_outside(tmp_path: Path) -> None:
    sysroot = DictSysroot(files={"/usr/lib/liba.so": build(Obj()), "/usr/lib/libt.so": b"GROUP ( libt.a )"})
    path = put_wheel(tmp_path, {module_name(): extension(needed=["liba.so", "libt.so"])})
    assert found(judge_wheel(path, sysroot=sysroot)) == {
        ("library-outside", "liba.so"),
        ("library-not-loadable", "libt.so"),
    }


def test_metadata_that_disagrees(tmp_path: Path) -> None:
    path = put_wheel(tmp_path, {module_name(): extension()}, purelib="true")
    other = path.rename(tmp_path / "demo-1.0-cp313-cp313-musllinux_1_1_x86_64.whl")
    verdict = judge_wheel(other)
    assert {(item.rule, item.severity) for item in verdict.findings} == {
        ("tags-disagree", Severity.WARNING),
        ("purelib-with-objects", Severity.WARNING),
    }
    assert verdict.policy == Policy.MUSLLINUX_1_1


def test_floor_and_policy_can_be_chosen(tmp_path: Path) -> None:
    path = put_wheel(tmp_path, {module_name(): extension(undefined=["gettid", "statx"], relr=True)})
    assert judge_wheel(path, floor=MuslVersion(1, 2, 5)).conforms
    assert found(judge_wheel(path, Policy.MUSLLINUX_1_1)) == {
        ("symbol-too-new", "gettid"),
        ("symbol-too-new", "statx"),
        ("relr", "DT_RELR"),
    }


@pytest.mark.parametrize(
    ("platform", "told"),
    [
        ("manylinux_2_17_x86_64", "its tag (manylinux_2_17_x86_64) promises no musllinux"),
        ("win_amd64", "its tag (win_amd64) promises no musllinux"),
        ("macosx_11_0_arm64.macosx_10_9_x86_64", "promises no musllinux"),
        ("musllinux_1_2_riscv64", "no policy for the architecture of its tag, riscv64"),
        ("musllinux_1_2_riscv64.musllinux_1_3_x86_64", "no policy for the series"),
        ("musllinux_1_3_x86_64.manylinux_2_17_x86_64", "no policy for the series"),
        ("musllinux_x86_64", "not of the form musllinux_X_Y_ARCH"),
    ],
)
def test_the_default_policy_is_for_linux_and_any_alone(tmp_path: Path, platform: str, told: str) -> None:
    path = put_wheel(tmp_path, {module_name(): extension()}, tag=f"cp313-cp313-{platform}")
    with pytest.raises(UsageError, match=re.escape(told)) as caught:
        judge_wheel(path)
    assert caught.value.resolution
    assert judge_wheel(path, Policy.MUSLLINUX_1_1).policy is Policy.MUSLLINUX_1_1
    both = put_wheel(tmp_path, {module_name(): extension()}, tag=f"cp313-cp313-{platform}.linux_x86_64")
    assert "musllinux" in platform or judge_wheel(both).policy is Policy.MUSLLINUX_1_2


def test_musllinux_tags_of_two_architectures_are_told_even_when_one_is_unknown(tmp_path: Path) -> None:
    tag = "cp313-cp313-musllinux_1_2_riscv64.musllinux_1_2_x86_64"
    (finding,) = judge_wheel(put_wheel(tmp_path, {module_name(): extension()}, tag=tag)).errors
    assert finding.rule == "tag-of-two-architectures"
    assert "riscv64 and x86_64" in finding.message


def test_wheels_that_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(PureProjectError, match="no compiled code"):
        judge_wheel(put_wheel(tmp_path, {"demo.py": b""}, tag="py3-none-any"))
    with pytest.raises(PureProjectError, match="no ELF object"):
        judge_wheel(put_wheel(tmp_path, {"x.pyd": b"MZ"}, tag="cp313-cp313-win_amd64"), Policy.MUSLLINUX_1_2)
    with pytest.raises(UsageError, match="no policy for the series"):
        judge_wheel(put_wheel(tmp_path, {"x.so": extension()}, tag="cp313-cp313-musllinux_1_0_x86_64"))
    with pytest.raises(WheelError, match="installed to one place"):
        judge_wheel(put_wheel(tmp_path, {"x.so": extension(), "demo-1.0.data/purelib/x.so": extension()}))
    strange = bytearray(extension())
    strange[18] = 8
    with pytest.raises(WheelError, match="neither its name nor its objects"):
        judge_wheel(put_wheel(tmp_path, {"x.so": bytes(strange)}, tag="cp313-cp313-linux_mips"))
    assert judge_wheel(put_wheel(tmp_path, {"x.so": extension()}, tag="py3-none-any")).arch is Arch.X86_64
