"""Recipes, names, contexts, and the Dockerfile that they are for."""

from __future__ import annotations

import io
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.images.context import context_tar
from musllinux_build.images.ingredients import declared_arguments
from musllinux_build.images.lock import ApkRow, BaseRow, Lock, SourceRow, WheelRow
from musllinux_build.images.recipe import (
    LIBRARIES,
    OPENSSL_TARGETS,
    ImageRecipe,
    Interpreter,
    StageRecipe,
    lock_digest,
    plan_image,
)
from musllinux_build.images.reference import DEFAULT_REGISTRY, alpine_reference, builder_reference, image_reference
from musllinux_build.policy import Policy
from musllinux_build.ports import LABEL
from musllinux_build.shipped import shipped

SHA256 = "0" * 64
TARGET = (Policy.MUSLLINUX_1_2, Arch.AARCH64)


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
        pythons=[
            Interpreter(source=source("cpython", version.removesuffix("t")), free_threaded=version.endswith("t"))
            for version in versions
        ],
        libraries=LIBRARY_ROWS if libraries is None else libraries,
        engine=Arch.X86_64,
        registry="registry.example",
    )


def stage(found: ImageRecipe, dockerfile: str) -> StageRecipe:
    (only,) = (one for one in found.stages if one.dockerfile == dockerfile)
    return only


def test_arguments_come_from_the_tables() -> None:
    found = recipe("3.13.5")
    assert found.tag == "registry.example/musllinux_1_2_aarch64"
    assert stage(found, "Dockerfile").args == {
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
        "CLOCK": "0",
    }


def test_each_interpreter_is_a_stage_of_its_own() -> None:
    found = recipe("3.14.1t", "3.9.2", "3.14.1")
    stages = {one.name: one for one in found.stages}
    names: list[str] = []
    collection = stages[found.stages[-1].needs["INTERPRETERS"]]
    while collection.needs:
        names.insert(0, collection.needs["INTERPRETER"])
        collection = stages[collection.needs["COLLECTED"]]
    label = "for musllinux_1_2_aarch64"
    pythons = [f"CPython 3.9.2 {label}", f"CPython 3.14.1 {label}", f"CPython 3.14.1t {label}"]
    assert names == [*pythons, "tools of musllinux_1_2_aarch64, full"]
    # The tools run on the newest that has a GIL.
    assert stages[names[-1]].args["CPYTHON_VERSION"] == "3.14.1"
    assert stages[names[-1]].needs == {"NATIVE": stages[names[1]].needs["NATIVE"]}
    last = stages[pythons[-1]]
    assert (last.args["CPYTHON_VERSION"], last.args["CPYTHON_THREADS"]) == ("3.14.1", "t")
    assert {file.path for file in last.files} == {"sources/cpython-3.14.1.tar.gz", "wheels/pip-1-py3-none-any.whl"}


def test_every_need_comes_before_its_user() -> None:
    done: set[str] = set()
    for one in recipe("3.11.2", "3.13.5").stages:
        assert set(one.needs.values()) <= done
        done.add(one.name)


def test_build_pythons_and_the_builder_know_nothing_of_the_target() -> None:
    for one in recipe("3.13.5").stages:
        if one.dockerfile in {"builder.Dockerfile", "native.Dockerfile"}:
            text = (shipped("dockerfiles") / one.dockerfile).read_text(encoding="utf-8")
            assert not re.search(r"TARGET|APK|POLICY", text)


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
        (("3.8.1",), "CPython 3.8.1 is not among"),
        (("3.12.1t",), "CPython 3.12.1t is not among"),
        (("3.13.5", "3.13.6"), "3.13.6 and 3.13.5 cannot be in one image"),
    ],
)
def test_refused_interpreters(versions: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe(*versions)


@pytest.mark.parametrize("versions", [("3.9.2", "3.10.1"), ("3.14.1t",)])
def test_an_image_needs_an_interpreter_for_its_tools(versions: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=f"CPython {', '.join(versions)} alone cannot be made"):
        recipe(*versions)


def test_what_an_image_says_of_itself() -> None:
    (tools,) = (one for one in recipe("3.11.2", "3.13.5").stages if one.tool)
    document = json.loads(tools.texts["contents/manifest.json"])
    assert document["packages"] == ["musl=1.2.2-r1", "bash=5-r0", "gcc"]
    assert document["pythons"] == ["3.11.2", "3.13.5"]
    assert {row["name"] for row in document["sources"]} == {"cpython", *LIBRARIES}
    assert [row["filename"] for row in document["wheels"]] == ["pip-1-py3-none-any.whl"]
    known = tools.texts["contents/interpreters"].splitlines()
    assert known[:2] == ["cp39-cp39", "cp310-cp310"]
    assert known[-1] == "cp315-cp315t"


def test_refused_without_a_library() -> None:
    with pytest.raises(UsageError, match="does not have zlib"):
        recipe("3.13.5", libraries=[row for row in LIBRARY_ROWS if row.name != "zlib"])


def test_names() -> None:
    assert image_reference(DEFAULT_REGISTRY, *TARGET) == "ghcr.io/musllinux-build/musllinux_1_2_aarch64"
    assert alpine_reference("3.13.12", Arch.ARMV7L) == "musllinux-build/base:alpine-3.13.12-armv7l"
    assert builder_reference(Arch.X86_64) == "musllinux-build/base:builder-x86_64"


def test_every_architecture_has_an_openssl() -> None:
    assert set(OPENSSL_TARGETS) == set(Arch)


USERLAND = "userland.Dockerfile"
"""Of no image, but of the containers that images are used in."""
DOCKERFILES = sorted(path.name for path in shipped("dockerfiles").glob("*Dockerfile"))


def dockerfile(name: str) -> str:
    return (shipped("dockerfiles") / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted({*DOCKERFILES} - {USERLAND}))
def test_a_dockerfile_takes_what_the_recipe_gives(name: str) -> None:
    (one, *_) = (one for one in recipe("3.13.5").stages if one.dockerfile == name)
    given = {*one.args, *one.needs, *one.bases, *(["APK_MIRROR"] if one.apk else [])}
    assert declared_arguments(dockerfile(name)) <= given
    assert {*one.needs, *one.bases} <= declared_arguments(dockerfile(name))


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_dockerfile_uses_only_arguments_of_the_stage(name: str) -> None:
    stages = re.split(r"^FROM ", dockerfile(name), flags=re.MULTILINE)
    everywhere = set(re.findall(r"^ARG (\w+)$", stages[0], re.MULTILINE))
    inherited: dict[str, set[str]] = {}
    for one in stages[1:]:
        head, _, body = one.partition("\n")
        assert head.startswith("--platform=${")
        assert set(re.findall(r"\$\{(\w+)\}", head)) <= everywhere
        base, _, own = head.split(" ", 1)[1].partition(" AS ")
        declared = set(re.findall(r"^ARG (\w+)$", body, re.MULTILINE)) | inherited.get(base, set())
        assert set(re.findall(r"\$\{(\w+)\}", body)) <= declared
        inherited[own] = inherited.get(base, set()) | set(re.findall(r"(\w+)=\$\{\1\}", body))


def test_every_script_is_named() -> None:
    scripts = shipped("dockerfiles") / "scripts"
    named = {found for name in DOCKERFILES for found in re.findall(r"scripts/([\w.-]+)", dockerfile(name))}
    assert named == {path.name for path in scripts.iterdir() if path.is_file()}


def test_scripts_that_are_run_say_with_what() -> None:
    for path in (shipped("dockerfiles") / "scripts").glob("*.sh"):
        assert path.name == "component.sh" or path.read_bytes().startswith(b"#!/bin/sh\n")


def test_no_hard_coded_architecture() -> None:
    shipped_text = "".join(map(dockerfile, DOCKERFILES)) + "".join(
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
