"""``images verify``: the contract's rows on an image, and what came of each."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session
from musllinux_build.errors import EngineError, UsageError
from musllinux_build.images.absent import NOT_IN_SLIM, absent_rows
from musllinux_build.images.contents import VARIANT_LABEL
from musllinux_build.images.contract import AUDIT, rows
from musllinux_build.images.objects import audit_objects
from musllinux_build.images.promise import Level, Row, Wanted
from musllinux_build.images.reference import Variant
from musllinux_build.images.trial import Trial, answers, one_script
from musllinux_build.policy import Policy, known_policies
from musllinux_build.ports import PYTHONS_LABEL, ContainerSpec, ImageInfo
from musllinux_build.python import PythonTag
from musllinux_build.tarstream import tar_of

SCHEMA_VERSION = 1
LONGEST_EVIDENCE = 300
PROGRAM = "interpreter_check.py"
SCRIPT = "tmp/verify.sh"
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
    """Hold an image to the contract. ``absent`` maps a package, a row or ``module.NAME`` to why it may be missing.

    Raises:
        EngineError: the image's containers do not start.
    """
    spec = ContainerSpec(image=ref, platform=wanted.arch.oci_platform, purpose="verify", network=False)
    lacking = absent_rows({**lacks(image.labels), **(absent or {})})
    with session.container(spec) as container:
        probe = _Probe(session=session, container=container, wanted=wanted, absent=lacking)
        tried = probe.tried([row for row in rows() if row.id not in AUDIT and row.config is None])
        session.engine.stop(container)
        problems = audit_objects(session.engine, container, wanted.policy, wanted.arch)
    results: list[Result] = []
    for row in rows():
        if row.id in AUDIT:
            found = problems.by_row[row.id]
            results.append(probe.result(row, row.id, not found, _several(found) or problems.summary))
        elif row.config is not None:
            problem = row.config(image, wanted)
            results.append(probe.result(row, row.id, problem is None, problem or "as it should be"))
        else:
            results += tried[row.id]
    return Verification(image=ref, wanted=wanted, results=tuple(results))


def lacks(labels: Mapping[str, str]) -> Mapping[str, str]:
    """What an image says that it leaves out: packages and rows, with the reason."""
    variant = labels.get(VARIANT_LABEL)
    return dict.fromkeys(NOT_IN_SLIM, "the slim variant leaves it out") if variant == Variant.SLIM.value else {}


def _evidence(words: str, status: int) -> str:
    """The last line that says something."""
    lines = [line for line in (_CONTROL.sub(" ", line).strip() for line in words.splitlines()) if line]
    return lines[-1][:LONGEST_EVIDENCE] if lines else f"exit status {status}"


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

    def tried(self, scripts: Sequence[Row]) -> Mapping[str, Sequence[Result]]:
        """The results of all rows with scripts, by row: two commands in all."""
        program = Path(__file__).parent / "inside" / PROGRAM
        found: list[tuple[Row, str, Trial]] = []
        tags = self.interpreters()
        for row in scripts:
            if row.for_each_python:
                found += [(row, f"{row.id}.{tag}", self._of_python(row, tag)) for tag in tags]
            else:
                found.append((row, row.id, Trial(script=row.script, variables={})))
        mark = f"@{secrets.token_hex(8)}"
        script = one_script([trial for _, _, trial in found], self.wanted.environment, mark)
        files = {f"tmp/{PROGRAM}": program.read_bytes(), SCRIPT: script.encode()}
        self.session.engine.put(self.container, "/", [tar_of(files)])
        status, said = self.run(f"/{SCRIPT}")
        told = answers(said, mark)
        results: dict[str, list[Result]] = {row.id: [] for row in scripts}
        for number, (row, id_, _) in enumerate(found):
            one, words = told.get(number, (status or 255, said if not told else "it did not end"))
            results[row.id].append(self.result(row, id_, one == 0, _evidence(words, one)))
        return results

    def interpreters(self) -> list[str]:
        """The directories of /opt/python, and those that have to be there."""
        status, said = self.run("-c", "cd /opt/python && ls -d cp*")
        there = said.split() if status == 0 else []
        return sorted({*there, *(tag.directory for tag in self.wanted.pythons)})

    def run(self, *arguments: str) -> tuple[int, str]:
        """The exit status of a shell, and all it wrote."""
        said = bytearray()
        personality = self.wanted.arch.row.personality
        argv = [*([personality] if personality else []), "/bin/sh", *arguments]
        try:
            status = self.session.engine.run(self.container, argv, on_output=said.extend)
        except EngineError as error:
            return 127, error.brief
        return status, said.decode(errors="replace")

    def _of_python(self, row: Row, tag: str) -> Trial:
        """A row about one interpreter."""
        python = f"/opt/python/{tag}/bin/python"
        mode = PROGRAM_MODES.get(row.id)
        script = f"{python} -B /tmp/{PROGRAM} {mode}" if mode else row.script
        absent = " ".join(self._absent_modules())
        return Trial(script=script, variables={"TAG": tag, "PYTHON": python, "ABSENT_MODULES": absent})

    def _absent_modules(self) -> Iterator[str]:
        return (name.removeprefix("module.") for name in self.absent if name.startswith("module."))

    def result(self, row: Row, id_: str, holds: bool, evidence: str) -> Result:  # noqa: FBT001 - a value
        """The result, ABSENT where the list knows why it does not hold."""
        why = self.absent.get(id_) or self.absent.get(row.id)
        status = Status.PASS if holds else Status.ABSENT if why else Status.FAIL
        said = f"absent: {why}" if status is Status.ABSENT else evidence
        return Result(id=id_, level=row.level, claim=row.claim, status=status, evidence=said)
