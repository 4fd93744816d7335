"""``musllinux-build images mirror``: an offline directory with all that images are built from."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from musllinux_build.adapters.host_fetch import HostFetch
from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session, signals_as_errors
from musllinux_build.cli.options import cache_directory, option, progress, verbosity_options
from musllinux_build.errors import MusllinuxBuildError, UsageError
from musllinux_build.images.lock import BuilderRow, Lock, format_lock
from musllinux_build.images.mirror import Mirror, export_builder, write_file
from musllinux_build.images.recipe import apk_branch
from musllinux_build.images.supplies import Supplies, read_lock
from musllinux_build.images.targets import chosen_targets
from musllinux_build.images.works import Order, plan_target
from musllinux_build.ports import Progress

DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("mirror", short_help="Fill an offline directory.")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@option("--policy", multiple=True, help="Only this policy. Repeatable.")
@option("--arch", multiple=True, help="Only this architecture. Repeatable.")
@option("--python", multiple=True, help="Only this interpreter: 3.13, 3.13.5 or 3.14t. Repeatable.")
@click.option(
    "--engine",
    multiple=True,
    type=click.Choice([arch.value for arch in Arch]),
    help="For engines of these architectures (default: this machine's). Repeatable.",
)
@click.option("--from", "source", type=DIRECTORY, help="Take everything from this offline directory.")
@option("--lock", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Use this lock file.")
@option("--apk-mirror", metavar="DIR|URL", help="Take Alpine packages from here (default: Alpine's own mirror).")
@option("--source-mirror", type=DIRECTORY, help="Take source tarballs from this directory.")
@option("--base-archives", type=DIRECTORY, help="Take the archives of bases from this directory.")
@verbosity_options
def mirror_command(**given: Any) -> int:
    """Fill DIRECTORY with all that the chosen images are built from, for `--offline DIRECTORY`; again: go on."""
    supplies = Supplies.chosen(
        offline=given["source"],
        **{name: given[name] for name in ("base_archives", "source_mirror", "apk_mirror", "lock")},
        fetch=HostFetch(cache=cache_directory() / "downloads"),
    )
    lines = progress(given["verbose"], given["quiet"])
    native = Arch.from_machine(platform.machine())
    engines = [Arch(word) for word in given["engine"]] or ([native] if native is not None else [])
    if not engines:
        raise UsageError("this machine is of no known architecture", resolution="Name the engine's with --engine.")
    order = Order(pythons=given["python"])
    targets = chosen_targets(supplies.lock, given["policy"], given["arch"])
    recipes = [plan_target(supplies, *target, order, engine) for target in targets for engine in engines]
    directory: Path = given["directory"]
    with signals_as_errors(), ExitStack() as stack:
        mirror = Mirror(
            directory=directory,
            supplies=supplies,
            progress=lines,
            read=package_reader(supplies),
            keys=mirror_keys(supplies),
            export=lambda row: _export(stack, row, supplies, lines),
        )
        lock = mirror.fill(recipes, engines)
    write_file(directory / "lock.toml", [format_lock(_joined(lock, directory / "lock.toml", targets)).encode()])
    click.echo(f"{directory}: musllinux-build images build --offline {directory}")
    return 0


def _export(stack: ExitStack, row: BuilderRow, supplies: Supplies, lines: Progress) -> Iterator[bytes]:
    """The root of a builder, made on this machine's engine."""
    from musllinux_build.adapters.docker_sdk import connect  # noqa: PLC0415 - only where there is no archive

    session = stack.enter_context(closing(Session(connect(), lines)))
    return export_builder(session, row, supplies, lines)


def package_reader(supplies: Supplies) -> Callable[[str], bytes | None]:
    """What a package mirror has at a path below it: a directory, a URL, or where the lock's own bases are from."""
    directory = supplies.apk_directory()
    if directory is not None:
        return lambda path: (directory / path).read_bytes() if (directory / path).is_file() else None
    prefix = supplies.apk_mirror or alpine_address(supplies.lock)
    return lambda path: supplies.fetch.unpinned(f"{prefix.rstrip('/')}/{path}")


def alpine_address(lock: Lock) -> str:
    """The mirror that the lock's bases are from.

    Raises:
        UsageError: no base has an address.
    """
    for row in lock.bases:
        for url in row.urls:
            prefix, found, _ = url.partition(f"/{apk_branch(row.release)}/releases/")
            if found:
                return prefix
    raise UsageError("the lock does not say where Alpine is", resolution="Name a mirror with --apk-mirror.")


def mirror_keys(supplies: Supplies) -> Mapping[str, bytes]:
    """The keys in a mirror that is a directory: whoever named it trusts them."""
    directory = supplies.apk_directory()
    found = sorted((directory / "keys").glob("*.rsa.pub")) if directory is not None else []
    return {path.name: path.read_bytes() for path in found}


def _joined(lock: Lock, path: Path, targets: object) -> Lock:
    """The lock of all that the directory holds: what is there from earlier runs stays."""
    assert isinstance(targets, list)
    try:
        before = read_lock(path) if path.is_file() else Lock()
    except MusllinuxBuildError:
        before = Lock()
    rows = {(row.policy, row.arch): row for row in before.apks}
    rows |= {(row.policy, row.arch): row for row in lock.apks if (row.policy, row.arch) in targets}
    builders = {row.arch: row for row in before.builders if row.sha256 is not None}
    return replace(
        lock,
        apks=tuple(rows[row.policy, row.arch] for row in lock.apks if (row.policy, row.arch) in rows),
        builders=tuple(row if row.sha256 is not None else builders.get(row.arch, row) for row in lock.builders),
    )
