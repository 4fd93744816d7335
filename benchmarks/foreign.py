"""The same projects natively, under plain qemu, with the compiler alone accelerated and with all of it.

``python benchmarks/foreign.py`` (or ``make bench-foreign``) builds what foreign.toml lists, on every foreign
architecture, and appends each measurement to docs/benchmarks/foreign.json as soon as it is there: a run can be done in
pieces (``--project``, ``--arch``, ``--mode``), and goes on where it was ended. ``--page FILE`` writes the page from that
file, with its chart as HTML and PNG beside it; with ``--runs 0`` it does nothing else.

Each measurement is one whole process of the tool. Before every build of a project with ``before-all`` the kept results of
all before-alls are removed from the engine (``musllinux-build cache clean before-all``), because it is measured, too.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.foreign_rows import (  # noqa: E402 - the root must be on the path first
    ARCHS,
    Measurement,
    Mode,
    Project,
    Step,
    format_measurements,
    parse_measurements,
    parse_projects,
    rows_of,
    schedule,
)
from benchmarks.images import this_machine  # noqa: E402

TOOL = Path(sys.executable).parent / "musllinux-build"
LIST = Path(__file__).with_suffix(".toml")
BUILD = ROOT / "build"
RESULTS = ROOT / "docs" / "benchmarks" / "foreign.json"
TAIL = 15
EMULATED = "is built on an emulated interpreter: "
"""What the tool says before the reason."""


def command(step: Step, sdist: Path, output: Path, python: str) -> list[str]:
    """The process that is measured."""
    words = [str(TOOL), str(sdist), "--python", python, "--arch", step.arch, "--output", str(output)]
    return [*words, "--rebuild", "--json", *step.mode.options, *step.project.options]


def fetch(project: Project, directory: Path) -> Path:
    """The project's sdist, downloaded once, and the very file that the list names."""
    path = directory / project.sdist
    if not path.is_file():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
        subprocess.run([*pip, "--dest", str(directory), f"{project.name}=={project.version}"], check=True)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != project.sha256:
        raise SystemExit(f"{path} has sha256 {found}, and the list says {project.sha256}")
    return path


def measure(step: Step, sdist: Path, python: str) -> tuple[float, int, str]:
    """Seconds and exit status of one build, and why its interpreter was emulated; why it failed goes to the terminal."""
    if step.project.before_all:
        subprocess.run([str(TOOL), "cache", "clean", "before-all", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory(prefix="bench-foreign-") as output:
        words = command(step, sdist, Path(output), python)
        begin = time.perf_counter()
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begin
    if done.returncode:
        print("\n".join(done.stderr.splitlines()[-TAIL:]), file=sys.stderr)
    reasons = [line.partition(EMULATED)[2] for line in done.stderr.splitlines() if EMULATED in line]
    return seconds, done.returncode, " ".join(reasons)


def read(path: Path) -> list[Measurement]:
    """The measurements of earlier runs."""
    return parse_measurements(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def append(path: Path, one: Measurement) -> None:
    """Keep one more, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(format_measurements([*read(path), one]), indent=1) + "\n", encoding="utf-8")
    new.replace(path)


def version() -> str:
    """Of the tool, with its commit where there is one."""
    said = subprocess.run([str(TOOL), "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return f"musllinux-build {said}{f' ({commit})' if commit else ''}"


def measure_all(steps: Sequence[Step], python: str, results: Path) -> None:
    """Do all steps, and tell each."""
    begun = datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="minutes")
    machine, tool = this_machine(), version()
    (BUILD / "foreign").mkdir(parents=True, exist_ok=True)
    sdists = {
        project.name: fetch(project, BUILD / "foreign") for project in dict.fromkeys(one.project for one in steps)
    }
    for number, step in enumerate(steps, 1):
        seconds, status, emulated = measure(step, sdists[step.project.name], python)
        what = f"{step.project.name} {step.arch} {step.mode.value}{'' if step.measured else ', unmeasured'}"
        told = f" (emulated interpreter: {emulated})" if emulated else ""
        print(f"{number}/{len(steps)} {what}: {seconds:.1f} s, exit status {status}{told}", flush=True)
        if step.measured:
            done = Measurement(
                project=step.project.name,
                version=step.project.version,
                arch=step.arch,
                mode=step.mode.value,
                python=python,
                seconds=round(seconds, 3),
                status=status,
                begun=begun,
                machine=machine,
                tool=tool,
                emulated=emulated,
            )
            append(results, done)


def write_page(projects: Sequence[Project], results: Path, python: str, target: Path) -> None:
    """The page, and its chart beside it."""
    # Only here: drawing needs a library that measuring does not.
    from benchmarks.foreign_chart import draw, html, write_png  # noqa: PLC0415
    from benchmarks.foreign_page import page  # noqa: PLC0415

    found = [one for one in read(results) if one.python == python]
    rows = rows_of(projects, found, python)
    drawing = draw(rows)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_suffix(".html").write_text(html(drawing), encoding="utf-8")
    write_png(drawing, target.with_suffix(".png"))
    target.write_text(page(projects, rows, found, target.stem), encoding="utf-8")


def main() -> None:
    """Measure what is asked for, then write the page."""
    projects = parse_projects(LIST.read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", action="append", choices=[one.name for one in projects], help="default: all")
    parser.add_argument("--arch", action="append", choices=ARCHS, help="foreign ones; default: all")
    parser.add_argument("--mode", action="append", choices=[mode.value for mode in Mode], help="default: all")
    parser.add_argument("--runs", type=int, default=3, help="of each cell (default: 3)")
    parser.add_argument("--warm", action="store_true", help="an earlier part has built these: no unmeasured builds")
    parser.add_argument("--python", default="3.13")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, help="write the page there")
    given = parser.parse_args()
    chosen = [one for one in projects if not given.project or one.name in given.project]
    modes = [mode for mode in Mode if not given.mode or mode.value in given.mode]
    archs = [arch for arch in ARCHS if not given.arch or arch in given.arch]
    if given.runs > 0:
        measure_all(schedule(chosen, archs, modes, given.runs, warm=given.warm), given.python, given.results)
    if given.page:
        write_page(projects, given.results, given.python, given.page)


if __name__ == "__main__":
    main()
