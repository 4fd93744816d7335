"""An image's bill of materials and provenance: complete, connected, and the same for the same inputs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from musllinux_build.apkdb import parse_packages
from musllinux_build.arch import Arch
from musllinux_build.images.describe import Materials, bill_of_materials, provenance, select_materials
from musllinux_build.images.lock import BaseRow, Lock, SourceRow, WheelRow
from musllinux_build.images.reference import Variant
from musllinux_build.policy import Policy

INSTALLED = (
    b"P:musl\nV:1.2.2-r1\nA:aarch64\nL:MIT\n\nP:bash\nV:5.1.0-r0\nA:aarch64\nL:GPL-3.0-or-later\nF:bin\nR:bash\n\n"
)
LOCK = Lock(
    bases=(
        BaseRow(
            release=Policy.MUSLLINUX_1_2.row.base,
            arch=Arch.AARCH64,
            digest=None,
            filename="root.tar.gz",
            urls=("https://alpine.example/root.tar.gz",),
            sha256="b" * 64,
            size=1,
        ),
    ),
    wheels=(WheelRow(group="python", name="pip", version="26.0", filename="pip.whl", sha256="c" * 64),),
)
CPYTHON = SourceRow(
    name="cpython", version="3.13.5", filename="Python-3.13.5.tar.xz", urls=("https://x/p",), sha256="a" * 64, size=1
)


def materials() -> Materials:
    packages = parse_packages(INSTALLED)
    return select_materials(
        LOCK, Policy.MUSLLINUX_1_2, Arch.AARCH64, sources=[CPYTHON], packages=packages, lock_digest="0123"
    )


def test_packages_without_files_count_too() -> None:
    assert [package.name for package in parse_packages(INSTALLED)] == ["bash", "musl"]


def test_every_component_is_named_and_reached() -> None:
    document: dict[str, Any] = json.loads(bill_of_materials(materials(), 0).content)
    assert [one["name"] for one in document["components"]] == ["bash", "musl", "cpython", "pip"]
    root = document["metadata"]["component"]["bom-ref"]
    reached = next(one["dependsOn"] for one in document["dependencies"] if one["ref"] == root)
    assert set(reached) == {one["bom-ref"] for one in document["components"]}
    assert "pkg:apk/alpine/musl@1.2.2-r1?arch=aarch64&distro=alpine-3.13" in reached


def test_a_slim_image_has_the_tools_and_each_wheel_once() -> None:
    wheels = (
        LOCK.wheels[0],
        replace(LOCK.wheels[0], group="tools"),
        WheelRow(group="tools", name="click", version="8", filename="click.whl", sha256="d" * 64),
        WheelRow(group="extra", name="uv", version="1", filename="uv.whl", sha256="e" * 64, arch=Arch.AARCH64),
    )
    chosen: dict[str, Any] = {"sources": [CPYTHON], "packages": (), "lock_digest": "0123"}
    lock, target = replace(LOCK, wheels=wheels), (Policy.MUSLLINUX_1_2, Arch.AARCH64)
    assert [row.name for row in select_materials(lock, *target, **chosen).wheels] == ["pip", "click", "uv"]
    slim = select_materials(lock, *target, **chosen, variant=Variant.SLIM)
    assert [row.name for row in slim.wheels] == ["pip", "click"]


def test_provenance_names_every_download_with_its_hash() -> None:
    statement = json.loads(provenance(materials(), f"sha256:{'d' * 64}", "https://ci.example/run").content)
    assert statement["subject"] == [{"name": "musllinux_1_2_aarch64", "digest": {"sha256": "d" * 64}}]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["pythons"] == ["3.13.5"]
    hashes = {one["digest"]["sha256"][0] for one in definition["resolvedDependencies"] if "digest" in one}
    assert hashes == {"a", "b", "c"}


def test_the_same_inputs_say_the_same() -> None:
    assert bill_of_materials(materials(), 7) == bill_of_materials(materials(), 7)
    assert bill_of_materials(materials(), 7) != bill_of_materials(materials(), 8)
