"""A built image of the engine → an image of a layout with its documents, ready to be published."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from musllinux_build.apkdb import ApkPackage, parse_packages
from musllinux_build.arch import Arch
from musllinux_build.errors import ImageError
from musllinux_build.images.contents import VARIANT_LABEL
from musllinux_build.images.describe import bill_of_materials, provenance, select_materials
from musllinux_build.images.ingredients import locked_package
from musllinux_build.images.layers import apply_layers
from musllinux_build.images.lock import MEASURE, Lock, SourceRow
from musllinux_build.images.oci import Layout, open_saved, write_image
from musllinux_build.images.publish import Image
from musllinux_build.images.recipe import LIBRARIES, lock_digest
from musllinux_build.images.reference import Variant
from musllinux_build.policy import Policy
from musllinux_build.ports import LABEL, PYTHONS_LABEL, Engine, ImageInfo

LOCK_LABEL = f"{LABEL.rpartition('.')[0]}.lock"
INSTALLED = "lib/apk/db/installed"


def package_image(
    engine: Engine, reference: str, target: tuple[Policy, Arch], lock: Lock, layout: Layout, *, builder: str
) -> Image:
    """Write the image ``reference`` into ``layout``, with its bill of materials and provenance.

    Raises:
        ImageError: it is not there, is for another architecture, or was built from another lock.
    """
    policy, arch = target
    info = engine.image(reference)
    if info is None:
        raise ImageError(f"there is no image {reference}", resolution="Build it: musllinux-build images build")
    _check(info, reference, arch, lock)
    with tempfile.TemporaryDirectory(prefix="musllinux-build-") as scratch:
        saved = Path(scratch) / "saved.tar"
        with saved.open("wb") as stream:
            stream.writelines(engine.save(reference))
        manifest = write_image(saved, layout, lock.clock, Path(scratch))
        with open_saved(saved, Path(scratch)) as (_, layers):
            found = apply_layers(layers).get(INSTALLED)
            content = layers[found.layer].extractfile(found.info) if found is not None else None
            packages = parse_packages(content.read()) if content is not None else ()
    check_installed(packages, lock, policy, arch)
    materials = select_materials(
        lock,
        policy,
        arch,
        sources=_sources(lock, info),
        packages=packages,
        lock_digest=lock_digest(lock),
        variant=Variant(info.labels.get(VARIANT_LABEL, Variant.FULL.value)),
    )
    documents = (bill_of_materials(materials, lock.clock), provenance(materials, manifest.digest, builder))
    return Image(policy=policy, arch=arch, layout=layout, manifest=manifest, attachments=documents)


def check_installed(packages: Iterable[ApkPackage], lock: Lock, policy: Policy, arch: Arch) -> None:
    """Refuse an image that holds other versions of packages than the lock was measured with.

    Raises:
        ImageError: it does.
    """
    closure = next((row.closure for row in lock.apks if (row.policy, row.arch) == (policy, arch)), ())
    locked = {one.name: one.version for one in map(locked_package, closure)}
    others = [
        f"{one.name}: {one.version}, the lock has {locked[one.name]}"
        for one in packages
        if locked.get(one.name, one.version) != one.version
    ]
    if others:
        raise ImageError(
            f"{policy.platform_tag(arch)} holds other packages than the lock",
            details="\n".join(sorted(others)),
            resolution=f"Measure the lock again: {MEASURE}\nThen build and publish with --lock lock.toml",
        )


def _check(info: ImageInfo, reference: str, arch: Arch, lock: Lock) -> None:
    if info.arch is not arch:
        raise ImageError(f"{reference} is for {info.architecture}, not {arch.value}")
    if info.labels.get(LOCK_LABEL) != lock_digest(lock):
        raise ImageError(
            f"{reference} was built from another lock",
            details=f"the image says {info.labels.get(LOCK_LABEL)}, the lock is {lock_digest(lock)}",
            resolution="Build it again, or name the lock it was built from with --lock.",
        )


def _sources(lock: Lock, info: ImageInfo) -> list[SourceRow]:
    # A free-threaded build, 3.14.1t, is made from the source of its version.
    versions = [version.removesuffix("t") for version in info.labels.get(PYTHONS_LABEL, "").split(",")]
    pythons = [row for row in lock.sources if row.name == "cpython" and row.version in versions]
    libraries = [row for name in LIBRARIES if (row := lock.newest(name)) is not None]
    return [*pythons, *libraries]
