"""Roots of the engine: a stock Alpine for the target, a Debian for the builder, by digest or from a hashed archive."""

from __future__ import annotations

import hashlib
import struct
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.errors import FetchError, ImageError
from musllinux_build.images.context import context_tar
from musllinux_build.images.lock import BaseRow, BuilderRow
from musllinux_build.images.reference import alpine_reference, builder_reference
from musllinux_build.images.supplies import Supplies
from musllinux_build.ports import LABEL, BuildSpec, Engine, ImageInfo, Progress

ARCHIVE_LABEL = "org.musllinux-build.sha256"
"""On a base made from an archive: the archive's SHA-256."""

_ELF_MEMBERS = ("bin/busybox", "bin/dash", "usr/bin/dash", "lib/ld-musl-")
"""Where a root has an executable that tells its architecture."""

BASE_DOCKERFILE = b"FROM scratch\nADD root.tar /\n"
# `docker import` records the engine's own architecture on older engines; a build records the wanted one.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Root:
    """A root file system to make a base of."""

    what: str
    tag: str
    arch: Arch
    image: str
    digest: str | None
    row: BaseRow | BuilderRow


def ensure_base(
    engine: Engine,
    release: str,
    arch: Arch,
    supplies: Supplies,
    progress: Progress,
) -> str:
    """A reference to a stock Alpine root on the engine.

    From the archive in ``supplies.base_archives``; without that directory from the registry by digest, or, while the
    lock has no digest, from the archive that the lock's address and hash name.

    Raises:
        ImageError: it cannot be had, or is for another architecture.
        FetchError: the archive cannot be fetched or has another hash.
    """
    row = supplies.lock.base(release, arch)
    root = _Root(
        what=f"Alpine {release} for {arch.value}",
        tag=alpine_reference(release, arch),
        arch=arch,
        image="alpine",
        digest=row.digest,
        row=row,
    )
    return _ensure_root(engine, root, supplies, progress)


def ensure_builder(engine: Engine, arch: Arch, supplies: Supplies, progress: Progress) -> str:
    """A reference to the base of the native stages on an engine of ``arch``; errors as in :func:`ensure_base`."""
    row = supplies.lock.builder(arch)
    root = _Root(
        what=f"the builder base for {arch.value} engines",
        tag=builder_reference(arch),
        arch=arch,
        image=row.image,
        digest=row.digest,
        row=row,
    )
    return _ensure_root(engine, root, supplies, progress)


def _ensure_root(engine: Engine, root: _Root, supplies: Supplies, progress: Progress) -> str:
    if supplies.base_archives is None and (root.digest is not None or isinstance(root.row, BuilderRow)):
        reference = f"{root.image.partition(':')[0]}@{root.digest}" if root.digest else root.image
        if root.digest is None:
            progress.warn(f"the lock has no digest of {root.image} yet; its tag is taken as it is")
        found = engine.image(reference) or engine.pull(reference, root.arch.oci_platform)
        return _of_architecture(found, root, reference)
    local = engine.image(root.tag)
    sha256 = root.row.sha256
    if local is not None and sha256 is not None and local.labels.get(ARCHIVE_LABEL) == sha256:
        return _of_architecture(local, root, root.tag)
    with _archive(root, supplies) as path:
        found_sha256 = file_sha256(path)
        if sha256 is not None and found_sha256 != sha256:
            details = f"{path}\nexpected sha256 {sha256}\nreceived sha256 {found_sha256}"
            raise FetchError(f"{root.what} is not the pinned archive", details=details)
        if sha256 is None:
            progress.warn(f"the lock has no hash of {path.name} yet; it is taken as it is")
            if local is not None and local.labels.get(ARCHIVE_LABEL) == found_sha256:
                return _of_architecture(local, root, root.tag)
        check_archive(path, root.arch, root.what)
        with progress.step(root.what):
            built = engine.build(_base_spec(root, path, found_sha256), progress.detail)
    return _of_architecture(built, root, root.tag)


def _of_architecture(image: ImageInfo, root: _Root, reference: str) -> str:
    if image.arch is not root.arch:
        found = image.arch.value if image.arch else image.architecture
        raise ImageError(f"{reference} is for {found}, not {root.arch.value}", resolution="Remove it and start again.")
    return reference


def _base_spec(root: _Root, archive: Path, sha256: str) -> BuildSpec:
    def context() -> Iterator[bytes]:
        with tempfile.TemporaryDirectory() as scratch:
            dockerfile = Path(scratch) / "Dockerfile"
            dockerfile.write_bytes(BASE_DOCKERFILE)
            yield from context_tar({"Dockerfile": dockerfile, "root.tar": archive})

    return BuildSpec(
        context=context(),
        tag=root.tag,
        platform=root.arch.oci_platform,
        labels={LABEL: "base", ARCHIVE_LABEL: sha256},
        network="none",
    )


@contextmanager
def _archive(root: _Root, supplies: Supplies) -> Iterator[Path]:
    if supplies.base_archives is not None:
        path = supplies.base_archives / root.row.filename
        if not path.is_file():
            resolution = f"Put {path.name} into {path.parent}, or leave --base-archives out."
            raise ImageError(f"there is no archive of {root.what}", details=str(path), resolution=resolution)
        yield path
        return
    assert isinstance(root.row, BaseRow)
    with tempfile.TemporaryDirectory() as scratch:
        yield supplies.fetch.base(root.row, Path(scratch) / root.row.filename)


def check_archive(path: Path, arch: Arch, what: str) -> None:
    """Refuse a root archive whose executables are not for ``arch`` (gABI: ``EI_CLASS``, ``EI_DATA``, ``e_machine``).

    Raises:
        ImageError: they are for another one, there are none, or it is not an archive.
    """
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.isfile() and name.startswith(_ELF_MEMBERS):
                    stream = archive.extractfile(member)
                    found = elf_arch(stream.read(20)) if stream is not None else None
                    if found is not arch:
                        is_for = found.value if found else "no known architecture"
                        raise ImageError(
                            f"{path.name} is for {is_for}, but {what} was asked for",
                            details=f"{name} in {path}",
                            resolution=f"Put the archive for {arch.value} there.",
                        )
                    return
    except (OSError, tarfile.TarError) as error:
        raise ImageError(f"{path.name} cannot be read", details=str(error)) from error
    raise ImageError(f"{path.name} is no root file system that is known here", details=str(path))


def elf_arch(header: bytes) -> Arch | None:
    """The architecture in the first 20 bytes of an ELF file, None for one that is not ours."""
    if len(header) < 20 or header[:4] != b"\x7fELF" or header[5] not in (1, 2):
        return None
    order, prefix = ("little", "<") if header[5] == 1 else ("big", ">")
    (machine,) = struct.unpack_from(f"{prefix}H", header, 18)
    for arch in Arch:
        elf = arch.row.elf
        if (elf.machine, elf.bits, elf.order) == (machine, 32 * header[4], order):
            return arch
    return None


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
