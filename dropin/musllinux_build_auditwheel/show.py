"""``auditwheel show``: the reference's answer with ours in it."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from musllinux_build.api import OpenWheel, read
from musllinux_build.audit.judge import examine, judge
from musllinux_build.audit.report import finding_lines, verdict_json
from musllinux_build.audit.subject import Subject
from musllinux_build.audit.verdict import Verdict
from musllinux_build.elf.closure import Outcome
from musllinux_build.errors import MusllinuxBuildError
from musllinux_build.plaintext import plain_json, plain_line
from musllinux_build_auditwheel.target import Target, choose_target, newer_policies, running_musl

SCHEMA = 1
ISA_RULE = "isa-above-baseline"
NOT_PLATFORM = (
    "This does not look like a platform wheel, no ELF executable or shared library file "
    "(including compiled Python C extension) found in the wheel archive"
)
WIDTH = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is said about one platform wheel: the verdict on each policy, oldest first, with what it was found from."""

    opened: OpenWheel
    target: Target
    subject: Subject
    verdicts: tuple[Verdict, ...]
    may_need_isa: bool

    @property
    def unsupported_isa(self) -> bool:
        """Whether some object needs a newer processor than every one of its architecture."""
        return not self.may_need_isa and any(item.rule == ISA_RULE for item in self.verdicts[0].findings)

    @property
    def overall_tag(self) -> str:
        """The oldest platform it is good for, ``linux_ARCH`` when there is none."""
        good = (verdict for verdict in self.verdicts if verdict.conforms and not self.unsupported_isa)
        return self._tag(next(good, None))

    @property
    def sym_tag(self) -> str:
        """The same for its symbols alone."""
        good = (item for item in self.verdicts if not any(error.rule.startswith("symbol-") for error in item.errors))
        return self._tag(next(good, None))

    @property
    def external(self) -> dict[str, str | None]:
        """The libraries it needs and does not have, by name, and where the root has them."""
        closure, own = self.subject.closure, self.subject.inventory.members
        return {
            edge.name: edge.target
            for edge in sorted(closure.edges, key=lambda edge: edge.name)
            if edge.outcome is not Outcome.LIBC and edge.target not in own
        }

    @property
    def versions(self) -> dict[str, list[str]]:
        """The symbol versions its objects ask each library for."""
        found: dict[str, set[str]] = {}
        for facts in self.subject.inventory.objects.values():
            for need in facts.version_needs:
                found.setdefault(need.library, set()).update(need.versions)
        return {library: sorted(names) for library, names in sorted(found.items())}

    def _tag(self, verdict: Verdict | None) -> str:
        arch = self.target.arch
        return verdict.policy.platform_tag(arch) if verdict else f"linux_{arch.value}"


def show(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Print what is known about one wheel; 0 for every platform wheel, 1 for a pure one."""
    (path,) = given.wheels
    try:
        opened = read(path)
        if opened.is_pure:
            return _pure(given, path.name)
        answer = find_answer(given, environment, opened)
    except MusllinuxBuildError as error:
        if given.json:
            print(json.dumps({"version": SCHEMA, "wheel": path.name, "error": error.brief}, indent=4))  # noqa: T201
        raise
    told = json.dumps(plain_json(answer_json(answer)), indent=4) if given.json else "\n".join(answer_lines(answer))
    print(told)  # noqa: T201 - the result
    return 0


def _pure(given: argparse.Namespace, name: str) -> int:
    if given.allow_pure_python_wheel:
        document: dict[str, object] = {"version": SCHEMA, "wheel": name, "pure": True}
        print(json.dumps(document, indent=4) if given.json else f"\n{name} is a pure Python wheel.")  # noqa: T201
        return 0
    error = {"version": SCHEMA, "wheel": name, "error": NOT_PLATFORM}
    print(json.dumps(error, indent=4) if given.json else NOT_PLATFORM)  # noqa: T201
    return 1


def find_answer(given: argparse.Namespace, environment: Mapping[str, str], opened: OpenWheel) -> Answer:
    """Measure a platform wheel against its policy and the later ones."""
    target = choose_target(opened, environment, root=given.root, ldpaths=given.ldpaths, running=running_musl())
    subjects = {
        policy: examine(
            opened.wheel,
            opened.inventory,
            arch=target.arch,
            floor=policy.row.floor,
            sysroot=target.sysroot,
            may_graft=False,
            search=target.search,
        )
        for policy in newer_policies(target.policy)
    }
    return Answer(
        opened=opened,
        target=target,
        subject=subjects[target.policy],
        verdicts=tuple(judge(subject, policy) for policy, subject in subjects.items()),
        may_need_isa=given.disable_isa_ext_check,
    )


def answer_json(answer: Answer) -> Mapping[str, object]:
    """The reference's fields (schema version 1), and the verdict under ``musllinux_build``."""
    missing = sorted(answer.external)
    upgrades = {
        verdict.policy.platform_tag(answer.target.arch): {"libs_to_eliminate": missing} if missing else {}
        for verdict in answer.verdicts
        if not verdict.conforms
    }
    return {
        "version": SCHEMA,
        "wheel": answer.opened.path.name,
        "pure": False,
        "overall_tag": answer.overall_tag,
        "sym_tag": answer.sym_tag,
        "pyfpe": False,
        "ucs2": False,
        "unsupported_isa": answer.unsupported_isa,
        "versioned_symbols": answer.versions,
        "external_libs": answer.external,
        "policy_upgrades": upgrades,
        "musllinux_build": verdict_json(answer.verdicts[0]),
    }


def answer_lines(answer: Answer) -> Iterator[str]:
    """The answer for people: the tag, versions and libraries, then every finding with what to do about it."""
    yield ""
    yield from _wrapped(
        f'{answer.opened.path.name} is consistent with the following platform tag: "{answer.overall_tag}".'
    )
    yield ""
    if answer.versions:
        told = "; ".join(f"{library} with {', '.join(names)}" for library, names in answer.versions.items())
        yield from _wrapped(f"Its objects ask for versioned symbols of: {told}.")
    else:
        yield "Its objects ask for no versioned symbols."
    yield ""
    if answer.external:
        yield "It needs these libraries from outside:"
        yield from (plain_line(f"  {name} ({path or 'not found'})") for name, path in answer.external.items())
    else:
        yield "It needs no library from outside."
    first = answer.verdicts[0]
    promised = first.policy.platform_tag(answer.target.arch)
    if first.conforms and not answer.unsupported_isa:
        yield from _wrapped(f"It loads on musl {first.floor} and later.")
    else:
        yield ""
        yield from _wrapped(f"It is not good for {promised}, measured against musl {first.wanted}, because:")
    for finding in first.findings:
        yield from finding_lines(finding, width=80)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(plain_line(text), WIDTH, break_long_words=False, break_on_hyphens=False)
