"""``musllinux-build audit``: show verdicts on wheels, and repair them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import click

from musllinux_build.adapters.memory import give_back_large_blocks
from musllinux_build.audit.catalogue import rules_page
from musllinux_build.audit.judge import judge_wheel
from musllinux_build.audit.promise import NotAudited, lacks_promise
from musllinux_build.audit.report import (
    failure_json,
    not_audited_json,
    not_audited_lines,
    schema_text,
    verdict_json,
    verdict_lines,
)
from musllinux_build.audit.subject import Search
from musllinux_build.audit.verdict import Verdict
from musllinux_build.cli.library_root import open_root
from musllinux_build.cli.say import say, say_json
from musllinux_build.errors import MusllinuxBuildError, UsageError, near_miss
from musllinux_build.policies.load import Policies, load_policies
from musllinux_build.policy import MuslVersion, Policy
from musllinux_build.tags import WheelName

WHEELS = click.argument(
    "wheels",
    nargs=-1,
    required=True,
    metavar="WHEEL...",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
POLICY = click.option(
    "--policy", metavar="POLICY", help="Measure against this policy (default: the one of the wheel's tag)."
)
POLICIES = click.option(
    "--policies",
    "policies_dir",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Also use the policy rows and recorded releases in this directory.",
)
FLOOR = click.option("--floor", metavar="X.Y.Z", help="Measure against this musl instead of the policy's own.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON: a list, one object per wheel.")
EXCLUDE = click.option(
    "--exclude", multiple=True, metavar="PATTERN", help="Libraries of this name or path come from another package."
)
WHITELIST = click.option(
    "--whitelist", multiple=True, metavar="NAME", help="Trust every system to have this library (libz.so.1)."
)
ROOT = click.option(
    "--root",
    type=click.Path(exists=True, path_type=Path),
    help="Search libraries in this root file system (a directory or a tar archive), too.",
)
IMAGE = click.option("--image", metavar="REF", help="Search libraries in this image (container engine), too.")
WIDEST = 80


class AuditGroup(click.Group):
    """A group whose larger half is imported when it is asked for: ``show`` has to start quickly."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the alphabet, as click does."""
        return sorted([*super().list_commands(ctx), "repair"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name == "repair":
            from musllinux_build.cli.audit_repair import repair  # noqa: PLC0415 - grafting, roots, engines

            return repair
        return super().get_command(ctx, cmd_name)


@click.group(cls=AuditGroup)
def audit() -> None:
    """Say whether wheels load where their tag says, and mend them."""


@audit.command()
@WHEELS
@POLICY
@POLICIES
@FLOOR
@EXCLUDE
@WHITELIST
@ROOT
@IMAGE
@click.option("-v", "--verbose", is_flag=True, help="Show notes, every finding and every reason for the floor.")
@JSON
@click.pass_context
def show(
    ctx: click.Context,
    *,
    wheels: Sequence[Path],
    policy: str | None,
    policies_dir: Path | None,
    floor: str | None,
    exclude: tuple[str, ...],
    whitelist: tuple[str, ...],
    root: Path | None,
    image: str | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Audit each WHEEL; the exit status is 0 when all conform and 1 when one does not.

    A wheel whose tag promises no musllinux (manylinux, win, macosx) is named and passed over, unless --policy says
    what to measure it against. With a root, what a wheel needs and does not have is told apart from what nobody has.
    """
    give_back_large_blocks()
    policies = policies_of(policies_dir)
    chosen, measured = parse_policy_option(policy, policies), parse_floor_option(floor)
    search = Search(exclude=exclude, whitelist=frozenset(whitelist))

    with open_root(root, image, None) as sysroot:

        def judge_one(path: Path) -> Verdict | NotAudited:
            name = WheelName.parse(path.name)
            reason = None if chosen else lacks_promise(name)
            if reason:
                return NotAudited(wheel=str(name), reason=reason)
            return judge_wheel(path, chosen, None, sysroot, floor=measured, search=search, policies=policies)

        answers = show_each(wheels, judge_one, verbose=verbose, as_json=as_json)
    failure = next((answer for answer in answers if isinstance(answer, MusllinuxBuildError)), None)
    verdicts = [answer for answer in answers if isinstance(answer, Verdict)]
    if not verdicts and failure is None:
        known = ", ".join(policy.value for policy in policies.rows)
        raise UsageError(
            "no wheel was audited: none promises musllinux",
            resolution=f"Audit them against a policy with --policy: {known}.",
        )
    spared = [text for verdict in verdicts for text in verdict.excluded]
    unmatched = [pattern for pattern in exclude if not any(fnmatchcase(text, pattern) for text in spared)]
    if unmatched and failure is None:
        raise UsageError(
            f"--exclude {unmatched[0]!r} matches no library that is needed",
            resolution="Leave it out; patterns match names and whole paths.",
        )
    if failure or not all(verdict.conforms for verdict in verdicts):
        ctx.exit(failure.exit_code if failure else 1)


@audit.command()
def rules() -> None:
    """Print every rule with its severity and the clause it enforces."""
    click.echo(rules_page(), nl=False)


@audit.command()
def schema() -> None:
    """Print the JSON Schema of what ``audit show --json`` prints."""
    click.echo(schema_text(), nl=False)


def show_each(
    wheels: Sequence[Path], judge_one: Callable[[Path], Verdict | NotAudited], *, verbose: bool, as_json: bool
) -> list[Verdict | NotAudited | MusllinuxBuildError]:
    """Print the verdict on each wheel; one that has none is told and does not keep the rest from theirs.

    Raises:
        MusllinuxBuildError: the only wheel has no verdict, and the text for people is asked for.
    """
    answers: list[Verdict | NotAudited | MusllinuxBuildError] = []
    documents: list[Mapping[str, object]] = []
    for at, wheel in enumerate(wheels):
        try:
            answer = judge_one(wheel)
        except UsageError:
            raise
        except MusllinuxBuildError as error:
            if len(wheels) == 1 and not as_json:
                raise
            answers.append(error)
            documents.append(failure_json(wheel.name, error))
            say(f"error: {error.brief}", err=True)
            continue
        answers.append(answer)
        if isinstance(answer, NotAudited):
            documents.append(not_audited_json(answer))
            lines = not_audited_lines(answer, width=text_width())
        else:
            documents.append(verdict_json(answer))
            lines = verdict_lines(answer, width=text_width(), verbose=verbose)
        if not as_json:
            for line in ([""] if at else []) + list(lines):
                say(line)
    if as_json:
        say_json(documents)
    return answers


def policies_of(directory: Path | None) -> Policies:
    """The policies that ship, with what ``directory`` adds to them."""
    if directory is None:
        return load_policies()
    from musllinux_build.policies.corpus import read_policies  # noqa: PLC0415 - derives tables: seldom wanted

    return read_policies(directory)


def parse_policy_option(text: str | None, policies: Policies | None = None) -> Policy | None:
    """The policy in ``text``, None for None; ``policies`` are those that ship by default.

    Raises:
        UsageError: there is none of that name; names the near miss.
    """
    if text is None:
        return None
    rows = (policies or load_policies()).rows
    found = next((policy for policy in rows if policy.value == text), None)
    if found is None:
        known = [policy.value for policy in rows]
        raise UsageError(f"unknown policy {text!r}", resolution=near_miss(text, known))
    return found


def parse_floor_option(text: str | None) -> MuslVersion | None:
    """The musl release in ``text``, None for None.

    Raises:
        UsageError: it is no release.
    """
    try:
        return MuslVersion.parse(text) if text is not None else None
    except ValueError:
        raise UsageError(f"{text!r} is not a musl release", resolution="Write it as 1.2.2.") from None


def parse_epoch(text: str | None) -> int:
    """The time that members are dated with, in seconds; the earliest of the zip format by default.

    Raises:
        UsageError: SOURCE_DATE_EPOCH is no number.
    """
    from musllinux_build.wheel.writer import EARLIEST  # noqa: PLC0415 - only for what is written

    if not text:
        return EARLIEST
    if not text.isdecimal() or len(text) > 10:
        raise UsageError(f"SOURCE_DATE_EPOCH is {text!r}", resolution="Set it to seconds since 1970, or unset it.")
    return int(text)


def text_width() -> int:
    """Columns for text: the terminal's, at most 80."""
    return min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
