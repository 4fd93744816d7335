"""``images verify``: the contract's rows on an image, and what came of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session
from musllinux_build.errors import EngineError, UsageError
from musllinux_build.images.contract import AUDIT, Level, Row, Wanted, rows
from musllinux_build.images.objects import audit_objects
from musllinux_build.policy import Policy, known_policies
from musllinux_build.ports import PYTHONS_LABEL, ContainerSpec, ImageInfo
from musllinux_build.python import PythonTag
from musllinux_build.tarstream import tar_of

SCHEMA_VERSION = 1
LONGEST_EVIDENCE = 300
PROGRAM = "interpreter_check.py"
PROGRAM_MODES = {"B1": "extension", "B3": "modules"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Status(Enum):
    """What became of a row. ABSENT: it fails, and a list says that this image's supplies lack it."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A row on one image; ``id`` ends with the interpreter's tag where the row is about one."""

    id: str
    level: Level
    claim: str
    status: Status
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """All results of one image."""

    image: str
    wanted: Wanted
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Whether every MUST holds or is known to be absent."""
        return not any(result.status is Status.FAIL and result.level is Level.MUST for result in self.results)

    def to_json(self) -> Mapping[str, object]:
        """Plain data; ``version`` changes with its shape."""
        return {
            "version": SCHEMA_VERSION,
            "image": self.image,
            "policy": self.wanted.policy.value,
            "arch": self.wanted.arch.value,
            "passed": self.passed,
            "rows": [
                {
                    "id": result.id,
                    "level": result.level.value,
                    "claim": result.claim,
                    "status": result.status.value,
                    "evidence": result.evidence,
                }
                for result in self.results
            ],
        }


def wanted_of(image: ImageInfo, ref: str, policy: Policy | None = None, arch: Arch | None = None) -> Wanted:
    """What an image says it is, by its environment, labels and platform; ``policy`` and ``arch`` overrule it.

    Raises:
        UsageError: it does not say, and nobody else does.
    """
    said_policy, said_arch = image.env.get("AUDITWHEEL_POLICY", ""), image.env.get("AUDITWHEEL_ARCH", "")
    if policy is None:
        policy = next((one for one in known_policies() if one.value == said_policy), None)
    if arch is None:
        arch = next((one for one in Arch if one.value == said_arch), None) or image.arch
    if policy is None or arch is None:
        what = "policy" if policy is None else "architecture"
        known = ", ".join(one.value for one in (known_policies() if policy is None else Arch))
        raise UsageError(f"{ref} does not say its {what}", resolution=f"Name it: --{what[:6]} {known}")
    pythons = [word for word in image.labels.get(PYTHONS_LABEL, "").split(",") if word]
    return Wanted(policy=policy, arch=arch, pythons=tuple(PythonTag.parse(_minor(word)) for word in pythons))


def _minor(version: str) -> str:
    threads = "t" if version.endswith("t") else ""
    return ".".join(version.removesuffix("t").split(".")[:2]) + threads


def verify(
    session: Session, ref: str, image: ImageInfo, wanted: Wanted, absent: Mapping[str, str] | None = None
) -> Verification:
    """Hold an image to the contract. ``absent`` maps the id of a row, or of a module, to why it may be missing.

    Raises:
        EngineError: the image's containers do not start.
    """
    spec = ContainerSpec(image=ref, platform=wanted.arch.oci_platform, purpose="verify", network=False)
    results: list[Result] = []
    with session.container(spec) as container:
        probe = _Probe(session=session, container=container, wanted=wanted, absent=absent or {})
        probe.bring()
        tags = probe.interpreters()
        for row in rows():
            if row.id in AUDIT:
                continue
            if row.config is not None:
                problem = row.config(image, wanted)
                results.append(probe.result(row, row.id, problem is None, problem or "as it should be"))
            elif row.for_each_python:
                results += [probe.of_python(row, tag) for tag in tags]
            else:
                results.append(probe.of_script(row, row.id, {}))
        session.engine.stop(container)
        problems = audit_objects(session.engine, container, wanted.policy, wanted.arch)
    for row in rows():
        if row.id in AUDIT:
            found = problems.by_row[row.id]
            results.append(probe.result(row, row.id, not found, _several(found) or problems.summary))
    return Verification(image=ref, wanted=wanted, results=tuple(results))


def _several(found: Sequence[str]) -> str:
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """A container that rows are tried in."""

    session: Session
    container: str
    wanted: Wanted
    absent: Mapping[str, str]

    def bring(self) -> None:
        """Put the program that interpreters run into the container."""
        program = Path(__file__).parent / "inside" / PROGRAM
        self.session.engine.put(self.container, "/", [tar_of({f"tmp/{PROGRAM}": program.read_bytes()})])

    def interpreters(self) -> list[str]:
        """The directories of /opt/python, and those that have to be there."""
        status, said = self.run("cd /opt/python && ls -d cp*", {})
        there = said.split() if status == 0 else []
        return sorted({*there, *(tag.directory for tag in self.wanted.pythons)})

    def run(self, script: str, extra: Mapping[str, str]) -> tuple[int, str]:
        """The exit status of a script, and all it wrote."""
        said = bytearray()
        env = {**self.wanted.environment, **extra}
        argv = [*self._personality(), "/bin/sh", "-c", script]
        try:
            status = self.session.engine.run(self.container, argv, env=env, on_output=said.extend)
        except EngineError as error:
            return 127, error.brief
        return status, said.decode(errors="replace")

    def _personality(self) -> list[str]:
        return [self.wanted.arch.row.personality] if self.wanted.arch.row.personality else []

    def of_script(self, row: Row, id_: str, extra: Mapping[str, str]) -> Result:
        """A row of a script."""
        status, said = self.run(row.script, extra)
        lines = [line for line in (_CONTROL.sub(" ", line).strip() for line in said.splitlines()) if line]
        evidence = lines[-1][:LONGEST_EVIDENCE] if lines else f"exit status {status}"
        return self.result(row, id_, status == 0, evidence)

    def of_python(self, row: Row, tag: str) -> Result:
        """A row about one interpreter."""
        python = f"/opt/python/{tag}/bin/python"
        extra = {"TAG": tag, "PYTHON": python, "ABSENT_MODULES": " ".join(self._absent_modules())}
        if mode := PROGRAM_MODES.get(row.id):
            row = Row(id=row.id, level=row.level, claim=row.claim, script=f"{python} -B /tmp/{PROGRAM} {mode}")
        return self.of_script(row, f"{row.id}.{tag}", extra)

    def _absent_modules(self) -> Iterator[str]:
        return (name.removeprefix("module.") for name in self.absent if name.startswith("module."))

    def result(self, row: Row, id_: str, holds: bool, evidence: str) -> Result:  # noqa: FBT001 - a value
        """The result, ABSENT where the list knows why it does not hold."""
        why = self.absent.get(id_) or self.absent.get(row.id)
        status = Status.PASS if holds else Status.ABSENT if why else Status.FAIL
        said = f"absent: {why}" if status is Status.ABSENT else evidence
        return Result(id=id_, level=row.level, claim=row.claim, status=status, evidence=said)
