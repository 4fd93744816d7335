"""``musllinux-build plan``: what would be built, as the matrix of a CI system."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import click

from musllinux_build.arch import Arch
from musllinux_build.cli.options import option, progress
from musllinux_build.cli.say import say, say_json
from musllinux_build.cli.selection import (
    gather,
    part_of,
    recorded_times,
    require_something,
    selection_options,
    times_file,
)
from musllinux_build.cli.unread import unread
from musllinux_build.errors import UsageError
from musllinux_build.images.reference import DEFAULT_REGISTRY
from musllinux_build.matrix import (
    MOST_ON_GITHUB,
    ON_GITHUB,
    ON_GITLAB,
    TEMPLATE,
    TEMPLATE_FILE,
    Grouping,
    Job,
    Machine,
    github_matrix,
    gitlab_pipeline,
    gitlab_warnings,
    plan_jobs,
)
from musllinux_build.parts import Part
from musllinux_build.plaintext import plain_json


@click.command("plan")
@selection_options
@option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github", "gitlab"]),
    default="text",
    show_default=True,
    help="github: a matrix for fromJSON. gitlab: a child pipeline.",
)
@option(
    "--group-by",
    type=click.Choice([grouping.value for grouping in Grouping]),
    default=Grouping.JOB.value,
    show_default=True,
    help="What one job is for; job: one wheel.",
)
@option(
    "--max-jobs", type=click.IntRange(1), help=f"Pack neighbours into so many jobs (GitHub takes {MOST_ON_GITHUB})."
)
@option("--runner", multiple=True, metavar="ARCH=LABEL", help="The CI system's machines that execute ARCH. Repeatable.")
@option(
    "--template",
    metavar="PATH",
    default=TEMPLATE_FILE,
    show_default=True,
    help=f"gitlab: the file in the repository with the job {TEMPLATE}, which the planned ones extend.",
)
def plan_command(**given: Any) -> int:
    """Say what a build of SOURCE would build, and build nothing."""
    wanted, form = gather(given), given["form"]
    for sentence in unread(wanted.project, os.environ, click.get_current_context().find_root().command):
        progress(0, 0).warn(sentence)
    part = part_of(wanted, Arch.from_machine(platform.machine()) or Arch.X86_64)
    # What only this machine remembers may be shown, but not decide which part is whose.
    known = wanted.times or ({} if wanted.shard else recorded_times(times_file(wanted.project)))
    machines = ON_GITLAB if form == "gitlab" else ON_GITHUB
    jobs = plan_jobs(
        part.plan,
        grouping=Grouping(given["group_by"]),
        most=given["max_jobs"],
        times=known,
        machines={**machines, **_runners(given["runner"])},
        registry=wanted.config.registry or DEFAULT_REGISTRY,
    )
    if form == "text":
        require_something(part)
        _show(part, jobs)
    elif form == "json":
        say_json(_document(part, jobs))
    elif form == "gitlab" and jobs:
        for sentence in gitlab_warnings(jobs):
            progress(0, 0).warn(sentence)
        say_json(gitlab_pipeline(jobs, given["template"]))
    elif form == "github" and jobs:
        # In one line, as GITHUB_OUTPUT takes it.
        click.echo(json.dumps(plain_json(github_matrix(jobs))))
    else:
        reasons = sorted({skip.reason for skip in part.plan.skipped})
        raise UsageError("nothing is selected, and a matrix must not be empty", details="\n".join(reasons))
    return 0


def _runners(texts: Sequence[str]) -> Mapping[Arch, Machine]:
    machines = {}
    for text in texts:
        name, equals, label = text.partition("=")
        if not equals or not label or name not in [arch.value for arch in Arch]:
            raise UsageError(f"--runner {text!r} is not ARCH=LABEL", resolution="Write it as s390x=our-mainframe")
        machines[Arch(name)] = Machine(label=label, arch=Arch(name))
    return machines


def _document(part: Part, jobs: Sequence[Job]) -> Mapping[str, object]:
    """What ``--dry-run --json`` prints, and the jobs; ``merge --plan`` reads its targets."""
    return {
        **part.plan.to_json(),
        "shard": str(part.shard) if part.shard else None,
        "jobs": [job.to_json() for job in jobs],
    }


def _show(part: Part, jobs: Sequence[Job]) -> None:
    """One line per job; what it builds stands below where its name does not say it."""
    width = max((len(job.id) for job in jobs), default=0)
    for job in jobs:
        took = f"{job.seconds:.0f} s" if job.seconds is not None else ""
        how = "emulated" if job.emulated else "native"
        say(f"{job.id:<{width}}  {job.machine.label}  {how}  {took}".rstrip())
        identifiers = [target.identifier for target in job.targets]
        if identifiers != [job.id]:
            for identifier in identifiers:
                say(f"  {identifier}")
    for skip in part.plan.skipped:
        say(f"{skip.target.identifier}  skipped: {skip.reason}", err=True)
