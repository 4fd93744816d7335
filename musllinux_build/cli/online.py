"""``musllinux-build images lock --update`` where the registries and Alpine's mirror are reachable."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from musllinux_build.adapters.host_fetch import HostFetch
from musllinux_build.adapters.registry import HttpRegistry
from musllinux_build.builds.session import signals_as_errors
from musllinux_build.cli.mirror import package_reader
from musllinux_build.cli.options import cache_directory, progress
from musllinux_build.images.lock import BaseRow, SourceRow
from musllinux_build.images.mirror import Root, read_root
from musllinux_build.images.online import Online, measure_online, patched
from musllinux_build.images.supplies import Supplies


def measured_online(product: Path) -> str:
    """The text of the lock ``product`` as it is measured now."""
    from musllinux_build.adapters.docker_sdk import stored_credentials  # noqa: PLC0415 - start-up

    supplies = Supplies.chosen(lock=product, fetch=HostFetch(cache=cache_directory() / "downloads"))
    with TemporaryDirectory(prefix="musllinux-build-") as scratch, signals_as_errors():

        def root(row: BaseRow) -> Root:
            return read_root(supplies.fetch.base(row, Path(scratch) / row.filename))

        def size(row: SourceRow) -> int:
            return supplies.fetch.source(row, Path(scratch) / row.archive).stat().st_size

        world = Online(
            registry=HttpRegistry(stored_credentials),
            read=package_reader(supplies),
            root=root,
            size=size,
            progress=progress(0, 0),
        )
        return patched(product.read_text(encoding="utf-8"), measure_online(supplies.lock, world), product)
