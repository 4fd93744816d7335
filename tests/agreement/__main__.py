"""``python -m tests.agreement``: the whole comparison; exit status 1 when it does not hold."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from musllinux_build.adapters.archive_sysroot import ArchiveSysroot
from musllinux_build.adapters.docker_sdk import connect
from musllinux_build.arch import Arch
from musllinux_build.audit.judge import choose_policy
from musllinux_build.audit.repair import repair_wheel
from musllinux_build.errors import MusllinuxBuildError, RepairError, WheelError
from musllinux_build.ports import Engine
from musllinux_build.tags import WheelName
from tests.agreement.compare import compare
from tests.agreement.fixtures import build_fixture, fixtures
from tests.agreement.loaders import ROOT, WORK, Compiler, Release, bench, releases
from tests.agreement.pinned import Pinned, fetch, read_list
from tests.agreement.random_wheels import random_wheel
from tests.agreement.report import Results, Sum, document, rows
from tests.agreement.verdicts import Examined, examine_file, examine_wheel
from tests.defects import DEFECTS

RANDOM_WHEELS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What to compare on: ``seeds`` of the fixtures are random wheels."""

    engine: Engine
    seeds: int = RANDOM_WHEELS

    def arch(self, arch: Arch, wheels: Mapping[Pinned, Path], results: Results) -> None:
        """Everything of one architecture, added to ``results``."""
        compiler = Compiler.make(arch)
        program = compiler.load_program()
        with ExitStack() as stack, TemporaryDirectory() as scratch:
            stocks = releases(arch)
            benches = {release: stack.enter_context(bench(self.engine, release, program)) for release in stocks}
            for wheel, path in wheels.items():
                began = time.monotonic()
                try:
                    examined = examine_file(path)
                except WheelError as error:
                    results.unread[wheel.filename] = error.brief
                    continue
                results.published += compare({wheel.filename: examined}, benches, compiler)
                if not examined.judge(examined.policy.row.floor).fine:
                    mended = mend(path, Path(scratch), stocks, results.unrepaired)
                    # It promises nothing below its floor; there the loader may do as it likes.
                    kept = {stock: row for stock, row in benches.items() if stock.musl >= examined.policy.row.floor}
                    results.repaired += compare(mended, kept, compiler)
                print(f"{time.monotonic() - began:6.1f} s {wheel.filename}", file=sys.stderr, flush=True)
            made = {row.name: examine_wheel(*build_fixture(row, compiler)) for row in fixtures(arch)}
            made |= planted(arch)
            made |= {f"random-{seed}": examine_wheel(*random_wheel(seed, arch)) for seed in range(self.seeds)}
            results.made += compare(made, benches, compiler)


def mend(path: Path, directory: Path, stocks: Sequence[Release], unrepaired: dict[str, str]) -> dict[str, Examined]:
    """The wheel after ``audit repair --root`` with the Alpine of its series, by its file name; empty for no repair."""
    policy = choose_policy(WheelName.parse(path.name))
    (root,) = (stock for stock in stocks if stock.release == policy.row.base)
    try:
        report = repair_wheel(path, directory, sysroot=ArchiveSysroot(root.archive))
    except RepairError as error:
        unrepaired[path.name] = error.brief.partition(" cannot be repaired: ")[2] or error.brief
        return {}
    examined = examine_file(report.path)
    assert examined.judge(policy.row.floor).fine, report.path
    return {path.name: examined}


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
    run, results = Run(engine=connect()), Results()
    for arch in options.arch or list(Arch):
        wanted = [wheel for wheel in read_list() if wheel.arch is arch and options.only in wheel.filename]
        run.arch(arch, fetch(wanted), results)
        print(f"{arch.value}: {len(results.cells)} cells so far", file=sys.stderr, flush=True)
    options.output.write_text(document(results), "utf-8")
    options.json.write_text(rows(results.cells), "utf-8")
    total = Sum(cells=results.cells)
    print(
        f"{len(total.cells)} cells; fine and fails: {len(total.unsound)}; "
        f"refused, loads and not explained: {len(total.unexplained)}; {options.output} and {options.json}"
    )
    for cell in (*total.unsound, *total.unexplained)[:60]:
        print(cell.subject, cell.object, cell.release.release, cell.release.arch.value, cell.said.rules, cell.outcome)
    return 0 if total.holds else 1


if __name__ == "__main__":
    sys.exit(main())
