"""A lock measured online: what moves is taken from registry and mirror, the file's comments stay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.errors import RegistryError, UsageError
from musllinux_build.images.apkfile import parse_index
from musllinux_build.images.lock import BaseRow, Lock, parse_lock
from musllinux_build.images.measure import unmeasured
from musllinux_build.images.mirror import Root
from musllinux_build.images.online import Online, measure_online, patched, platform_digest
from musllinux_build.images.recipe import apk_branch
from musllinux_build.policy import known_policies
from musllinux_build.shipped import shipped
from tests.fakes import FakeRegistry, ListProgress
from tests.lab import apk
from tests.signing import KEYS, SIGNER, an_apk

SHIPPED = shipped("dockerfiles") / "lock.toml"
DIGESTS = {arch: f"sha256:{number:064x}" for number, arch in enumerate(Arch)}


def a_registry(lock: Lock) -> FakeRegistry:
    registry = FakeRegistry()
    rows = []
    for arch, digest in DIGESTS.items():
        _, architecture, *variant = arch.oci_platform.split("/")
        platform = {"os": "linux", "architecture": architecture} | ({"variant": variant[0]} if variant else {})
        rows.append({"digest": digest, "platform": platform})
    decoys = [
        {"digest": "sha256:6", "platform": {"os": "linux", "architecture": "arm", "variant": "v6"}},
        {"digest": "sha256:0", "platform": {"os": "unknown", "architecture": "unknown"}},
    ]
    index = json.dumps({"manifests": [*decoys, *rows]}).encode()
    for image in {f"alpine:{row.release}" for row in lock.bases} | {row.image for row in lock.builders}:
        name, _, tag = image.partition(":")
        registry.manifests[f"docker.io/library/{name}", tag] = index
    return registry


def a_world(lock: Lock, *, lacks: str = "") -> Online:
    names = {request.partition("=")[0] for row in lock.apks for request in (*row.sysroot, *row.image, *row.extra)}
    packages = {f"{name}-1-r0.apk": an_apk(name) for name in sorted(names - {lacks})}
    index = apk.write_index(packages, "lab", SIGNER)

    def root(row: BaseRow) -> Root:
        policy = next(policy for policy in known_policies() if apk_branch(policy.row.base) == apk_branch(row.release))
        return Root(installed=tuple(parse_index(f"P:musl\nV:{policy.row.musl_package}\n\n")), keys=KEYS)

    return Online(
        registry=a_registry(lock),
        read=lambda path: index if "/main/" in path else None,
        root=root,
        size=lambda row: 7,
        progress=ListProgress(),
    )


@pytest.fixture(scope="module")
def shipped_lock() -> Lock:
    return parse_lock(SHIPPED.read_text())


def test_everything_that_moves_is_measured_and_comments_stay(shipped_lock: Lock) -> None:
    measured = measure_online(shipped_lock, a_world(shipped_lock))
    assert {row.digest for row in measured.bases} == set(DIGESTS.values())
    assert {(row.arch, row.digest) for row in measured.bases} == set(DIGESTS.items())
    assert all(row.digest == DIGESTS[row.arch] for row in measured.builders)
    requests = {request for row in measured.apks for request in (*row.sysroot, *row.image, *row.extra)}
    assert requests
    assert {request.partition("=")[2] for request in requests} == {"1-r0"}
    assert unmeasured(shipped_lock) > 0
    assert unmeasured(measured) == 0
    text = SHIPPED.read_text()
    new = patched(text, measured, SHIPPED)
    assert parse_lock(new) == measured
    assert [line for line in new.splitlines() if line.startswith("#")] == [
        line for line in text.splitlines() if line.startswith("#")
    ]
    assert patched(new, measured, SHIPPED) == new


def test_measured_again_old_versions_are_no_wish(shipped_lock: Lock) -> None:
    (row, *_) = shipped_lock.apks
    old = replace(shipped_lock, apks=(replace(row, image=("bash=0-r0",), sysroot=(), extra=()),))
    assert measure_online(old, a_world(shipped_lock)).apks[0].image == ("bash=1-r0",)


def test_a_package_that_the_mirror_lacks(shipped_lock: Lock) -> None:
    with pytest.raises(UsageError) as caught:
        measure_online(shipped_lock, a_world(shipped_lock, lacks="bison"))
    assert "bison" in caught.value.details


def test_an_image_that_the_registry_lacks(shipped_lock: Lock) -> None:
    registry = a_registry(shipped_lock)
    for image in ("alpine:1", "debian:12-slim-and-more"):
        with pytest.raises(RegistryError, match="no image for linux/arm/v7"):
            platform_digest(registry, image, Arch.ARMV7L)


def test_what_was_measured_is_what_the_file_says(shipped_lock: Lock) -> None:
    other = replace(shipped_lock, clock=1)
    with pytest.raises(AssertionError):
        patched(SHIPPED.read_text(), other, Path("lock.toml"))
