"""Recipes, names, contexts, and the Dockerfile that they are for."""

from __future__ import annotations

import io
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.images.context import context_tar
from musllinux_build.images.lock import ApkRow, BaseRow, Lock, SourceRow, WheelRow
from musllinux_build.images.recipe import LIBRARIES, OPENSSL_TARGETS, STAGES, ImageRecipe, lock_digest, plan_image
from musllinux_build.images.reference import DEFAULT_REGISTRY, alpine_reference, builder_reference, image_reference
from musllinux_build.policy import Policy
from musllinux_build.ports import LABEL
from musllinux_build.shipped import shipped

SHA256 = "0" * 64
TARGET = (Policy.MUSLLINUX_1_2, Arch.AARCH64)
FROM_THE_ENGINE = {"TARGET_BASE", "BUILDER_BASE", "TOOLCHAIN_IMAGE", "APK_MIRROR"}


def source(name: str, version: str) -> SourceRow:
    return SourceRow(name=name, version=version, filename=f"{name}.tar.gz", urls=(), sha256=SHA256, size=1)


LIBRARY_ROWS = [source(name, "1.0") for name in LIBRARIES]
BASE = BaseRow(release="3.13.12", arch=Arch.AARCH64, digest=None, filename="a.tar.gz", urls=(), sha256=SHA256, size=1)
LOCK = Lock(
    bases=(BASE,),
    wheels=(WheelRow(group="python", name="pip", version="1", filename="pip-1-py3-none-any.whl", sha256=SHA256),),
    apks=(ApkRow(policy=TARGET[0], arch=TARGET[1], sysroot=("gcc",), image=("bash=5-r0", "gcc")),),
)


def recipe(*versions: str, lock: Lock = LOCK, libraries: list[SourceRow] | None = None) -> ImageRecipe:
    return plan_image(
        *TARGET,
        lock,
        pythons=[source("cpython", version) for version in versions],
        libraries=LIBRARY_ROWS if libraries is None else libraries,
        engine=Arch.X86_64,
        registry="registry.example",
    )


def test_arguments_come_from_the_tables() -> None:
    found = recipe("3.13.5", "3.11.2")
    assert found.tag == "registry.example/musllinux_1_2_aarch64"
    assert found.args == {
        "POLICY": "musllinux_1_2",
        "MUSL_PACKAGE": "1.2.2-r1",
        "APK_BRANCH": "v3.13",
        "SYSROOT_PACKAGES": "musl=1.2.2-r1 gcc",
        "IMAGE_PACKAGES": "musl=1.2.2-r1 bash=5-r0 gcc",
        "TARGET_ARCH": "aarch64",
        "TARGET_TRIPLE": "aarch64-alpine-linux-musl",
        "TARGET_MULTIARCH": "aarch64-linux-musl",
        "TARGET_LOADER": "ld-musl-aarch64.so.1",
        "TARGET_LIBC": "libc.musl-aarch64.so.1",
        "TARGET_ELF": "183:64",
        "TARGET_PLATFORM": "linux/arm64",
        "BUILDER_PLATFORM": "linux/amd64",
        "OPENSSL_TARGET": "linux-aarch64",
        "CPYTHON_3_11": "3.11.2",
        "CPYTHON_3_13": "3.13.5",
    }


def test_files_and_directories() -> None:
    found = recipe("3.13.5")
    paths = {file.path for file in found.files}
    assert {"sources/openssl/openssl-1.0.tar.gz", "sources/cpython-3.13/cpython-3.13.5.tar.gz"} <= paths
    assert "wheels/pip-1-py3-none-any.whl" in paths
    assert set(found.directories) == {"apk", "wheels", "sources/cpython-3.11", "sources/cpython-3.13"}
    assert found.args["CPYTHON_3_11"] == ""


def test_labels() -> None:
    labels = recipe("3.11.2", "3.13.5").labels
    assert labels[LABEL] == "image"
    assert labels["org.musllinux-build.musl"] == "1.2.2-r1"
    assert labels["org.musllinux-build.pythons"] == "3.11.2,3.13.5"
    assert labels["org.musllinux-build.lock"] == lock_digest(LOCK)
    assert "org.opencontainers.image.base.digest" not in labels
    digest = f"sha256:{SHA256}"
    measured = replace(LOCK, bases=(replace(BASE, digest=digest),))
    assert recipe("3.11.2", lock=measured).labels["org.opencontainers.image.base.digest"] == digest
    assert lock_digest(measured) != lock_digest(LOCK)


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ((), "needs an interpreter"),
        (("2.7.18",), "no stage for CPython 2.7"),
        (("3.13.5", "3.13.6"), "3.13.6 and 3.13.5 cannot be in one image"),
    ],
)
def test_refused_interpreters(versions: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe(*versions)


def test_refused_without_a_library() -> None:
    with pytest.raises(UsageError, match="does not have zlib"):
        recipe("3.13.5", libraries=[row for row in LIBRARY_ROWS if row.name != "zlib"])


def test_names() -> None:
    assert image_reference(DEFAULT_REGISTRY, *TARGET) == "ghcr.io/musllinux-build/musllinux_1_2_aarch64"
    assert alpine_reference("3.13.12", Arch.ARMV7L) == "musllinux-build/base:alpine-3.13.12-armv7l"
    assert builder_reference(Arch.X86_64) == "musllinux-build/base:builder-x86_64"


def test_every_architecture_has_an_openssl() -> None:
    assert set(OPENSSL_TARGETS) == set(Arch)


def dockerfile() -> str:
    return (shipped("dockerfiles") / "Dockerfile").read_text(encoding="utf-8")


def test_dockerfile_takes_what_the_recipe_gives() -> None:
    declared = set(re.findall(r"^ARG (\w+)$", dockerfile(), re.MULTILINE))
    assert declared == set(recipe("3.13.5").args) | FROM_THE_ENGINE


def test_dockerfile_uses_only_arguments_of_the_stage() -> None:
    stages = re.split(r"^FROM ", dockerfile(), flags=re.MULTILINE)
    everywhere = set(re.findall(r"^ARG (\w+)$", stages[0], re.MULTILINE))
    inherited: dict[str, set[str]] = {}
    for stage in stages[1:]:
        head, _, body = stage.partition("\n")
        assert head.startswith("--platform=${")
        assert set(re.findall(r"\$\{(\w+)\}", head)) <= everywhere
        base, _, name = head.split(" ", 1)[1].partition(" AS ")
        declared = set(re.findall(r"^ARG (\w+)$", body, re.MULTILINE)) | inherited.get(base, set())
        assert set(re.findall(r"\$\{(\w+)\}", body)) <= declared
        inherited[name] = inherited.get(base, set()) | set(re.findall(r"(\w+)=\$\{\1\}", body))


def test_dockerfile_has_the_stages() -> None:
    for minor in STAGES:
        assert f" AS native-{minor}\n" in dockerfile()
        assert f"COPY --from=cpython-{minor} /out/ /\n" in dockerfile()
    assert set(re.findall(r" AS cpython-([\d.]+)$", dockerfile(), re.MULTILINE)) == set(STAGES)


def test_dockerfile_names_scripts_that_exist() -> None:
    scripts = shipped("dockerfiles") / "scripts"
    named = set(re.findall(r"scripts/([\w.-]+)", dockerfile()))
    assert named == {path.name for path in scripts.iterdir() if path.is_file()}


def test_scripts_that_are_run_say_with_what() -> None:
    for path in (shipped("dockerfiles") / "scripts").glob("*.sh"):
        assert path.name == "component.sh" or path.read_bytes().startswith(b"#!/bin/sh\n")


def test_no_hard_coded_architecture() -> None:
    shipped_text = dockerfile() + "".join(
        path.read_text(encoding="utf-8") for path in (shipped("dockerfiles") / "scripts").iterdir() if path.is_file()
    )
    assert re.findall(r"x86_64|aarch64-|ppc64le|s390x|musllinux_1_[12]", shipped_text) == []


def members(archive: bytes) -> list[tuple[str, int, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return [
            (member.name, member.mode, stream.read() if (stream := opened.extractfile(member)) else b"")
            for member in opened
        ]


def test_context(tmp_path: Path) -> None:
    script, data = tmp_path / "script", tmp_path / "data"
    script.write_bytes(b"#!/bin/sh\n")
    data.write_bytes(bytes(513))
    data.chmod(0o600)
    archive = b"".join(context_tar({"b/run": script, "a": data}, ["empty/inside"]))
    assert members(archive) == [
        ("b", 0o755, b""),
        ("empty", 0o755, b""),
        ("empty/inside", 0o755, b""),
        ("a", 0o644, bytes(513)),
        ("b/run", 0o755, b"#!/bin/sh\n"),
    ]
    assert len(archive) % 512 == 0
    script.touch()
    assert b"".join(context_tar({"a": data, "b/run": script}, ["empty/inside"])) == archive


def test_context_of_a_large_file(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"x" * ((2 << 20) + 1))
    assert members(b"".join(context_tar({"large": large})))[0][2] == large.read_bytes()
