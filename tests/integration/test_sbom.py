"""The document of grafted libraries against the schema of CycloneDX 1.6, and the databases of real Alpine roots."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from musllinux_build.adapters.archive_sysroot import ArchiveSysroot
from musllinux_build.apkdb import NO_DATABASE, ApkDatabase, read_database
from musllinux_build.arch import Arch
from musllinux_build.audit.repair import repair_wheel
from musllinux_build.audit.sbom import SBOM_NAME, sbom_json
from tests.unit.auditing import extension, module_name, put_wheel
from tests.unit.test_sbom import INSTALLED, LIBRARIES, WHEEL, bundled, database

LAB = Path(os.environ.get("MUSLLINUX_LAB") or Path(__file__).parents[3] / "shared")
ROOTS = sorted((LAB / "alpine").glob("alpine-minirootfs-*.tar.gz"))


def faults(content: bytes) -> object:
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(content.decode())


@pytest.mark.parametrize("license_text", ["MIT", "MIT AND BSD-2-Clause", "custom", "(" * 200, "((MIT)", "BSD MIT"])
@pytest.mark.parametrize("with_base", [True, False])
def test_it_is_valid(license_text: str, with_base: bool) -> None:
    base = database(INSTALLED.replace(b"L:MIT", f"L:{license_text}".encode())) if with_base else NO_DATABASE
    assert faults(sbom_json(WHEEL, LIBRARIES, base, epoch=1700000000)) is None


@pytest.mark.parametrize("field", ["serialNumber", "bomFormat", "components", "dependencies"])
def test_the_validator_sees_faults(field: str) -> None:
    sound = json.loads(sbom_json(WHEEL, LIBRARIES, database(), epoch=1700000000))
    assert faults(json.dumps(sound | {field: "none"}).encode()) is not None


def read_root(archive: Path) -> ApkDatabase:
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as tar:

        def read(path: str) -> bytes | None:
            try:
                stream = tar.extractfile(f".{path}")
            except KeyError:
                return None
            return stream.read() if stream else None

        return read_database(read)


@pytest.mark.skipif(not ROOTS, reason="the lab folder is not there")
@pytest.mark.parametrize("archive", ROOTS, ids=lambda path: path.name.removesuffix(".tar.gz"))
def test_real_roots(archive: Path) -> None:
    base = read_root(archive)
    assert (base.distribution, base.branch) == ("alpine", ".".join(archive.name.split("-")[2].split(".")[:2]))
    path = next(path for path in base.files if "/libcrypto.so." in path)
    owned = base.owner(path)
    assert owned
    assert owned.package.name in {"libcrypto1.1", "libcrypto3"}
    assert owned.package.origin.startswith("openssl")
    assert owned.package.license
    assert len(owned.sha1) == 40
    content = sbom_json(WHEEL, [bundled("d.libs/libcrypto.so", path, b"")], base, epoch=1)
    assert faults(content) is None
    assert f"distro=alpine-{base.branch}" in content.decode()


@pytest.mark.skipif(not ROOTS, reason="the lab folder is not there")
@pytest.mark.parametrize(
    "archive", [path for path in ROOTS if "-3.20" in path.name or "-3.13" in path.name], ids=lambda path: path.name
)
def test_a_repair_with_a_real_root(archive: Path, tmp_path: Path) -> None:
    name = archive.name.removesuffix(".tar.gz").rsplit("-", 1)[1]
    arch = next(arch for arch in Arch if arch.row.libc_soname == f"libc.musl-{name}.so.1")
    sysroot = ArchiveSysroot(archive)
    crypto = next(name for name in sysroot.names("/lib") if name.startswith("libssl.so."))
    module = extension(arch, needed=[crypto, "libz.so.1"], undefined=["SSL_new", "inflate"])
    wheel = put_wheel(tmp_path, {module_name(arch): module}, arch)
    report = repair_wheel(wheel, tmp_path / "out", sysroot=sysroot, epoch=1700000000)
    with zipfile.ZipFile(report.path) as members:
        content = members.read(f"demo-1.0.dist-info/{SBOM_NAME}")
    assert faults(content) is None
    document = json.loads(content)
    names = {row["purl"].partition("@")[0].removeprefix("pkg:apk/alpine/") for row in document["components"]}
    assert {name.rstrip("0123456789.") for name in names} == {"libssl", "libcrypto", "zlib"}
    assert all(row["licenses"] for row in document["components"])
    # What was grafted is what the package installed.
    assert not any("differs" in row["name"] for each in document["components"] for row in each["properties"])
