"""How long images take to build, how large they are, and whether they keep the contract: docs/benchmarks/images.md.

``python benchmarks/images.py --times FILE --verified DIRECTORY`` reads what ``images build --times FILE`` wrote, and for
each image what ``images verify --json`` printed, as ``DIRECTORY/<policy>_<arch>.json``. ``make nightly`` does both.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NATIVE = "x86_64"
AIM = 1.5
"""A foreign image takes at most so many times as long as the native one of its policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An image: seconds of all its stages and of those that are its own alone, bytes, and rows of the contract.

    ``size`` is None for an image that was not built, ``counts`` (pass, fail, absent) for one that nobody verified.
    """

    policy: str
    arch: str
    seconds: float
    own: float
    size: int | None
    reused: int
    counts: Mapping[str, int] | None

    @property
    def tag(self) -> str:
        """Its name without a registry."""
        return f"{self.policy}_{self.arch}"


def read_rows(times: Mapping[str, Any], verified: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The images of a run in its order; ``verified`` are verifications by tag."""
    rows = []
    for image in times["images"]:
        found = verified.get(f"{image['policy']}_{image['arch']}")
        rows.append(
            Row(
                policy=image["policy"],
                arch=image["arch"],
                seconds=image["seconds"],
                own=image["target_seconds"],
                size=image["size"] if image["error"] is None else None,
                reused=image["reused"],
                counts=Counter(row["status"] for row in found["rows"]) if found is not None else None,
            )
        )
    return rows


def ratio(row: Row, rows: Sequence[Row]) -> float | None:
    """How many times as long as the native image of its policy: of what belongs to one image alone.

    What all images share is built once and would only bring the ratio nearer to 1. None where either was not built
    from scratch in this run.
    """
    native = next((one for one in rows if (one.policy, one.arch) == (row.policy, NATIVE)), None)
    if native is None or any(one.size is None or one.reused or not one.own for one in (native, row)):
        return None
    return row.own / native.own


def sentence(rows: Sequence[Row]) -> str:
    """What the ratios add up to."""
    found = [(value, row.tag) for row in rows if row.arch != NATIVE and (value := ratio(row, rows)) is not None]
    if not found:
        return "No foreign image was built from scratch beside the x86_64 one of its policy: there is no ratio."
    value, tag = max(found)
    word = "within" if value <= AIM else "beyond"
    return (
        f"The slowest foreign image, {tag}, takes {value:.2f} times as long as the x86_64 one: {word} the aim of {AIM}."
    )


def page(times: Mapping[str, Any], rows: Sequence[Row], pythons: Sequence[str], today: str, machine: str) -> str:
    """The document."""
    whole = times["seconds"]
    lines = [
        "# The images: times and sizes",
        "",
        f"Written by `make nightly-images` on {today}: {machine}. One run of `musllinux-build images build`,",
        f"{'without cache' if times['no_cache'] else 'with what was there'}, {times['jobs']} stages at once, sources and",
        f"packages local: {whole / 60:.0f} minutes for {len(rows)} images with CPython {', '.join(pythons) or '(unknown)'}.",
        "",
        sentence(rows),
        "",
        "A stage's time is what the clock says while other stages run beside it. *Own* are the stages that serve one image",
        "alone (its libraries, interpreters and files), which the ratio compares; *all* adds those that several share (the",
        "builder and the build pythons), counted for each. MB are those on the engine, unpacked.",
        "",
        "| image | own s | all s | times x86_64 | MB | contract |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
        *(_line(row, rows) for row in rows),
        "",
    ]
    return "\n".join(lines)


def _line(row: Row, rows: Sequence[Row]) -> str:
    if row.size is None:
        return f"| {row.tag} | - | - | - | - | not built |"
    value = ratio(row, rows)
    times = f"{value:.2f}" if value is not None else "-"
    own = f"{row.own:.0f}{f' ({row.reused} stages were there)' if row.reused else ''}"
    return f"| {row.tag} | {own} | {row.seconds:.0f} | {times} | {row.size / 1e6:.0f} | {_contract(row.counts)} |"


def _contract(counts: Mapping[str, int] | None) -> str:
    if counts is None:
        return "not verified"
    words = [f"{counts.get(name, 0)} {name}" for name in ("pass", "fail", "absent") if counts.get(name)]
    return ", ".join(words)


def versions(times: Mapping[str, Any]) -> list[str]:
    """The interpreters that stages of the run are named after."""
    named = (stage["name"] for stage in times["stages"])
    found = {name.removeprefix("build python ").split()[0] for name in named if name.startswith("build python ")}
    return sorted(found, key=lambda version: [int(part) for part in version.rstrip("t").split(".")] + [len(version)])


def this_machine() -> str:
    """Cores, processor and kernel."""
    listed = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = [line.partition(":")[2].strip() for line in listed.splitlines() if line.startswith("model name")]
    name = f" ({names[0]})" if names else ""
    return f"{os.cpu_count()} cores{name}, {platform.system()} {platform.release()}"


def main() -> None:
    """Read what a run left, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=Path, required=True)
    parser.add_argument("--verified", type=Path, required=True)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks" / "images.md")
    arguments = parser.parse_args()
    times = json.loads(arguments.times.read_text(encoding="utf-8"))
    verified = {}
    for path in sorted(arguments.verified.glob("*.json")):
        text = path.read_text(encoding="utf-8")
        if text.strip():
            verified[path.stem] = json.loads(text)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    rows = read_rows(times, verified)
    arguments.page.parent.mkdir(parents=True, exist_ok=True)
    arguments.page.write_text(page(times, rows, versions(times), today, this_machine()), encoding="utf-8")


if __name__ == "__main__":
    main()
