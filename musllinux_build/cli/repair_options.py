"""The options of ``audit repair`` that choose what is done, and their way to RepairOptions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import click

from musllinux_build.arch import Arch
from musllinux_build.audit.options import Include, RepairOptions
from musllinux_build.errors import UsageError, near_miss
from musllinux_build.policies.load import Policies
from musllinux_build.policy import Policy, known_policies

Command = TypeVar("Command", bound=Callable[..., Any])

_TABLE = (
    click.option(
        "--exclude",
        multiple=True,
        metavar="PATTERN",
        help="Leave libraries of this name or path, and what only they need, to another package. Repeatable.",
    ),
    click.option(
        "--include",
        multiple=True,
        metavar="LIBRARY[=MEMBER]",
        help="Also graft a library that is only opened at run time (dlopen); with MEMBER it is made one of the needs "
        "of that object, so that its bare name is answered. Repeatable.",
    ),
    click.option(
        "--whitelist",
        multiple=True,
        metavar="NAME",
        help="Trust every system to have this library (libz.so.1). Repeatable.",
    ),
    click.option("--strip", is_flag=True, help="Drop symbol tables and debugging sections that loading never reads."),
    click.option("--clear-exec-stack", is_flag=True, help="Clear the executable-stack flag where it is set."),
    click.option("-L", "--lib-sdir", default=".libs", show_default=True, help="Suffix of the directory of grafts."),
    click.option("--only-plat", is_flag=True, help="Keep no platform tag but the policy's."),
    click.option("--no-update-tags", is_flag=True, help="Keep the tags as they are."),
    click.option(
        "-z",
        "--zip-compression-level",
        type=click.IntRange(0, 9),
        default=None,
        help="Level of the members that are packed anew.",
    ),
    click.option(
        "--ldpaths",
        metavar="DIRS",
        help="Search these directories of the root, split at :, instead of the loader's own.",
    ),
)


def OPTIONS(command: Command) -> Command:  # noqa: N802 - used as the decorators beside it are
    """Put every option of the table on ``command``."""
    for option in reversed(_TABLE):
        command = option(command)
    return command


def repair_options(settings: Mapping[str, Any], policies: Policies | None = None) -> RepairOptions:
    """What click collected for the table; ``policies`` are those that ship by default.

    Raises:
        UsageError: a value is wrong.
    """
    ldpaths = settings["ldpaths"]
    return RepairOptions(
        policies=policies,
        lib_sdir=settings["lib_sdir"],
        exclude=tuple(settings["exclude"]),
        include=tuple(Include.parse(text) for text in settings["include"]),
        whitelist=frozenset(settings["whitelist"]),
        strip=settings["strip"],
        clear_exec_stack=settings["clear_exec_stack"],
        only_plat=settings["only_plat"],
        update_tags=not settings["no_update_tags"],
        level=settings["zip_compression_level"],
        ld_paths=None if ldpaths is None else tuple(part for part in ldpaths.split(":") if part),
    )


def parse_plat_option(
    text: str | None, policy: Policy | None = None, known_rows: Collection[Policy] | None = None
) -> tuple[Policy | None, Arch | None]:
    """Policy and architecture of ``musllinux_1_2_x86_64``; ``policy`` alone when ``text`` is None or ``auto``.

    ``known_rows`` are the policies that ship by default.

    Raises:
        UsageError: there is no such platform, or ``policy`` is another one.
    """
    if text is None or text == "auto":
        return policy, None
    known = {known.platform_tag(arch): (known, arch) for known in known_rows or known_policies() for arch in Arch}
    if text not in known:
        raise UsageError(f"unknown platform {text!r}", resolution=near_miss(text, list(known)))
    if policy not in {None, known[text][0]}:
        raise UsageError(f"--plat {text} is not of --policy", resolution="Give one of the two.")
    return known[text]
