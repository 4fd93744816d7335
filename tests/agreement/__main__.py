"""``python -m tests.agreement``: the whole comparison; exit status 1 when it does not hold."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from musllinux_build.adapters.docker_sdk import connect
from musllinux_build.arch import Arch
from musllinux_build.errors import MusllinuxBuildError, WheelError
from musllinux_build.ports import Engine
from tests.agreement.compare import Cell, compare
from tests.agreement.fixtures import build_fixture, fixtures
from tests.agreement.loaders import ROOT, WORK, Compiler, bench, releases
from tests.agreement.pinned import Pinned, fetch, read_list
from tests.agreement.random_wheels import random_wheel
from tests.agreement.report import Sum, document, rows
from tests.agreement.verdicts import Examined, examine_file, examine_wheel
from tests.defects import DEFECTS

Cells = tuple[Cell, ...]
RANDOM_WHEELS = 60


def run_arch(
    engine: Engine, arch: Arch, wheels: dict[Pinned, Path], unread: dict[str, str], *, seeds: int = RANDOM_WHEELS
) -> tuple[Cells, Cells]:
    """The cells of the published wheels and of the fixtures of one architecture, ``seeds`` of them random."""
    compiler = Compiler.make(arch)
    program = compiler.load_program()
    with ExitStack() as stack:
        benches = {release: stack.enter_context(bench(engine, release, program)) for release in releases(arch)}
        cells: list[Cell] = []
        for wheel, path in wheels.items():
            began = time.monotonic()
            try:
                examined = examine_file(path)
            except WheelError as error:
                unread[wheel.filename] = error.brief
                continue
            cells += compare({wheel.filename: examined}, benches, compiler)
            print(f"{time.monotonic() - began:6.1f} s {wheel.filename}", file=sys.stderr, flush=True)
        made = {row.name: examine_wheel(*build_fixture(row, compiler)) for row in fixtures(arch)}
        made |= planted(arch)
        made |= {f"random-{seed}": examine_wheel(*random_wheel(seed, arch)) for seed in range(seeds)}
        return tuple(cells), compare(made, benches, compiler)


def planted(arch: Arch) -> dict[str, Examined]:
    """The wheels with planted defects that can be read.

    Their objects are made of bytes and have no code: programs are not started, and one at a fixed address has the
    address 0, which no process has (fixtures has a compiled one).
    """
    found = {}
    for defect in DEFECTS:
        filename, content = defect.wheel(arch) if arch in defect.archs else ("", b"")
        if filename and defect.name != "fixed addresses in a library":
            with suppress(MusllinuxBuildError):
                examined = examine_wheel(content, filename)
                programs = {examined.subject.inventory.objects[path].path for path in examined.programs}
                found[f"planted: {defect.name}"] = replace(examined, unopened=examined.unopened | programs)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--arch", type=Arch, action="append", choices=list(Arch), metavar="ARCH")
    parser.add_argument("--only", metavar="TEXT", default="", help="only wheels with this in their file names")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "agreement.md")
    parser.add_argument("--json", type=Path, default=WORK / "agreement.json")
    options = parser.parse_args()
    engine = connect()
    published: list[Cell] = []
    made: list[Cell] = []
    unread: dict[str, str] = {}
    for arch in options.arch or list(Arch):
        wanted = [wheel for wheel in read_list() if wheel.arch is arch and options.only in wheel.filename]
        wheels, small = run_arch(engine, arch, fetch(wanted), unread)
        published += wheels
        made += small
        print(f"{arch.value}: {len(wheels)} cells of wheels, {len(small)} of fixtures", file=sys.stderr, flush=True)
    options.output.write_text(document(published, made, unread), "utf-8")
    options.json.write_text(rows((*published, *made)), "utf-8")
    total = Sum(cells=(*published, *made))
    print(
        f"{len(total.cells)} cells; fine and fails: {len(total.unsound)}; "
        f"refused, loads and not explained: {len(total.unexplained)}; {options.output} and {options.json}"
    )
    for cell in (*total.unsound, *total.unexplained)[:60]:
        print(cell.subject, cell.object, cell.release.release, cell.release.arch.value, cell.said.rules, cell.outcome)
    return 0 if total.holds else 1


if __name__ == "__main__":
    sys.exit(main())
