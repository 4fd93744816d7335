"""What one wheel costs beyond its compiler, and several at once: docs/benchmarks/wheels.md.

``python benchmarks/wheels.py`` (or ``make bench-wheels``) measures whole processes, in turn, in one run:

* one wheel of a small C project, with its test, by this tool and by cibuildwheel in the same image;
* eight wheels of a published project, one after the other and two at once, and then the same again without ``--rebuild``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.foreign import BUILD, LIST, TOOL, fetch, version  # noqa: E402 - the root must be on the path first
from benchmarks.foreign_rows import parse_projects  # noqa: E402
from benchmarks.images import this_machine  # noqa: E402
from benchmarks.peer import environment, installed  # noqa: E402

FIXED_AIM, PARALLEL_AIM, AGAIN_AIM = 5.0, 0.6, 3.0
"""Seconds of one small wheel; times the serial time that two at once take; seconds of a run that builds nothing."""
ARCH, PYTHON, PYTHONS = "x86_64", "3.13", ("3.9", "3.13")
EIGHT = ("musllinux_1_1_x86_64", "musllinux_1_2_x86_64", "musllinux_1_2_i686", "musllinux_1_2_aarch64")
PROJECT = "cytoolz"
"""Of foreign.toml: one that supports all PYTHONS and has a wheel for each."""
FILES = {
    "pyproject.toml": '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n',
    "setup.py": "from setuptools import Extension, setup\n"
    "setup(name='small', version='1.0', ext_modules=[Extension('small', ['small.c'])])\n",
    "small.c": """#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "small", 0, -1, 0};
PyMODINIT_FUNC PyInit_small(void) { return PyModule_Create(&module); }
""",
}
TEST = 'python -c "import small"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Wall times in seconds of one command, in the order in which they were measured."""

    title: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of all runs."""
        return statistics.median(self.seconds)

    @property
    def row(self) -> str:
        """A row of the page's table."""
        return f"| {self.title} | {self.median:.2f} | {min(self.seconds):.2f} to {max(self.seconds):.2f} |"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Everything of one run. ``compiler`` is what the compiler alone needs for the small project, in the same image."""

    ours: Timed
    peer: Timed
    compiler: Timed
    serial: Timed
    parallel: Timed
    again: Timed

    @property
    def fixed(self) -> float:
        """Seconds of one wheel beyond its compilation."""
        return self.ours.median - self.compiler.median

    @property
    def share(self) -> float:
        """Of the serial time that two at once take."""
        return self.parallel.median / self.serial.median


def timed(words: Sequence[str | Path], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> float:
    """Seconds of a process that must succeed; what a failing one said goes to the terminal."""
    begin = time.perf_counter()
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{done.stderr}\n{words[0]}: exit status {done.returncode}")
    print(
        f"{seconds:7.2f} s  {Path(words[0]).name} {' '.join(str(word) for word in words[1:])[-60:]}",
        file=sys.stderr,
        flush=True,
    )
    return seconds


def verdict(aim: str, *, holds: bool) -> str:
    """How a figure stands to what was promised before measuring."""
    return f"within the aim of {aim}" if holds else f"**not within the aim of {aim}**"


def page(found: Measured, day: str, machine: str, tool: str, peer: str, eight: str) -> str:
    """The document; ``eight`` names the project of which eight wheels were built."""
    lines = [
        "# One wheel, and several at once",
        "",
        f"Written by `make bench-wheels` on {day}: {machine}; {tool}, {peer}. Whole processes, warm (each ran once before,",
        f"unmeasured), in turn, {len(found.ours.seconds)} runs of one wheel and {len(found.serial.seconds)} of eight; medians.",
        "",
        f"- **One wheel** of a C project of one small file takes {found.ours.median:.2f} s, from reading the project to",
        f"  the proof on the oldest and the newest stock Alpine; the compiler {found.compiler.median:.2f} s of it. The",
        f"  {found.fixed:.2f} s beyond are {verdict(f'{FIXED_AIM:.0f} s', holds=found.fixed < FIXED_AIM)}. cibuildwheel, in the same image,",
        f"  takes {found.peer.median:.2f} s ({found.peer.median / found.ours.median:.1f} times as long) and tests in the image alone.",
        f"- **Eight wheels** ({eight}: {', '.join(EIGHT)}; CPython {', '.join(PYTHONS)}) take {found.share:.2f} of the serial",
        f"  time with `-j 2` on two cores: {verdict(f'{PARALLEL_AIM}', holds=found.share <= PARALLEL_AIM)}.",
        f"- **The same again**, when nothing has changed: {found.again.median:.2f} s in all,",
        f"  {verdict(f'{AGAIN_AIM:.0f} s', holds=found.again.median < AGAIN_AIM)}.",
        "",
        "| process | median s | least to most |",
        "| --- | ---: | ---: |",
        *(each.row for each in (found.ours, found.peer, found.compiler, found.serial, found.parallel, found.again)),
        "",
    ]
    return "\n".join(lines)


def one_wheel(place: Path, image: str, runs: int) -> tuple[Timed, Timed, Timed]:
    """The small project by this tool, by cibuildwheel, and by the compiler alone."""
    project = place / "small"
    project.mkdir()
    for name, text in FILES.items():
        (project / name).write_text(text, encoding="utf-8")
    offline = os.environ.get("MUSLLINUX_BUILD_OFFLINE")
    env = environment(image, ARCH, [PYTHON], place, Path(offline) if offline else None) | {"CIBW_TEST_COMMAND": TEST}
    peer = [installed(), "--output-dir", place / "peer", "."]
    ours = [
        TOOL,
        ".",
        "--python",
        PYTHON,
        "--arch",
        ARCH,
        "--output",
        place / "ours",
        "--rebuild",
        "--test-command",
        TEST,
    ]
    headers = f"/opt/python/cp{PYTHON.replace('.', '')}-*/include/python*"
    compile_it = f'cd /tmp; set -- {headers}; gcc -O2 -fPIC -shared -I"$1" small.c'
    name = f"musllinux-bench-{os.getpid()}"
    subprocess.run(
        ["docker", "run", "-d", "--rm", "--name", name, image, "sleep", "3600"], check=True, capture_output=True
    )
    try:
        subprocess.run(["docker", "cp", project / "small.c", f"{name}:/tmp/"], check=True, capture_output=True)
        inside = ["docker", "exec", name, "/bin/sh", "-c", compile_it]
        times: list[list[float]] = [[], [], []]
        for _ in range(runs + 1):
            times[0].append(timed(ours, cwd=project))
            times[1].append(timed(peer, cwd=project, env=env))
            times[2].append(timed(inside))
    finally:
        subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)
    titles = ("musllinux-build, one wheel", "cibuildwheel, the same wheel", "the image's compiler alone")
    ours_, peer_, compiler_ = (
        Timed(title=title, seconds=tuple(found[1:])) for title, found in zip(titles, times, strict=True)
    )
    return ours_, peer_, compiler_


def eight_wheels(place: Path, sdist: Path, runs: int) -> tuple[Timed, Timed, Timed]:
    """Eight wheels serially, two at once, and again when they are finished."""
    pythons = [f"cp{python.replace('.', '')}" for python in PYTHONS]
    only = [word for tag in EIGHT for python in pythons for word in ("--only", f"{python}-{tag}")]
    command = [TOOL, sdist, *only, "--output", place / "eight"]
    timed([*command, "--rebuild", "-j", "2"])
    serial, parallel, again = [], [], []
    for _ in range(runs):
        serial.append(timed([*command, "--rebuild"]))
        parallel.append(timed([*command, "--rebuild", "-j", "2"]))
        again.append(timed(command))
    return (
        Timed(title="eight wheels, one after the other", seconds=tuple(serial)),
        Timed(title="eight wheels, -j 2", seconds=tuple(parallel)),
        Timed(title="eight wheels, all finished before", seconds=tuple(again)),
    )


def main() -> None:
    """Measure, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="of one wheel (default: 5)")
    parser.add_argument("--runs-of-eight", type=int, default=3, help="default: 3")
    parser.add_argument("--project", default=PROJECT, help="of foreign.toml, of which eight are built")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks" / "wheels.md")
    given = parser.parse_args()
    (project,) = (one for one in parse_projects(LIST.read_text(encoding="utf-8")) if one.name == given.project)
    words = [word for python in PYTHONS for word in ("--python", python)]
    built = subprocess.run(
        [TOOL, "images", "build", *words, *EIGHT, "-j", "2", "--json"], check=True, stdout=subprocess.PIPE, text=True
    )
    images = {f"{row['policy']}_{row['arch']}": row["image"] for row in json.loads(built.stdout)["images"]}
    (BUILD / "foreign").mkdir(parents=True, exist_ok=True)
    sdist = fetch(project, BUILD / "foreign")
    with tempfile.TemporaryDirectory(prefix="bench-wheels-") as place:
        ours, peer, compiler = one_wheel(Path(place), images[f"musllinux_1_2_{ARCH}"], given.runs)
        serial, parallel, again = eight_wheels(Path(place), sdist, given.runs_of_eight)
    found = Measured(ours=ours, peer=peer, compiler=compiler, serial=serial, parallel=parallel, again=again)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    text = page(found, today, this_machine(), version(), peer_version(), f"{project.name} {project.version}")
    given.page.parent.mkdir(parents=True, exist_ok=True)
    given.page.write_text(text, encoding="utf-8")
    print(text)


def peer_version() -> str:
    """Of cibuildwheel."""
    ask = "import importlib.metadata as m; print('cibuildwheel', m.version('cibuildwheel'))"
    python = installed().parent / "python"
    return subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
