"""The command line: the reference's words, and its exit statuses where scripts rely on them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from musllinux_build.errors import MusllinuxBuildError, UsageError
from musllinux_build.plaintext import plain_line
from musllinux_build_auditwheel import REFERENCE, __version__

DESCRIPTION = "The command auditwheel for musllinux wheels, by musllinux-build."
NO_SUBCOMMAND = 0


def run() -> None:
    """The program."""
    sys.exit(main(sys.argv[1:], os.environ))


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Its exit status: 0 done, 1 not a platform wheel or any other failure, 2 wrong usage."""
    parser = make_parser(environment)
    given = parser.parse_args(arguments)
    if given.command is None:
        parser.print_help()
        return NO_SUBCOMMAND
    for path in getattr(given, "wheels", ()):
        if not path.is_file():
            parser.error(f"cannot access {path}. No such file")
    try:
        return _perform(given, environment)
    except UsageError as error:
        parser.error(f"{error.brief}. {error.resolution}")
    except MusllinuxBuildError as error:
        say(f"error: {error.brief}")
        for line in error.details.splitlines():
            say(f"  | {line}")
        if error.resolution:
            say(f"  → {error.resolution}")
    except OSError as error:
        say(f"error: {error.filename}: {error.strerror}")
    return 1


def say(text: str) -> None:
    """A line on standard error, where the reference logs."""
    print(plain_line(text), file=sys.stderr)  # noqa: T201 - a program's messages


def _perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Import what the command needs, and run it."""
    if given.command == "show":
        from musllinux_build_auditwheel.show import show  # noqa: PLC0415 - one command is imported, not three

        return show(given, environment)
    if given.command == "repair":
        from musllinux_build_auditwheel.repair import repair  # noqa: PLC0415

        return repair(given, environment, say)
    from musllinux_build_auditwheel.lddtree import lddtree  # noqa: PLC0415

    return lddtree(given, environment)


def make_parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """The parser; defaults come from ``environment``."""
    as_written = argparse.RawDescriptionHelpFormatter  # a version on one line
    parser = argparse.ArgumentParser(
        prog="auditwheel", description=DESCRIPTION, allow_abbrev=False, formatter_class=as_written
    )
    parser.add_argument("-V", "--version", action="version", version=version_line())
    parser.add_argument("-v", "--verbose", action="count", default=0, help="Accepted; everything is always said.")
    commands = parser.add_subparsers(dest="command", metavar="command")
    _add_show(commands)
    _add_repair(commands, environment)
    tree = commands.add_parser("lddtree", help="Show which libraries musl's loader would open for an ELF file.")
    tree.add_argument("file", type=Path, help="An ELF file.")
    _add_search(tree)
    return parser


def version_line() -> str:
    """``auditwheel X.Y.Z`` first, as programs expect it; then who this is."""
    place, python = Path(__file__).parent, f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"auditwheel {REFERENCE} by musllinux-build-auditwheel {__version__} (not pypa's) "
        f"installed at {place} (python {python})"
    )


def _add_show(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    show = commands.add_parser("show", help="Say which platform tag a wheel is good for.")
    show.add_argument("wheels", nargs=1, type=Path, metavar="WHEEL_FILE")
    show.add_argument("--json", action="store_true", help="Print JSON.")
    _add_common(show)


def _add_repair(commands: argparse._SubParsersAction[argparse.ArgumentParser], environment: Mapping[str, str]) -> None:
    repair = commands.add_parser("repair", help="Graft the libraries that wheels need, and tag them.")
    repair.add_argument("wheels", nargs="+", type=Path, metavar="WHEEL_FILE")
    repair.add_argument(
        *("-z", "--zip-compression-level"),
        type=int,
        choices=range(10),
        metavar="0..9",
        default=environment.get("AUDITWHEEL_ZIP_COMPRESSION_LEVEL"),
        help="Level of the members that are packed anew [AUDITWHEEL_ZIP_COMPRESSION_LEVEL].",
    )
    repair.add_argument(
        *("--plat",),
        metavar="PLATFORM",
        default=environment.get("AUDITWHEEL_PLAT", "auto"),
        help="musllinux_X_Y_ARCH, or auto [AUDITWHEEL_PLAT].",
    )
    repair.add_argument("-L", "--lib-sdir", default=".libs", help="Suffix of the directory of grafts (.libs).")
    repair.add_argument(
        "-w", "--wheel-dir", type=Path, default=Path("wheelhouse"), help="Where wheels go (wheelhouse)."
    )
    repair.add_argument("--no-update-tags", action="store_true", help="Keep the wheel's tags.")
    repair.add_argument("--strip", action="store_true", help="Drop symbols that loading does not need.")
    repair.add_argument("--exclude", action="append", default=[], metavar="PATTERN", help="Leave a library outside.")
    repair.add_argument("--only-plat", action="store_true", help="Keep no platform tag but the one of --plat.")
    repair.add_argument(
        *("--patcher",),
        choices=("patchelf", "lief-patchelf", "none"),
        default=environment.get("AUDITWHEEL_PATCHER", "patchelf"),
        help="Accepted: the tool edits objects itself; none makes an edit an error.",
    )
    _add_common(repair)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--disable-isa-ext-check", action="store_true", help="Allow x86-64-v2 and later.")
    parser.add_argument("--allow-pure-python-wheel", action="store_true", help="Take wheels without compiled code.")
    _add_search(parser)


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ldpaths", help="Search these directories, split at :, instead of the system's.")
    parser.add_argument("--root", type=Path, help="Take libraries from this unpacked root file system instead of /.")
