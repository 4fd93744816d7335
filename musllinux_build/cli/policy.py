"""``musllinux-build policy``: record releases of musl, derive the policies from the records, check and show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from musllinux_build.arch import Arch
from musllinux_build.cli.options import progress, verbosity_options
from musllinux_build.cli.roots import open_root
from musllinux_build.cli.say import write_text
from musllinux_build.errors import UsageError, near_miss
from musllinux_build.policies.check import check
from musllinux_build.policies.corpus import DATA, EVIDENCE, SHIPPED, Corpus, laid_over, read_corpus, read_records
from musllinux_build.policies.describe import (
    COLUMNS,
    RELEASE_COLUMNS,
    policy_lines,
    policy_rows,
    release_rows,
    symbol_lines,
    table_lines,
)
from musllinux_build.policies.evidence import Evidence, format_history
from musllinux_build.policies.load import load_policies
from musllinux_build.policies.record import find_loader, record
from musllinux_build.policy import Policy

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
ARCH = click.option("--arch", metavar="ARCH", help="x86_64, aarch64 ...")
POLICIES = click.option(
    "--policies",
    "policies_dir",
    metavar="DIR",
    type=FOLDER,
    help="Also use the policy rows and recorded releases in this directory.",
)


@click.group()
def policy() -> None:
    """Record releases of musl, derive the policies from the records, and check them."""


@policy.command("record")
@click.argument("root", metavar="IMAGE|ROOTFS")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write here (default: standard output).")
@click.option("--no-run", is_flag=True, help="Do not run the loader; record only what can be read.")
@click.option("--distro", help="Its name, where os-release does not say.")
@click.option("--release", help="Its release, where os-release does not say (default then: rolling).")
@ARCH
@verbosity_options
def record_command(root: str, **given: Any) -> None:
    """Record what the musl of IMAGE|ROOTFS exports, and what its loader was seen to apply.

    ROOTFS is a directory or the tar archive of a root file system: it is read without being unpacked, and its loader
    alone is run, on this machine. Anything else is the name of an IMAGE: it is run in a container without network.
    """
    arch = parse_arch(given["arch"])
    lines = progress(given["verbose"], given["quiet"])
    with open_root(root, arch, lines) as (sysroot, runner), lines.step(f"record {root}"):
        loader = find_loader(sysroot, arch)
        names = {"distro": given["distro"], "release": given["release"], "libraries": load_policies().libraries}
        if given["no_run"]:
            evidence = record(sysroot, loader, None, **names)
        else:
            with runner(loader) as run:
                evidence = record(sysroot, loader, run, candidates=known_names(loader.arch), **names)
    text = evidence.format_record()
    if given["out"] is None:
        click.echo(text, nl=False)
        return
    write_text(given["out"], text)
    lines.note(f"{evidence.label} {evidence.arch.value}: musl {evidence.musl_package}, {len(evidence.exports)} exports")


def known_names(arch: Arch) -> frozenset[str]:
    """Every name that a recorded release of ``arch`` exports or upstream knows."""
    corpus = read_corpus()
    recorded = (release.exports for release in corpus.records if release.arch is arch)
    return frozenset().union(*recorded, corpus.upstream.remapped, corpus.upstream.since(arch))


@policy.command("generate")
@click.option("--records", type=FOLDER, help="Take the records in this directory into the evidence first.")
@click.option("--directory", type=FOLDER, default=SHIPPED, help="Where evidence and data are (default: those shipped).")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit with 1 when a file would change.")
def generate_command(records: Path | None, directory: Path, *, only_check: bool) -> int:
    """Derive the policy data of every architecture from the evidence."""
    files = generated(directory, read_records(records) if records else ())
    changed = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in changed:
        click.echo(f"{'differs' if only_check else 'wrote'} {path}")
    if not only_check:
        for path in changed:
            write_text(path, files[path])
    return 1 if only_check and changed else 0


def generated(directory: Path, added: Iterable[Evidence]) -> dict[Path, str]:
    """The text of every history and every file derived from them, by path."""
    base = read_corpus(directory)
    merged = {(one.distro, one.release, one.arch): one for one in (*base.records, *added)}
    corpus = Corpus(table=base.table, records=tuple(merged.values()), upstream=base.upstream)
    histories: dict[tuple[str, Arch], list[Evidence]] = {}
    for one in corpus.records:
        histories.setdefault((one.distro, one.arch), []).append(one)
    files = {
        directory / EVIDENCE / f"{distro}-{arch.value}.json": format_history(history)
        for (distro, arch), history in histories.items()
    }
    return {**files, **{directory / DATA / name: text for name, text in corpus.derived().items()}}


@policy.command("check")
@POLICIES
@click.option("--quiet", "-q", is_flag=True, help="Print problems only.")
def check_command(policies_dir: Path | None, *, quiet: bool) -> int:
    """Prove that the policies reproduce from the evidence, are monotone, and contradict no release; exit with 1 if not.

    With --policies the shipped data and what the directory adds are checked together.
    """
    corpus = read_corpus()
    committed: Mapping[str, str] | None = {
        path.name: path.read_text("utf-8") for path in sorted((SHIPPED / DATA).glob("*.json"))
    }
    if policies_dir is not None:
        corpus, committed = laid_over(corpus, policies_dir), None
    report = check(corpus, committed)
    if not quiet:
        for line in table_lines(COLUMNS, list(policy_rows(corpus, corpus.policies()))):
            click.echo(line)
        for note in report.notes:
            click.echo(f"note: {note}")
    for problem in report.problems:
        click.echo(f"error: {problem}")
    return 1 if report.problems else 0


@policy.command("show")
@click.argument("name", metavar="[POLICY]", required=False)
@click.option("--symbol", metavar="NAME", help="Say since when there is this symbol.")
@click.option("--releases", is_flag=True, help="Show what was recorded, and which loaders apply DT_RELR.")
@ARCH
@POLICIES
def show_command(
    name: str | None, *, symbol: str | None, releases: bool, arch: str | None, policies_dir: Path | None
) -> None:
    """Show all policies, one POLICY on an architecture, what is known of a symbol, or the recorded releases."""
    corpus, policies, chosen = read_corpus(), load_policies(), parse_arch(arch)
    if policies_dir:
        corpus = laid_over(corpus, policies_dir)
        policies = corpus.policies()
    if symbol is not None:
        lines = symbol_lines(symbol, corpus, policies, [chosen] if chosen else list(Arch))
    elif releases:
        lines = table_lines(RELEASE_COLUMNS, list(release_rows(corpus)))
    elif name is None:
        lines = table_lines(COLUMNS, list(policy_rows(corpus, policies)))
    else:
        lines = policy_lines(parse_policy(name, policies.rows), corpus, policies, chosen or Arch.X86_64)
    for line in lines:
        click.echo(line)


def parse_policy(text: str, known: Mapping[Policy, object]) -> Policy:
    """The policy called ``text``.

    Raises:
        UsageError: there is none; names the near miss.
    """
    found = next((one for one in known if one.value == text), None)
    if found is None:
        raise UsageError(f"unknown policy {text!r}", resolution=near_miss(text, [one.value for one in known]))
    return found


def parse_arch(text: str | None) -> Arch | None:
    """The architecture called ``text``, None for None.

    Raises:
        UsageError: there is none; names the near miss.
    """
    if text is None:
        return None
    found = next((arch for arch in Arch if arch.value == text), None)
    if found is None:
        raise UsageError(f"unknown architecture {text!r}", resolution=near_miss(text, [arch.value for arch in Arch]))
    return found
