"""``musllinux-build images``: the lock and the images made from it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from musllinux_build.arch import Arch
from musllinux_build.cli.image_build import build_command, clean_command
from musllinux_build.cli.join import join_command
from musllinux_build.cli.mirror import mirror_command, mirror_keys, package_reader
from musllinux_build.cli.online import measured_online
from musllinux_build.cli.options import option, supply_options
from musllinux_build.cli.publish import publish_command
from musllinux_build.cli.say import write_text
from musllinux_build.cli.verify import verify_command
from musllinux_build.errors import EngineError, ImageError, UsageError
from musllinux_build.images.absent import read_absent
from musllinux_build.images.bases import file_sha256
from musllinux_build.images.lock import BaseRow, Lock, format_lock
from musllinux_build.images.measure import Holdings, MeasuredFile, measure, parse_apkindex, unmeasured
from musllinux_build.images.mirror import Root, measure_closures, read_root
from musllinux_build.images.package import LOCK_LABEL
from musllinux_build.images.recipe import apk_branch, lock_digest
from musllinux_build.images.reference import DEFAULT_REGISTRY, image_reference
from musllinux_build.images.supplies import Supplies, read_lock
from musllinux_build.policy import Policy
from musllinux_build.ports import PYTHONS_LABEL, Engine
from musllinux_build.shipped import shipped


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def images() -> None:
    """Lock, build, verify and publish the images that wheels are built in."""


images.add_command(build_command)
images.add_command(clean_command)
images.add_command(mirror_command)
images.add_command(verify_command)
images.add_command(publish_command)
images.add_command(join_command)


@images.command("list")
@option("--registry", default=DEFAULT_REGISTRY, show_default=True, help="What the images are called after.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@supply_options
def list_command(**given: Any) -> int:
    """Say which images the lock describes, and which of them are built."""
    from musllinux_build.adapters.docker_sdk import connect  # noqa: PLC0415 - not needed for the lock

    chosen = {name: given[name] for name in ("offline", "base_archives", "source_mirror", "apk_mirror", "lock")}
    supplies = Supplies.chosen(**chosen)
    try:
        engine: Engine | None = connect()
    except EngineError:
        engine = None
    rows = [
        _listed(engine, given["registry"], target, supplies.lock)
        for target in ((row.policy, row.arch) for row in supplies.lock.apks)
    ]
    if given["as_json"]:
        click.echo(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        state = "not built" if not row["built"] else "built" if row["current"] else "built from another lock"
        click.echo(f"{row['image']:56} musl {row['musl']:12} {state} {row['pythons']}".rstrip())
    return 0


def _listed(engine: Engine | None, registry: str, target: tuple[Policy, Arch], lock: Lock) -> dict[str, Any]:
    """One image of the lock, as the list shows it."""
    policy, arch = target
    reference = image_reference(registry, policy, arch)
    info = engine.image(reference) if engine is not None else None
    return {
        "image": reference,
        "policy": policy.value,
        "arch": arch.value,
        "musl": policy.row.musl_package,
        "alpine": policy.row.base,
        "pythons": info.labels.get(PYTHONS_LABEL, "") if info else "",
        "built": info.id if info else None,
        "current": info is not None and info.labels.get(LOCK_LABEL) == lock_digest(lock),
    }


@images.command("lock")
@click.option("--check", is_flag=True, help="Read the lock and say what nobody has measured yet.")
@click.option("--update", is_flag=True, help="Measure and write the lock to --lock.")
@click.option("--lock", "path", type=click.Path(dir_okay=False, path_type=Path), help="The file (default: shipped).")
@click.option("--base-archives", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--sources", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--apk-mirror", type=click.Path(exists=True, file_okay=False, path_type=Path))
@option(
    "--absent",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A TOML table [absent]: packages that the mirror may lack, and why.",
)
def lock_command(**given: Any) -> int:
    """Check the lock, measure it again where registries and Alpine's mirror are, or make one for other supplies.

    --update without a directory asks them for digests of bases and versions of packages; with directories it makes a
    lock of what is in them.
    """
    if given["check"] == given["update"]:
        raise UsageError("one of --check and --update is wanted")
    product = shipped("dockerfiles") / "lock.toml"
    if given["check"]:
        click.echo(f"valid; {unmeasured(read_lock(given['path'] or product))} value(s) unmeasured")
        return 0
    if given["path"] is None:
        raise UsageError("--update writes a file", resolution="Name it with --lock.")
    if all(given[name] is None for name in ("base_archives", "sources", "apk_mirror")):
        write_text(given["path"], measured_online(product))
        return 0
    shipped_lock = read_lock(product)
    lock = measure(shipped_lock, read_holdings(shipped_lock, given))
    if given["apk_mirror"] is not None and given["base_archives"] is not None:
        lock = _with_closures(lock, given["apk_mirror"], given["base_archives"])
    write_text(given["path"], format_lock(lock))
    return 0


def _with_closures(lock: Lock, mirror: Path, bases: Path) -> Lock:
    """The lock with all that its packages bring, as far as a directory has the base that they are added to."""

    def root(row: BaseRow) -> Root | None:
        return read_root(bases / row.filename) if (bases / row.filename).is_file() else None

    supplies = Supplies(lock=lock, apk_mirror=str(mirror))
    return measure_closures(lock, package_reader(supplies), mirror_keys(supplies), root)


def read_holdings(lock: Lock, given: Mapping[str, Path | None]) -> Holdings:
    """What the named directories hold of what ``lock`` speaks of.

    Raises:
        ImageError: an index cannot be read.
    """
    mirror = given["apk_mirror"]
    packages = {}
    for row in lock.apks if mirror is not None else ():
        assert mirror is not None
        branch = apk_branch(row.policy.row.base)
        path = mirror / branch / "main" / row.arch.row.apk / "APKINDEX.tar.gz"
        if path.is_file():
            packages[branch, row.arch] = parse_apkindex(_index_text(path))
    return Holdings(
        bases=_measured(given["base_archives"]),
        sources=_measured(given["sources"]),
        packages=packages if mirror is not None else None,
        absent=read_absent(given.get("absent")),
    )


def _measured(directory: Path | None) -> list[MeasuredFile] | None:
    if directory is None:
        return None
    return [
        MeasuredFile(name=path.name, sha256=file_sha256(path), size=path.stat().st_size)
        for path in sorted(directory.iterdir())
        if path.is_file()
    ]


def _index_text(path: Path) -> str:
    """The APKINDEX inside its archive; the signature before it is another archive of the same chain."""
    try:
        with tarfile.open(path, ignore_zeros=True) as archive:
            stream = archive.extractfile("APKINDEX")
            return stream.read().decode() if stream is not None else ""
    except (OSError, KeyError, tarfile.TarError, UnicodeDecodeError) as error:
        raise ImageError(f"{path} is not a package index", details=str(error)) from error
