"""``musllinux-build audit repair``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from musllinux_build.adapters.memory import give_back_large_blocks
from musllinux_build.audit.repair import RepairReport, repair_wheel
from musllinux_build.cli.audit import (
    FLOOR,
    IMAGE,
    JSON,
    POLICIES,
    POLICY,
    ROOT,
    WHEELS,
    parse_epoch,
    parse_floor_option,
    parse_policy_option,
    policies_of,
    text_width,
)
from musllinux_build.cli.library_root import open_root
from musllinux_build.cli.repair import repair_each
from musllinux_build.cli.repair_options import OPTIONS, parse_plat_option, repair_options


@click.command()
@WHEELS
@click.option(
    "-w",
    "--wheel-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("wheelhouse"),
    show_default=True,
    help="Where repaired wheels go.",
)
@ROOT
@IMAGE
@click.option("--plat", metavar="TAG", help="Measure against and tag for this platform (musllinux_1_2_x86_64).")
@POLICY
@POLICIES
@FLOOR
@OPTIONS
@JSON
@click.pass_context
def repair(
    ctx: click.Context,
    /,
    *,
    wheels: Sequence[Path],
    wheel_dir: Path,
    root: Path | None,
    image: str | None,
    plat: str | None,
    policy: str | None,
    policies_dir: Path | None,
    floor: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Make each WHEEL load where its tag says, and write it with the policy's tag; or say why that cannot be.

    What it needs is grafted from the root, what an edit mends in its own libraries is mended. A wheel that cannot be
    repaired keeps no other from its turn; the exit status is that of the first failure.
    """
    policies = policies_of(policies_dir)
    chosen, arch = parse_plat_option(plat, parse_policy_option(policy, policies), policies.rows)
    epoch, options = parse_epoch(os.environ.get("SOURCE_DATE_EPOCH")), repair_options(settings, policies)
    measured = parse_floor_option(floor)
    give_back_large_blocks()
    with open_root(root, image, arch) as sysroot:

        def repair_one(wheel: Path) -> RepairReport:
            return repair_wheel(
                wheel,
                wheel_dir,
                policy=chosen,
                arch=arch,
                sysroot=sysroot,
                floor=measured,
                epoch=epoch,
                options=options,
            )

        failure = repair_each(wheels, repair_one, width=text_width(), as_json=as_json)
    if failure:
        ctx.exit(failure.exit_code)
