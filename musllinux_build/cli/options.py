"""Options that several commands share, each also readable from ``MUSLLINUX_BUILD_<NAME>``."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from musllinux_build.adapters.cache_files import tag_cache
from musllinux_build.adapters.console import ConsoleProgress
from musllinux_build.adapters.host_fetch import HostFetch
from musllinux_build.images.reference import Variant
from musllinux_build.images.supplies import Supplies
from musllinux_build.kept import DEFAULT_LIMIT, parse_size
from musllinux_build.report import human_size

KEPT_LOGS = 20
F = TypeVar("F", bound=Callable[..., Any])


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """``click.option`` that is also read from the environment; a command line value wins."""
    word = next(name for name in names if name.startswith("--")).removeprefix("--").partition("/")[0]
    settings.setdefault("envvar", f"MUSLLINUX_BUILD_{word.upper().replace('-', '_')}")
    return click.option(*names, **settings)


variant_option = option(
    "--variant",
    type=click.Choice([variant.value for variant in Variant]),
    default=Variant.FULL.value,
    show_default=True,
    help="slim: without the graphics stack, cmake, swig, git-lfs, uv and abi3audit; tagged latest-slim.",
)


class Lines(click.ParamType):  # type: ignore[type-arg] # generic in the newest click only
    """Texts with spaces in them, one per line in the environment."""

    name = "text"

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """The lines that are not empty."""
        return [line.strip() for line in rv.splitlines() if line.strip()]


class Words(click.ParamType):  # type: ignore[type-arg] # generic in the newest click only
    """Texts, in the environment as a shell would split them."""

    name = "text"

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """The words of a shell."""
        try:
            return shlex.split(rv)
        except ValueError as error:
            raise click.BadParameter(f"{error} in {rv!r}") from None


class Size(click.ParamType):  # type: ignore[type-arg] # generic in the newest click only
    """``5GB``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bytes in ``value``."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


cache_limit_option = option(
    "--cache-limit",
    type=Size(),
    default=DEFAULT_LIMIT,
    metavar="SIZE",
    help=f"Keep no more finished wheels than this, those used last (default: {human_size(DEFAULT_LIMIT)}; 0: none).",
)


def verbosity_options(command: F) -> F:
    """``-v`` and ``-q``; the command gets ``verbose`` and ``quiet`` counts."""
    command = click.option("-v", "--verbose", count=True, help="Show more; twice: the output of every step.")(command)
    return click.option("-q", "--quiet", count=True, help="Show warnings and results only.")(command)


def supply_options(command: F) -> F:
    """Where bases, sources and packages come from when not from the network."""
    directory = click.Path(exists=True, file_okay=False, path_type=Path)
    for name, settings in (
        ("--lock", {"type": click.Path(exists=True, dir_okay=False, path_type=Path), "help": "Use this lock file."}),
        ("--apk-mirror", {"metavar": "DIR|URL", "help": "Take Alpine packages from here."}),
        ("--source-mirror", {"type": directory, "help": "Take source tarballs from this directory."}),
        ("--base-archives", {"type": directory, "help": "Make the Alpine bases from the archives in this directory."}),
        ("--offline", {"type": directory, "help": "A directory with all of the four below; no registry is asked."}),
    ):
        command = option(name, **settings)(command)
    return command


def supplies_from(given: Mapping[str, Any]) -> Supplies:
    """What ``supply_options`` say, over the shipped lock and the network."""
    names = ("offline", "base_archives", "source_mirror", "apk_mirror", "lock")
    fetch = HostFetch(cache=cache_directory() / "downloads")
    return Supplies.chosen(**{name: given[name] for name in names}, fetch=fetch)


def progress(verbose: int, quiet: int) -> ConsoleProgress:
    """Progress on standard error."""
    return ConsoleProgress(Console(stderr=True), verbosity=-1 if quiet else verbose)


def cache_directory() -> Path:
    """``$XDG_CACHE_HOME/musllinux-build`` (XDG base directory specification), made and tagged as a cache if need be."""
    base = os.environ.get("XDG_CACHE_HOME")
    path = (Path(base) if base else Path.home() / ".cache") / "musllinux-build"
    tag_cache(path)
    return path


def log_directory(name: str) -> Path:
    """A directory of its own for this run's logs; those of the last KEPT_LOGS runs stay, and of runs that go on."""
    logs = cache_directory() / "logs"
    runs = sorted(logs.iterdir()) if logs.is_dir() else []
    for old in runs[: max(0, len(runs) - KEPT_LOGS + 1)]:
        if not still_runs(old.name):
            shutil.rmtree(old, ignore_errors=True)
    return logs / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{name}"


def still_runs(name: str) -> bool:
    """Whether the process that a log directory is called after is there."""
    try:
        os.kill(int(name.split("-")[2]), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, IndexError):
        return False
    return True
