"""Writes docs/defects.md: what we and auditwheel 6.8.2 say of every class of planted defects.

``python -m benchmarks.defects [--auditwheel COMMAND]``, from a clone. Without a command, auditwheel is installed into
an environment of its own below ``build/``. Both get the same wheels, on every architecture that has the class.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.audit.catalogue import CATALOGUE
from tests.defects import DEFECTS, Defect
from tests.defects.judged import judged
from tests.defects.model import REFUSED, in_library

VERSION = "6.8.2"
ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "defects.md"
CONSISTENT = re.compile(r'consistent\s+with\s+the\s+following\s+platform\s+tag:\s+"(?P<tag>[^"]+)"')
SOUND = Defect(name="a sound wheel", rule="", make=in_library(undefined=["malloc"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the reference says of one wheel. ``kind`` is accepts, refuses or stops; ``text`` the words for a table."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One class: how often each of us was right, and the reference's answers on each architecture."""

    defect: Defect
    ours: int
    answers: dict[Arch, Answer]

    @property
    def accepted(self) -> int:
        """On how many architectures the reference accepts it."""
        return sum(answer.kind == "accepts" for answer in self.answers.values())


def install(directory: Path) -> Path:
    """The reference's command in an environment of its own."""
    command = directory / "bin" / "auditwheel"
    if not command.exists():
        venv.create(directory, with_pip=True)
        pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "-q", f"auditwheel=={VERSION}"]
        subprocess.run(pip, check=True)
    return command


def ask(command: Path, defect: Defect, arch: Arch) -> Answer:
    """The reference's answer to the wheel of ``defect`` on ``arch``."""
    name, content = defect.wheel(arch)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / name
        path.write_bytes(content)
        done = subprocess.run([str(command), "show", str(path)], capture_output=True, text=True, check=False)
    found = CONSISTENT.search(done.stdout)
    if found and found["tag"].startswith("musllinux"):
        return Answer(kind="accepts", text=f"consistent with {found['tag'].removesuffix(f'_{arch.value}')}")
    if found:
        return Answer(kind="refuses", text=f"consistent with {found['tag'].removesuffix(f'_{arch.value}')} only")
    lines = [
        line.strip() for line in done.stderr.splitlines() if re.match(r"\w*(Error|Exception)|INFO:.*Invalid", line)
    ]
    text = (lines or done.stderr.strip().splitlines() or ["no answer"])[-1].removeprefix("INFO:auditwheel.main_show:")
    return Answer(kind="stops", text=f"status {done.returncode}: {text[:70]}")


def measure(command: Path, defects: Sequence[Defect]) -> Iterable[Row]:
    """Both answers to every wheel."""
    for defect in defects:
        archs = [arch for arch in Arch if arch in defect.archs]
        ours = sum(defect.rule in judged(*defect.wheel(arch)) for arch in archs)
        yield Row(defect=defect, ours=ours, answers={arch: ask(command, defect, arch) for arch in archs})
        sys.stderr.write(f"{defect.name}\n")


def reference_cell(row: Row) -> str:
    """The answer on the first architecture, and how far it goes for all."""
    first = next(iter(row.answers.values()))
    if len({answer.kind for answer in row.answers.values()}) == 1:
        return first.text.replace("|", "\\|")
    kinds = Counter(answer.kind for answer in row.answers.values())
    return f"{first.text} ({', '.join(f'{kind} {number}' for kind, number in sorted(kinds.items()))})".replace(
        "|", "\\|"
    )


def page(rows: Sequence[Row], sound: Row) -> str:
    """The document."""
    wheels = sum(len(row.answers) for row in rows)
    kinds = Counter(answer.kind for row in rows for answer in row.answers.values())
    right = sum(row.ours == len(row.answers) for row in rows)
    everywhere = sum(row.accepted == len(row.answers) for row in rows)
    errors = [row for row in rows if row.defect.rule == REFUSED or CATALOGUE[row.defect.rule].severity.value == "error"]
    accepted = sum(row.accepted == len(row.answers) for row in errors)
    found = f"{sum(row.ours for row in rows)} of {wheels} wheels, {right} of {len(rows)} classes"
    text = f"""\
# Planted defects

Written by `python -m benchmarks.defects`. {len(rows)} classes, {wheels} wheels of six architectures, made from nothing
but bytes by `tests/defects`; `tests/laws/test_defects.py` holds our column on every run. The reference is auditwheel
{VERSION}: its command `show` on the very same files, on an x86_64 host with glibc, where it judges foreign
architectures, too. A sound wheel is accepted on {sound.accepted} of 6 architectures by the reference, and on all by us.

- Found by us, by the rule named: {found}.
- The reference accepts {kinds["accepts"]} of the wheels, refuses the tag of {kinds["refuses"]} and stops at \
{kinds["stops"]}; it accepts {everywhere} classes on every architecture.
- Of the {len(errors)} classes that are errors for us, the reference accepts {accepted} on every architecture.

*Stops* is an exit status other than 0 without a verdict; its message is shown. Where answers differ between
architectures, the first one's is shown with the counts.

| class | wheels | our rule | our severity | the reference |
| --- | --- | --- | --- | --- |
"""
    lines = []
    for row in rows:
        rule = row.defect.rule
        severity = "not read" if rule == REFUSED else CATALOGUE[rule].severity.value
        name = "(unreadable, exit status 5)" if rule == REFUSED else f"`{rule}`"
        lines.append(
            f"| {row.defect.name} | {row.ours}/{len(row.answers)} | {name} | {severity} | {reference_cell(row)} |"
        )
    return text + "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write the document and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--auditwheel", type=Path, help="the reference's command (default: installed below build/)")
    options = parser.parse_args()
    command = options.auditwheel or install(ROOT / "build" / f"auditwheel-{VERSION}")
    sound = Row(defect=SOUND, ours=0, answers={arch: ask(command, SOUND, arch) for arch in Arch})
    rows = tuple(measure(command, DEFECTS))
    TARGET.write_text(page(rows, sound), "utf-8")
    sys.stdout.write(
        "\n".join(line for line in TARGET.read_text("utf-8").splitlines() if line.startswith(("- ", "  ")))
    )
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
