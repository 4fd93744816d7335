"""``auditwheel repair``: musllinux-build's repair under the reference's options."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from musllinux_build.api import OpenWheel, RepairOptions, read
from musllinux_build.audit.repair import RepairReport, repair_wheel
from musllinux_build.cli.audit import parse_epoch
from musllinux_build.errors import RepairError
from musllinux_build_auditwheel.show import ISA_RULE, NOT_PLATFORM
from musllinux_build_auditwheel.target import Target, choose_target, running_musl

Say = Callable[[str], None]


def repair(given: argparse.Namespace, environment: Mapping[str, str], say: Say) -> int:
    """Repair one wheel after the other; the first failure ends it, as in the reference."""
    for path in given.wheels:
        say(f"Repairing {path.name}")
        opened = read(path)
        if opened.is_pure:
            if not given.allow_pure_python_wheel:
                say(NOT_PLATFORM)
                return 1
            given.wheel_dir.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, given.wheel_dir / path.name)
            say(f"Pure Python wheel copied to {given.wheel_dir / path.name}")
            continue
        target = choose_target(
            opened, environment, plat=given.plat, root=given.root, ldpaths=given.ldpaths, running=running_musl()
        )
        if target.sysroot is None:
            say(f"No musl of {target.arch.value} runs here: no library is searched outside the wheel (--root DIR does)")
        report = repair_one(given, environment, opened, target)
        for graft in report.grafts:
            say(f"Grafted {graft.source_path} as {graft.new_name}")
        say(f"Fixed-up wheel written to {report.path}")
    return 0


def repair_one(
    given: argparse.Namespace, environment: Mapping[str, str], opened: OpenWheel, target: Target
) -> RepairReport:
    """Write the repaired wheel beside its place, and put it there when nothing that was asked for forbids it.

    Raises:
        RepairError: it would not load where its tag says, or one of the options forbids what it needs.
    """
    options = RepairOptions(
        lib_sdir=given.lib_sdir,
        exclude=tuple(given.exclude),
        strip=given.strip,
        only_plat=given.only_plat,
        update_tags=not given.no_update_tags,
        level=given.zip_compression_level,
        ld_paths=target.directories,
    )
    given.wheel_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.wheel_dir, prefix=".auditwheel-") as scratch:
        report = repair_wheel(
            opened.path,
            Path(scratch),
            policy=target.policy,
            arch=target.arch,
            sysroot=target.sysroot,
            epoch=parse_epoch(environment.get("SOURCE_DATE_EPOCH")),
            options=options,
        )
        _check(given, report)
        place: Path = given.wheel_dir / report.path.name
        os.replace(report.path, place)  # noqa: PTH105 - the atomic one, by its own name
    return replace(report, path=place)


def _check(given: argparse.Namespace, report: RepairReport) -> None:
    if given.patcher == "none" and (report.grafts or report.changes):
        raise RepairError(
            f"{report.path.name} needs edited objects, and --patcher none forbids it",
            resolution="Leave --patcher out.",
        )
    levels = sorted({item.evidence for item in report.verdict.findings if item.rule == ISA_RULE})
    if levels and not given.disable_isa_ext_check:
        raise RepairError(
            f"{report.path.name} needs {', '.join(levels)}, and its tag promises every processor",
            resolution="Compile it for the baseline, or allow it with --disable-isa-ext-check.",
        )
