"""The document that a repair puts into the wheel, and those of others that it leaves alone."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from musllinux_build.audit.options import RepairOptions
from musllinux_build.audit.repair import repair_wheel
from tests.elfgen import Obj, build
from tests.unit.auditing import DictSysroot, extension, module_name, put_wheel
from tests.unit.test_sbom import OS_RELEASE, q1

SBOM = "demo-1.0.dist-info/sboms/musllinux-build.cdx.json"
YAML = build(Obj(soname="libyaml-0.so.2", exports=["yaml_parse"], needed=["libz.so.1"], undefined=["inflate"]))
ZLIB = build(Obj(soname="libz.so.1", exports=["inflate"]))
INSTALLED = f"P:yaml\nV:0.2.5-r0\nA:x86_64\nL:MIT\no:yaml\nF:usr/lib\nR:libyaml-0.so.2\nZ:{q1(YAML)}\n".encode()
LIBRARIES = {"/usr/lib/libyaml-0.so.2": YAML, "/usr/lib/libz.so.1": ZLIB}
ROOT = DictSysroot(files={**LIBRARIES, "/lib/apk/db/installed": INSTALLED, "/etc/os-release": OS_RELEASE})
FILES = {module_name(): extension(needed=["libyaml-0.so.2"], undefined=["yaml_parse"])}


def contents(path: Path) -> Mapping[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def document(path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(contents(path)[SBOM])
    return found


def test_a_repaired_wheel_tells_what_came_in(tmp_path: Path) -> None:
    report = repair_wheel(put_wheel(tmp_path, FILES), tmp_path / "out", sysroot=ROOT)
    members, found = contents(report.path), document(report.path)
    rows = {row["bom-ref"]: row for row in found["components"]}
    assert rows.keys() == {name for name in members if name.startswith("demo.libs/")}
    for name, row in rows.items():
        assert row["hashes"][0]["content"] == hashlib.sha256(members[name]).hexdigest()
    yaml = next(row for name, row in rows.items() if "libyaml" in name)
    assert yaml["purl"] == "pkg:apk/alpine/yaml@0.2.5-r0?arch=x86_64&distro=alpine-3.13"
    assert yaml["pedigree"]["ancestors"][0]["hashes"][0]["content"] == hashlib.sha256(YAML).hexdigest()
    assert report.path.name in found["metadata"]["component"]["purl"]
    graph = {row["ref"]: row.get("dependsOn", []) for row in found["dependencies"]}
    assert graph[yaml["bom-ref"]] == [next(name for name in rows if "libz" in name)]


def test_a_repaired_wheel_is_repaired_to_itself(tmp_path: Path) -> None:
    first = repair_wheel(put_wheel(tmp_path, FILES), tmp_path / "out", sysroot=ROOT)
    second = repair_wheel(first.path, tmp_path / "again", sysroot=ROOT)
    assert first.path.read_bytes() == second.path.read_bytes()


def test_a_root_without_a_database_is_no_error(tmp_path: Path) -> None:
    report = repair_wheel(put_wheel(tmp_path, FILES), tmp_path / "out", sysroot=DictSysroot(files=LIBRARIES))
    assert all("purl" not in row for row in document(report.path)["components"])


def test_a_wheel_that_needs_nothing_gets_none(tmp_path: Path) -> None:
    report = repair_wheel(put_wheel(tmp_path, {module_name(): extension()}), tmp_path / "out", sysroot=ROOT)
    assert SBOM not in contents(report.path)


def test_the_document_of_another_tool_stays(tmp_path: Path) -> None:
    foreign = {"demo-1.0.dist-info/sboms/auditwheel.cdx.json": b'{"theirs": true}\r\n'}
    report = repair_wheel(put_wheel(tmp_path, {**FILES, **foreign}), tmp_path / "out", sysroot=ROOT)
    assert contents(report.path).items() >= foreign.items()


def test_what_an_earlier_repair_told_is_kept(tmp_path: Path) -> None:
    without = RepairOptions(exclude=("libyaml*",))
    more = {module_name(name="demo/y"): extension(needed=["libz.so.1"], undefined=["inflate"])}
    first = repair_wheel(put_wheel(tmp_path, {**FILES, **more}), tmp_path / "out", sysroot=ROOT, options=without)
    (zlib,) = document(first.path)["components"]
    second = repair_wheel(first.path, tmp_path / "again", sysroot=ROOT)
    components = document(second.path)["components"]
    assert zlib in components
    assert len(components) > 1
    refs = {row["bom-ref"] for row in components}
    assert {row["ref"] for row in document(second.path)["dependencies"]} == {
        *refs,
        document(second.path)["metadata"]["component"]["bom-ref"],
    }


@pytest.mark.parametrize(
    "earlier",
    [b"", b"\xff", b"null", b"[]", b"{}", b'{"components": 1}', b'{"components": [1, {"bom-ref": []}]}', b"[" * 50000],
)
def test_a_broken_document_of_that_name_is_replaced(tmp_path: Path, earlier: bytes) -> None:
    report = repair_wheel(put_wheel(tmp_path, {**FILES, SBOM: earlier}), tmp_path / "out", sysroot=ROOT)
    assert len(document(report.path)["components"]) == 2
