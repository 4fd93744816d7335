import json
import os
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from musllinux_build.adapters.sysroot import DirectorySysroot
from musllinux_build.arch import Arch
from musllinux_build.audit.catalogue import RULES
from musllinux_build.cli.audit import audit
from musllinux_build.errors import UsageError, WheelError
from tests.elfgen import Obj, build
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


@pytest.mark.parametrize(
    ("arch", "parts"),
    [
        (Arch.X86_64, {"needed": ["libc.so.6"], "versions": {"libc.so.6": ["GLIBC_2.17"]}}),
        (Arch.AARCH64, {}),
    ],
)
def test_no_musl_is_named_for_what_is_for_none_or_another_machine(
    tmp_path: Path, arch: Arch, parts: dict[str, object]
) -> None:
    good = put_wheel(tmp_path, {module_name(): extension()}, distribution="good")
    told = " ".join(CliRunner().invoke(audit, ["show", str(good)]).output.split())
    assert "its symbols and relocations are in every recorded musl (1.1.16 and later)" in told
    bad = put_wheel(tmp_path, {module_name(): extension(arch, **parts)}, distribution="bad")
    refused = CliRunner().invoke(audit, ["show", str(bad)])
    assert refused.exit_code == 1
    assert "recorded musl" not in " ".join(refused.output.split())


def test_show_as_json(tmp_path: Path) -> None:
    path = put_wheel(tmp_path, {module_name(): extension(relr=True)})
    result = CliRunner().invoke(audit, ["show", "--json", "--policy", "musllinux_1_1", str(path)])
    (verdict,) = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (verdict["schema"], verdict["conforms"], verdict["policy"]) == (1, False, "musllinux_1_1")
    assert verdict["effective_floor"] == "1.2.4"
    assert [finding["rule"] for finding in verdict["findings"]] == ["relr"]


def test_json_is_what_the_schema_says(tmp_path: Path) -> None:
    schema = json.loads(CliRunner().invoke(audit, ["schema"]).output)
    jsonschema.Draft202012Validator.check_schema(schema)
    broken_module = extension(undefined=["pthread_getname_np"], needed=["liba.so"])
    bad = put_wheel(tmp_path, {module_name(): broken_module}, distribution="bad")
    pure = put_wheel(tmp_path, {"x.py": b""}, distribution="pure", tag="py3-none-any")
    broken = tmp_path / "broken-1.0-cp313-cp313-linux_x86_64.whl"
    broken.write_bytes(b"PK")
    good = put_wheel(tmp_path, {module_name(): extension()}, distribution="good")
    result = CliRunner().invoke(audit, ["show", "--json", *map(str, (bad, broken, pure, good))])
    documents = json.loads(result.stdout)
    jsonschema.validate(documents, schema, jsonschema.Draft202012Validator)
    assert [document.get("conforms") for document in documents] == [False, None, None, True]
    assert documents[0]["floor_reasons"][0]["first_alpine"] == "3.16"
    assert [document["error"]["exit_code"] for document in documents[1:3]] == [5, 7]
    assert result.exit_code == 5
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([{**documents[0], "surprise": 1}], schema, jsonschema.Draft202012Validator)


def others(directory: Path) -> list[str]:
    """Wheels that cibuildwheel leaves beside those for musl."""
    tags = ("manylinux_2_17_x86_64", "win_amd64", "macosx_11_0_arm64")
    files = ({module_name(): extension()}, {"x.pyd": b"MZ"}, {"x.so": b"\xcf\xfa\xed\xfe"})
    return [
        str(put_wheel(directory, content, distribution="other", tag=f"cp313-cp313-{tag}"))
        for tag, content in zip(tags, files, strict=True)
    ]


def test_wheels_that_promise_no_musllinux_are_passed_over(tmp_path: Path) -> None:
    schema = json.loads(CliRunner().invoke(audit, ["schema"]).output)
    tag = "cp313-cp313-musllinux_1_2_x86_64"
    good = str(put_wheel(tmp_path, {module_name(): extension()}, tag=tag))
    mixed = CliRunner().invoke(audit, ["show", *others(tmp_path), good])
    assert mixed.exit_code == 0
    assert mixed.stdout.count("not audited: its tag (") == mixed.stdout.count("promises no musllinux") == 3
    assert mixed.stdout.count("conforms to musllinux_1_2_x86_64") == 1
    printed = CliRunner().invoke(audit, ["show", "--json", *others(tmp_path), good])
    documents = json.loads(printed.stdout)
    jsonschema.validate(documents, schema, jsonschema.Draft202012Validator)
    assert [("not_audited" in item, item.get("conforms")) for item in documents] == [(True, None)] * 3 + [(False, True)]
    bad = put_wheel(tmp_path, {module_name(): extension(undefined=["statx"])}, distribution="bad", tag=tag)
    assert CliRunner().invoke(audit, ["show", *others(tmp_path), str(bad)]).exit_code == 1
    measured = CliRunner().invoke(audit, ["show", "--policy", "musllinux_1_1", others(tmp_path)[0]])
    assert (measured.exit_code, "conforms to musllinux_1_1_x86_64" in measured.stdout) == (0, True)


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_nothing_audited_is_no_success(tmp_path: Path, option: list[str]) -> None:
    result = CliRunner().invoke(audit, ["show", *option, *others(tmp_path)])
    assert isinstance(result.exception, UsageError)
    assert "no wheel was audited" in result.exception.brief
    assert result.stdout.count("promises no musllinux") == 3


@pytest.mark.parametrize("platform", ["musllinux_1_3_x86_64", "musllinux_1_2_riscv64"])
def test_a_musllinux_that_is_not_known_is_refused(tmp_path: Path, platform: str) -> None:
    path = put_wheel(tmp_path, {module_name(): extension()}, tag=f"cp313-cp313-{platform}")
    good = put_wheel(tmp_path, {module_name(): extension()}, tag="cp313-cp313-musllinux_1_2_x86_64")
    assert isinstance(CliRunner().invoke(audit, ["show", str(good), str(path)]).exception, UsageError)


def test_repair_makes_no_musllinux_wheel_of_another_unasked(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    good = put_wheel(tmp_path / "in", {module_name(): extension()})
    out = tmp_path / "out"
    result = CliRunner().invoke(audit, ["repair", "-w", str(out), *others(tmp_path / "in"), str(good)])
    assert result.exit_code == UsageError.exit_code
    assert result.stderr.count("promises no musllinux") == 3
    assert [path.name for path in out.iterdir()] == ["demo-1.0-cp313-cp313-musllinux_1_2_x86_64.whl"]
    asked = ["repair", "-w", str(out), "--plat", "musllinux_1_2_x86_64", others(tmp_path / "in")[0]]
    assert CliRunner().invoke(audit, asked).exit_code == 0
    assert (out / "other-1.0-cp313-cp313-musllinux_1_2_x86_64.whl").is_file()


def test_the_page_of_rules_is_the_catalogue() -> None:
    page = CliRunner().invoke(audit, ["rules"]).output
    assert page == (Path(__file__).parents[2] / "docs" / "rules.md").read_text("utf-8")
    assert all(f"| `{rule.id}` | {rule.summary} |" in page for rule in RULES)


def test_one_unreadable_wheel_does_not_keep_the_rest_from_their_verdict(tmp_path: Path) -> None:
    broken = tmp_path / "broken-1.0-cp313-cp313-linux_x86_64.whl"
    broken.write_bytes(b"PK")
    good = put_wheel(tmp_path, {module_name(): extension()}, distribution="good")
    result = CliRunner().invoke(audit, ["show", str(broken), str(good)])
    assert (result.exit_code, "conforms to" in result.stdout, "broken-1.0" in result.stderr) == (5, True, True)
    assert isinstance(CliRunner().invoke(audit, ["show", str(broken)]).exception, WheelError)


def test_findings_are_grouped_by_file_worst_first(tmp_path: Path) -> None:
    loader = "/lib/ld-musl-x86_64.so.1"
    files = {
        module_name(): extension(needed=["liba-0123abcd.so"], rpath="/opt/lib:$ORIGIN", interp=loader),
        "demo/liba-0123abcd.so": build(Obj(undefined=["pthread_getname_np", *(f"none_{at}" for at in range(9))])),
    }
    path = put_wheel(tmp_path, files)
    text = CliRunner().invoke(audit, ["show", str(path)]).output
    order = ["does NOT conform", "needs musl 1.2.3: pthread_getname_np", "first in Alpine 3.16", "loaded through"]
    order += ["[symbol-not-provided]", "and 4 more; -v shows all", "[search-path-absolute]", "1 note; -v shows all"]
    flat = " ".join(text.split())
    places = [flat.index(part) for part in order]
    assert places == sorted(places)
    assert text.count("→ Link the library that defines it") == 1
    assert max(map(len, text.splitlines())) <= 80
    everything = CliRunner().invoke(audit, ["show", "-v", str(path)]).output
    assert "none_8" in everything
    assert "[library-with-interpreter]" in everything
    assert "more; -v" not in everything


def test_libraries_can_be_left_to_others(tmp_path: Path) -> None:
    needed = ["libz.so.1", "libtorch.so"]
    path = str(put_wheel(tmp_path, {module_name(): extension(needed=needed, undefined=["inflate", "torch_new"])}))
    plain = CliRunner().invoke(audit, ["show", path])
    assert plain.exit_code == 1
    assert "[library-of-the-system]" in plain.output
    spared = CliRunner().invoke(audit, ["show", "--exclude", "libtorch*", "--whitelist", "libz.so.1", path])
    assert (spared.exit_code, "conforms" in spared.output) == (0, True)
    assert isinstance(CliRunner().invoke(audit, ["show", "--exclude", "libcuda*", path]).exception, UsageError)
    private = put_wheel(tmp_path, {module_name(): extension(needed=["libz.so.1"], undefined=["inflate_table"])})
    assert "[symbol-private]" in CliRunner().invoke(audit, ["show", "--whitelist", "libz.so.1", str(private)]).output


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


def test_a_root_tells_what_is_outside_from_what_nobody_has(tmp_path: Path) -> None:
    path = put_wheel(tmp_path, {module_name(): extension(needed=["liba.so"])})
    (tmp_path / "root/lib").mkdir(parents=True)
    (tmp_path / "root/lib/liba.so").write_bytes(build(Obj()))
    assert "[library-not-found]" in CliRunner().invoke(audit, ["show", str(path)]).output
    with_root = CliRunner().invoke(audit, ["show", "--root", str(tmp_path / "root"), str(path)])
    assert "[library-outside]" in with_root.output
