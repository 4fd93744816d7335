"""``musllinux-build cache show | clean``: what runs keep for later ones, on this machine and on its engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from musllinux_build.adapters.cache_files import listed, remove
from musllinux_build.builds.session import signals_as_errors
from musllinux_build.cli.options import cache_directory, cache_limit_option, progress, still_runs, verbosity_options
from musllinux_build.cli.reuse import uses_of_images, wheel_store
from musllinux_build.cli.say import say, say_json
from musllinux_build.errors import EngineError, UsageError
from musllinux_build.images.local import local_images, local_volumes, remove_images, remove_volumes, surplus_images
from musllinux_build.kept import KEPT_BEFORE_ALL, Holding, Kind
from musllinux_build.ports import Engine, Progress
from musllinux_build.report import human_size

SCHEMA = 1
HEADINGS = ("kind", "", "count", "size", "where")
LEFT_OUT = "images and volumes are left out"
KINDS = ", ".join(kind.value for kind in Kind)


@click.group("cache", context_settings={"help_option_names": ["-h", "--help"]})
def cache_command() -> None:
    """Say what is kept for later runs, and remove it."""


@cache_command.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@cache_limit_option
@verbosity_options
def show_command(**given: Any) -> int:
    """Say what is kept, how much of it, and where."""
    lines, cache = progress(given["verbose"], given["quiet"]), cache_directory()
    engine = find_engine(lines, LEFT_OUT)
    found = holdings(engine, cache)
    if given["as_json"]:
        say_json(
            {
                "version": SCHEMA,
                "directory": str(cache),
                "engine": engine is not None,
                "limits": {"wheels_bytes": given["cache_limit"], "before_all_images": KEPT_BEFORE_ALL},
                "kept": [holding.to_json() for holding in found],
            }
        )
        return 0
    for line in table(found):
        say(line)
    return 0


@cache_command.command(
    "clean",
    short_help="Remove what is kept: of each KIND, or beyond the limits.",
    help=f"""Remove all that is kept of each KIND.

    Without one, what is beyond the limits is removed, as every build does at its end.

    Kinds: {KINDS}. Images that wheels are built in, and their bases, are none of them.
    """,
)
@click.argument("kinds", nargs=-1, type=click.Choice([kind.value for kind in Kind]), metavar="[KIND]...")
@click.option("--all", "everything", is_flag=True, help="All kinds.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@cache_limit_option
@verbosity_options
def clean_command(**given: Any) -> int:
    """Remove what is kept: all of some kinds, or what is beyond the limits."""
    if given["kinds"] and given["everything"]:
        raise UsageError("--all already names every KIND; leave the others out")
    lines, cache, dry_run = progress(given["verbose"], given["quiet"]), cache_directory(), given["dry_run"]
    kinds = list(Kind) if given["everything"] else [Kind(word) for word in dict.fromkeys(given["kinds"])]
    with signals_as_errors():
        cleaning = Cleaning(engine=find_engine(lines, LEFT_OUT), cache=cache, lines=lines, dry_run=dry_run)
        done = [item for kind in kinds for item in cleaning.clear(kind)]
        if not kinds:
            done = list(cleaning.limit(given["cache_limit"]))
    for item in done:
        say(item.line(dry_run=dry_run))
    return 0


def find_engine(lines: Progress, without: str) -> Engine | None:
    """The engine; None where there is none, and ``without`` says what that means."""
    try:
        from musllinux_build.adapters.docker_sdk import connect  # noqa: PLC0415 - an image's copy may lack its SDK

        return connect()
    except (EngineError, ModuleNotFoundError) as error:
        lines.warn(f"{without}: {error}")
        return None


def holdings(engine: Engine | None, cache: Path) -> list[Holding]:
    """What there is of every kind; without an engine its part is left out.

    Raises:
        EngineError: the engine failed.
    """
    found = []
    for kind in Kind:
        for name in kind.directories:
            entries = listed(cache / name)
            size = sum(entry.size for entry in entries)
            found.append(Holding(kind=kind, what="files", where=str(cache / name), count=len(entries), size=size))
        if engine is not None and kind.images:
            images = local_images(engine, kind)
            size = sum(info.size for info in images)
            found.append(Holding(kind=kind, what="images", where="engine", count=len(images), size=size))
        if engine is not None and kind.volumes:
            volumes = local_volumes(engine, kind)
            found.append(Holding(kind=kind, what="volumes", where="engine", count=len(volumes), size=None))
    return found


def table(found: Sequence[Holding]) -> Iterator[str]:
    """Aligned columns; what there is none of is left out."""
    rows = [
        (
            holding.kind.value,
            holding.what,
            str(holding.count),
            human_size(holding.size) if holding.size is not None else "",
            holding.where,
        )
        for holding in found
        if holding.count
    ]
    cells = [HEADINGS, *rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    for kind, what, count, size, where in cells:
        start = f"{kind:<{widths[0]}}  {what:<{widths[1]}}"
        yield f"{start}  {count:>{widths[2]}}  {size:>{widths[3]}}  {where}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What became of one kind in one place: ``left`` is in use."""

    kind: Kind
    what: str
    gone: int
    left: int
    size: int | None

    def line(self, *, dry_run: bool) -> str:
        """The sentence on it."""
        size = f", {human_size(self.size)}" if self.size is not None else ""
        left = f"; {self.left} in use" if self.left else ""
        what = self.what.removesuffix("s") if self.gone == 1 else self.what
        return f"{self.kind.value}: {self.gone} {what}{size} {'to be ' if dry_run else ''}removed{left}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaning:
    """Removes what is kept, or with ``dry_run`` says what that would be."""

    engine: Engine | None
    cache: Path
    lines: Progress
    dry_run: bool

    def clear(self, kind: Kind) -> Iterator[Cleaned]:
        """Remove all of a kind; what is in use stays.

        Raises:
            EngineError: the engine failed.
        """
        for name in kind.directories:
            entries = listed(self.cache / name)
            free = [entry for entry in entries if kind is not Kind.LOGS or not still_runs(entry.name)]
            gone = free if self.dry_run else remove(self.cache / name, free)
            size = sum(entry.size for entry in gone)
            yield Cleaned(kind=kind, what="files", gone=len(gone), left=len(entries) - len(gone), size=size)
        if self.engine is None:
            return
        if kind.images:
            images = local_images(self.engine, kind)
            removed = images if self.dry_run else remove_images(self.engine, images)
            yield Cleaned(kind=kind, what="images", gone=len(removed), left=len(images) - len(removed), size=None)
            self._forget(self.engine, kind)
        if kind.volumes:
            volumes = local_volumes(self.engine, kind)
            without = volumes if self.dry_run else remove_volumes(self.engine, volumes)
            yield Cleaned(kind=kind, what="volumes", gone=len(without), left=len(volumes) - len(without), size=None)

    def limit(self, most: int) -> Iterator[Cleaned]:
        """Remove what is beyond the limits.

        Raises:
            EngineError: the engine failed.
        """
        gone = wheel_store(self.cache).limit(most, dry_run=self.dry_run)
        size = sum(entry.size for entry in gone)
        yield Cleaned(kind=Kind.WHEELS, what="files", gone=len(gone), left=0, size=size)
        if self.engine is None:
            return
        surplus = surplus_images(self.engine, uses_of_images(self.cache, self.lines).last, KEPT_BEFORE_ALL)
        removed = surplus if self.dry_run else remove_images(self.engine, surplus)
        left = len(surplus) - len(removed)
        yield Cleaned(kind=Kind.BEFORE_ALL, what="images", gone=len(removed), left=left, size=None)
        self._forget(self.engine, Kind.BEFORE_ALL)

    def _forget(self, engine: Engine, kind: Kind) -> None:
        """When images were used is kept as long as they are."""
        if kind is Kind.BEFORE_ALL and not self.dry_run:
            tags = [tag for info in local_images(engine, kind) for tag in info.tags]
            uses_of_images(self.cache, self.lines).forget_others(tags)
