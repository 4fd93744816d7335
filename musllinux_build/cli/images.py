"""``musllinux-build images``: the lock and the images made from it."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from musllinux_build.arch import Arch
from musllinux_build.cli.cache import find_engine
from musllinux_build.cli.image_build import build_command, clean_command
from musllinux_build.cli.join import join_command
from musllinux_build.cli.mirror import mirror_command, mirror_keys, package_reader
from musllinux_build.cli.online import measured_online
from musllinux_build.cli.options import option, progress, supply_options, verbosity_options
from musllinux_build.cli.publish import publish_command
from musllinux_build.cli.say import say, say_json, write_text
from musllinux_build.cli.verify import verify_command
from musllinux_build.errors import ImageError, UsageError
from musllinux_build.images.absent import read_absent
from musllinux_build.images.bases import file_sha256
from musllinux_build.images.lock import MEASURE, BaseRow, Lock, format_lock
from musllinux_build.images.measure import Holdings, MeasuredFile, measure, parse_apkindex, unmeasured_rows
from musllinux_build.images.mirror import Root, measure_closures, read_root
from musllinux_build.images.package import LOCK_LABEL
from musllinux_build.images.recipe import apk_branch, lock_digest
from musllinux_build.images.reference import DEFAULT_REGISTRY, image_reference
from musllinux_build.images.supplies import Supplies
from musllinux_build.policy import Policy
from musllinux_build.ports import PYTHONS_LABEL, Engine
from musllinux_build.shipped import shipped

DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
SCHEMA = 1
SUPPLIES = ("offline", "base_archives", "source_mirror", "apk_mirror", "lock")
FEW = 30
"""So many rows that are not wholly measured are listed without being asked for."""


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
@verbosity_options
def list_command(**given: Any) -> int:
    """Say which images the lock describes, and which of them are built."""
    lock = Supplies.chosen(**{name: given[name] for name in SUPPLIES}).lock
    engine = find_engine(progress(given["verbose"], given["quiet"]), "it is not known which images are built")
    rows = [listed(engine, given["registry"], (row.policy, row.arch), lock) for row in lock.apks]
    if given["as_json"]:
        say_json({"version": SCHEMA, "engine": engine is not None, "images": rows})
        return 0
    for row in rows:
        say(f"{row['image']:56} musl {row['musl']:12} {state(row)} {row['pythons'] or ''}".rstrip())
    return 0


def listed(engine: Engine | None, registry: str, target: tuple[Policy, Arch], lock: Lock) -> dict[str, Any]:
    """One image of the lock; what only the engine knows is None without one."""
    policy, arch = target
    reference = image_reference(registry, policy, arch)
    known = engine is not None
    info = engine.image(reference) if engine is not None else None
    labels = info.labels if info is not None else {}
    return {
        "image": reference,
        "policy": policy.value,
        "arch": arch.value,
        "musl": policy.row.musl_package,
        "alpine": policy.row.base,
        "pythons": labels.get(PYTHONS_LABEL, "") if known else None,
        "built": info.id if info is not None else None,
        "current": labels.get(LOCK_LABEL) == lock_digest(lock) if known else None,
    }


def state(row: Mapping[str, Any]) -> str:
    """What became of an image of the list, in words."""
    if row["current"] is None:
        return "unknown"
    if row["built"] is None:
        return "not built"
    return "built" if row["current"] else "built from another lock"


@images.command("lock", short_help="Check the lock, or measure it again.")
@click.option("--check", is_flag=True, help="Read the lock, and say how many of its values nobody has measured.")
@click.option("--update", is_flag=True, help="Measure, and write the lock to --lock.")
@option(
    "--lock",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file that --check reads (default: the shipped one) and --update writes.",
)
@option("--offline", type=DIRECTORY, help="A directory with all of the three below; no registry is asked.")
@option("--base-archives", type=DIRECTORY, help="--update: measure the archives of bases in this directory.")
@option(
    "--source-mirror",
    "--sources",
    "source_mirror",
    type=DIRECTORY,
    help="--update: measure the source tarballs in this directory.",
)
@option("--apk-mirror", metavar="DIR", help="--update: take the versions of Alpine packages from here.")
@option(
    "--absent",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A TOML table [absent]: packages that the mirror may lack, and why.",
)
@click.option("-v", "--verbose", is_flag=True, help="--check: list what nobody has measured.")
@click.pass_context
def lock_command(ctx: click.Context, /, **given: Any) -> int:
    """Check the lock, measure it again where registries and Alpine's mirror are, or make one for other supplies.

    --update without a directory asks them for digests of bases and versions of packages; with directories it makes a
    lock of what is in them.
    """
    if given["check"] == given["update"]:
        raise UsageError("one of --check and --update is wanted")
    if given["check"]:
        check_lock(Supplies.chosen(offline=given["offline"], lock=given["lock"]).lock, verbose=given["verbose"])
        return 0
    # The variable says what is read; what is overwritten is named on the command line.
    if ctx.get_parameter_source("lock") is not ParameterSource.COMMANDLINE:
        raise UsageError("--update writes a file", resolution=f"Name it: {MEASURE}")
    write_text(given["lock"], updated_lock(given))
    return 0


def check_lock(lock: Lock, *, verbose: bool) -> None:
    """Say how many values of a lock nobody has measured; and of which rows, when they are few or it is ``verbose``."""
    rows = unmeasured_rows(lock)
    shown = verbose or len(rows) <= FEW
    hint = "" if shown else f" in {len(rows)} rows; -v lists them"
    say(f"valid; {sum(map(len, rows.values()))} value(s) unmeasured{hint}")
    for name, values in rows.items() if shown else ():
        say(f"{name}: {', '.join(dict.fromkeys(values))}")


def updated_lock(given: Mapping[str, Any]) -> str:
    """The text of the shipped lock, measured online or against directories.

    Raises:
        UsageError: there is nothing to measure it against, or a mirror that is no directory.
    """
    product = shipped("dockerfiles") / "lock.toml"
    supplies = Supplies.chosen(**{name: given[name] for name in SUPPLIES} | {"lock": product})
    mirror = supplies.apk_directory()
    if supplies.apk_mirror is not None and (mirror is None or not mirror.is_dir()):
        raise UsageError(
            f"--update: {supplies.apk_mirror} is no directory",
            resolution="Name a directory of packages with --apk-mirror, or none: Alpine's own mirror is asked then.",
        )
    if (supplies.base_archives, supplies.source_mirror, mirror) == (None, None, None):
        if supplies.offline:
            raise UsageError(f"{given['offline']} has none of bases, sources and apk")
        return measured_online(product)
    lock = measure(supplies.lock, read_holdings(supplies, given["absent"]))
    if mirror is not None and supplies.base_archives is not None:
        lock = _with_closures(lock, mirror, supplies.base_archives)
    return format_lock(lock)


def _with_closures(lock: Lock, mirror: Path, bases: Path) -> Lock:
    """The lock with all that its packages bring, as far as a directory has the base that they are added to."""

    def root(row: BaseRow) -> Root | None:
        return read_root(bases / row.filename) if (bases / row.filename).is_file() else None

    supplies = Supplies(lock=lock, apk_mirror=str(mirror))
    return measure_closures(lock, package_reader(supplies), mirror_keys(supplies), root)


def read_holdings(supplies: Supplies, absent: Path | None) -> Holdings:
    """What the directories of ``supplies`` hold of what their lock speaks of.

    Raises:
        ImageError: an index cannot be read.
    """
    mirror, packages = supplies.apk_directory(), {}
    for row in supplies.lock.apks if mirror is not None else ():
        assert mirror is not None
        branch = apk_branch(row.policy.row.base)
        path = mirror / branch / "main" / row.arch.row.apk / "APKINDEX.tar.gz"
        if path.is_file():
            packages[branch, row.arch] = parse_apkindex(_index_text(path))
    return Holdings(
        bases=_measured(supplies.base_archives),
        sources=_measured(supplies.source_mirror),
        packages=packages if mirror is not None else None,
        absent=read_absent(absent),
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
