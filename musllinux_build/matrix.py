"""Plan → jobs of a CI system: which identifiers each builds, on which kind of machine, from which image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.images.reference import image_reference
from musllinux_build.plan import Plan, Target
from musllinux_build.shards import cut
from musllinux_build.times import weigh

MOST_ON_GITHUB = 256
"""Jobs that one matrix may make there, in a workflow's run."""
TEMPLATE = ".musllinux-build"
"""The job of the user's own that every job of GitLab's child pipeline extends."""
TEMPLATE_FILE = ".gitlab/wheels.yml"
"""Where it stands in the user's repository."""


class Grouping(Enum):
    """What one job is for."""

    JOB = "job"
    ARCH = "arch"
    POLICY = "policy"
    ARCH_POLICY = "arch+policy"


_KEYS: Mapping[Grouping, Callable[[Target], str]] = {
    Grouping.JOB: lambda target: target.identifier,
    Grouping.ARCH: lambda target: target.arch.value,
    Grouping.POLICY: lambda target: target.policy.value,
    Grouping.ARCH_POLICY: lambda target: target.policy.platform_tag(target.arch),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A kind of machine: what a CI system calls it, and what it executes without an emulator."""

    label: str
    arch: Arch


def _machines(intel: str, arm: str) -> Mapping[Arch, Machine]:
    two = Machine(label=intel, arch=Arch.X86_64), Machine(label=arm, arch=Arch.AARCH64)
    return MappingProxyType({arch: two[arch in (Arch.AARCH64, Arch.ARMV7L)] for arch in Arch})


ON_GITHUB = _machines("ubuntu-24.04", "ubuntu-24.04-arm")
ON_GITLAB = _machines("saas-linux-small-amd64", "saas-linux-small-arm64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Targets that one machine builds. ``seconds`` is what they took the last time, None when not all are known."""

    id: str
    targets: tuple[Target, ...]
    images: tuple[str, ...]
    machine: Machine
    seconds: float | None

    @property
    def emulated(self) -> bool:
        """Whether the machine needs an emulator for one of them, or may need it (armv7l on aarch64)."""
        return not all(target.arch.runs_natively_on(self.machine.arch) for target in self.targets)

    def to_json(self) -> dict[str, object]:
        """Plain data; what there is several of stands in one text with spaces between, as matrices take it."""
        fields: dict[str, object] = {
            "id": self.id,
            "arch": _words(target.arch.value for target in self.targets),
            "platform": _words(target.arch.oci_platform for target in self.targets),
            "policy": _words(target.policy.value for target in self.targets),
            "python": _words(str(target.python) for target in self.targets),
            "image": " ".join(self.images),
            "runner": self.machine.label,
            "emulated": self.emulated,
            "only": _words(target.identifier for target in self.targets),
        }
        return fields if self.seconds is None else fields | {"est_seconds": round(self.seconds, 1)}


def plan_jobs(
    plan: Plan,
    *,
    grouping: Grouping,
    most: int | None,
    times: Mapping[str, float],
    machines: Mapping[Arch, Machine],
    registry: str,
) -> tuple[Job, ...]:
    """The jobs in the plan's order; more than ``most`` are packed into so many, neighbours on one kind of machine."""

    def job(name: str, targets: tuple[Target, ...]) -> Job:
        kinds = {machines[target.arch] for target in targets}
        images = dict.fromkeys(image_reference(registry, target.policy, target.arch) for target in targets)
        known = [times[target.identifier] for target in targets if target.identifier in times]
        return Job(
            id=name,
            targets=targets,
            images=tuple(images),
            # One that has to do what two kinds do is of the kind that every CI system has most of.
            machine=kinds.pop() if len(kinds) == 1 else machines[Arch.X86_64],
            seconds=sum(known) if len(known) == len(targets) else None,
        )

    groups: dict[str, tuple[Target, ...]] = {}
    for target in plan.targets:
        key = _KEYS[grouping](target)
        groups[key] = (*groups.get(key, ()), target)
    jobs = tuple(job(name, targets) for name, targets in groups.items())
    if most is None or len(jobs) <= most:
        return jobs
    weights = dict(zip(plan.targets, weigh(plan.targets, times), strict=True))
    packed = _pack(jobs, weights, most)
    return tuple(job(f"part-{number}-of-{len(packed)}", part) for number, part in enumerate(packed, start=1))


def _pack(jobs: Sequence[Job], weights: Mapping[Target, int], most: int) -> list[tuple[Target, ...]]:
    """The targets of ``jobs`` in ``most`` parts; two kinds of machine share one only when there are too few."""
    kinds: dict[Machine | None, list[Job]] = {}
    for job in jobs:
        kinds.setdefault(job.machine, []).append(job)
    if len(kinds) > most:
        kinds = {None: list(jobs)}

    def weight(job: Job) -> int:
        return sum(weights[target] for target in job.targets)

    def parts(kind: Machine | None, count: int) -> list[tuple[Job, ...]]:
        return cut(kinds[kind], [weight(job) for job in kinds[kind]], count)

    chosen = {kind: parts(kind, 1) for kind in kinds}
    for _ in range(most - len(kinds)):
        # One part more for whoever has the longest, as long as it can be cut.
        kind = max(
            (kind for kind in kinds if len(chosen[kind]) < len(kinds[kind])),
            key=lambda kind: max(sum(map(weight, part)) for part in chosen[kind]),
        )
        chosen[kind] = parts(kind, len(chosen[kind]) + 1)
    return [tuple(target for job in part for target in job.targets) for cuts in chosen.values() for part in cuts]


def github_matrix(jobs: Sequence[Job]) -> Mapping[str, object]:
    """For ``strategy.matrix: ${{ fromJSON(...) }}``.

    Raises:
        UsageError: there are more than one matrix may have.
    """
    if len(jobs) > MOST_ON_GITHUB:
        raise UsageError(
            f"{len(jobs)} jobs are too many: a matrix on GitHub has at most {MOST_ON_GITHUB}",
            resolution=f"Pack them: --max-jobs {MOST_ON_GITHUB}, or --group-by arch+policy",
        )
    return {"include": [job.to_json() for job in jobs]}


def gitlab_pipeline(jobs: Sequence[Job], template: str) -> Mapping[str, object]:
    """A child pipeline (JSON is YAML): jobs that extend ``TEMPLATE``, with the fields as their variables.

    It includes the file ``template``, so that the trigger names one file, the planned one.

    Not ``parallel: matrix``: that puts all values into a job's name, which has room for 255 characters, and takes no
    more than 200.
    """
    planned = {job.id: {"extends": TEMPLATE, "tags": [job.machine.label], "variables": _variables(job)} for job in jobs}
    return {"include": [{"local": template}], **planned}


def gitlab_warnings(jobs: Sequence[Job]) -> Iterator[str]:
    """What keeps jobs from running in their images, as they do where the template has no engine."""
    several = [job.id for job in jobs if len(job.images) > 1]
    if several:
        yield (
            f"a job on GitLab runs in one image, and these are for several: {', '.join(several)};"
            " plan with --group-by arch+policy and without --max-jobs, or give the template an engine"
        )
    counts = Counter((job.targets[0].arch, job.machine) for job in jobs if job.emulated and len(job.images) == 1)
    for (arch, machine), count in counts.items():
        verb = "may not" if (arch, machine.arch) == (Arch.ARMV7L, Arch.AARCH64) else "do not"
        yield (
            f"{arch.value}: {count} {'job goes' if count == 1 else 'jobs go'} to runners tagged {machine.label}, which"
            f" {verb} execute it; name runners that do, by themselves or with an emulator (binfmt):"
            f" --runner {arch.value}=TAG"
        )


def _variables(job: Job) -> Mapping[str, str]:
    fields = job.to_json() | {"emulated": str(job.emulated).lower()}
    # The tool reads its options from variables of these names: the template's script need not name them.
    names = {"only": "MUSLLINUX_BUILD_ONLY"}
    return {names.get(name, f"WHEEL_{name.upper()}"): str(value) for name, value in fields.items()}


def _words(texts: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(texts))
