"""Recording real Alpine roots, one of them foreign: what ships is what their loaders say today."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.policies.corpus import SHIPPED, read_corpus
from musllinux_build.policies.evidence import Evidence
from tests.integration.conftest import Tool

LAB = Path(os.environ.get("MUSLLINUX_LAB") or Path(__file__).parents[3] / "shared")
ROOTS = (("3.14.10", Arch.X86_64), ("3.15.11", Arch.X86_64), ("3.20.3", Arch.S390X))
"""The last Alpine that skips DT_RELR, the first that applies it, and one of another byte order."""


def archive(release: str, arch: Arch) -> Path:
    return LAB / "alpine" / f"alpine-minirootfs-{release}-{arch.row.apk}.tar.gz"


@pytest.fixture(scope="module")
def shipped() -> Mapping[tuple[str, Arch], Evidence]:
    return {(record.release, record.arch): record for record in read_corpus().records if record.distro == "alpine"}


@pytest.mark.engine
@pytest.mark.parametrize(("release", "arch"), ROOTS)
def test_a_record_is_what_ships(
    release: str, arch: Arch, tool: Tool, tmp_path: Path, shipped: Mapping[tuple[str, Arch], Evidence]
) -> None:
    out = tmp_path / "record.json"
    ran = tool("policy", "record", archive(release, arch), "--out", out)
    assert ran.status == 0, ran.everything
    recorded = Evidence.parse_record(out.read_text())
    assert recorded == shipped[release, arch]
    assert recorded.applies["relr"] == (release != "3.14.10")
    evidence = json.loads((LAB / "evidence" / f"alpine-{release}-{arch.value}.json").read_text())
    assert recorded.exports == frozenset(evidence["exports"])


@pytest.mark.engine
def test_a_directory_is_a_root_and_apk_is_not_needed(tool: Tool, tmp_path: Path) -> None:
    release, arch = ROOTS[1]
    root = tmp_path / "root"
    with tarfile.open(archive(release, arch)) as tar:
        for name in ("./etc/os-release", "./lib/apk/db/installed", f"./lib/{arch.row.loader}"):
            stream = tar.extractfile(name)
            assert stream is not None
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(stream.read())
    for place in (archive(release, arch), root):
        ran = tool("policy", "record", place)
        assert ran.status == 0, ran.everything
        assert Evidence.parse_record(ran.out).applies["relr"]
    not_alpine = shutil.copytree(root, tmp_path / "void")
    (not_alpine / "lib/apk/db/installed").unlink()
    (not_alpine / "etc/os-release").write_text('NAME="Void"\nID="void"\n')
    recorded = Evidence.parse_record(tool("policy", "record", "--no-run", not_alpine).out)
    assert (recorded.label, recorded.musl_package, recorded.applies) == ("void rolling", "1.2.2", {})


@pytest.mark.engine
def test_records_of_what_ships_change_nothing(tool: Tool, tmp_path: Path) -> None:
    for release, arch in ROOTS:
        assert tool("policy", "record", archive(release, arch), "--out", tmp_path / f"{release}.json").status == 0
    ran = tool("policy", "generate", "--check", "--records", tmp_path, "--directory", SHIPPED)
    assert (ran.status, ran.out) == (0, ""), ran.everything
    assert tool("policy", "check").status == 0
