"""Policies and single symbols in words, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from musllinux_build.arch import Arch
from musllinux_build.policies.corpus import Corpus
from musllinux_build.policies.evidence import Evidence
from musllinux_build.policies.generate import promised
from musllinux_build.policies.load import Policies, SymbolTable
from musllinux_build.policies.upstream import RELR
from musllinux_build.policy import Policy

COLUMNS = ("policy", "floor", "promised for", "RELR since", *(arch.value for arch in Arch))

RELEASE_COLUMNS = ("release", "musl", *(arch.value for arch in Arch))


def release_rows(corpus: Corpus) -> Iterator[Sequence[str]]:
    """A row per recorded release under RELEASE_COLUMNS: per architecture the exports, and RELR where it was run."""
    releases: dict[tuple[str, tuple[int, ...], str, str], dict[Arch, str]] = {}
    for record in corpus.records:
        applied = record.applies.get(RELR)
        said = "" if applied is None else " RELR" if applied else " skips RELR"
        key = (record.distro, record.order, record.release, record.musl_package)
        releases.setdefault(key, {})[record.arch] = f"{len(record.exports)}{said}"
    for distro, order, release, musl in sorted(releases):
        cells = releases[distro, order, release, musl]
        yield (f"{distro} {release}", musl, *(cells.get(arch, "-") for arch in Arch))


def policy_rows(corpus: Corpus, policies: Policies) -> Iterator[Sequence[str]]:
    """A row per policy under COLUMNS: its promise, and how many symbols each architecture has."""
    for policy, row in policies.rows.items():
        releases = [record for record in corpus.records if promised(record, row.promises, row.series)]
        yield (
            policy.value,
            str(row.floor),
            promise_text(releases),
            " ".join(sorted({str(policies.table(arch).relr_floor) for arch in Arch})),
            *(str(len(policies.data(policy, arch).exports)) for arch in Arch),
        )


def promise_text(releases: Sequence[Evidence]) -> str:
    """``alpine 3.13 to 3.20``: the recorded releases, by distribution."""
    parts = []
    for distro in sorted({record.distro for record in releases}):
        ordered = sorted((record.order, record.branch) for record in releases if record.distro == distro)
        oldest, newest = ordered[0][1], ordered[-1][1]
        parts.append(f"{distro} {oldest}" + (f" to {newest}" if newest != oldest else ""))
    return ", ".join(parts)


def table_lines(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    for row in (heading, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def policy_lines(policy: Policy, corpus: Corpus, policies: Policies, arch: Arch) -> Iterator[str]:
    """All that a policy is, on one architecture."""
    row, data, table = policies.row(policy), policies.data(policy, arch), policies.table(arch)
    releases = [
        record for record in corpus.records if record.arch is arch and promised(record, row.promises, row.series)
    ]
    yield policy.platform_tag(arch)
    yield f"  floor        musl {row.floor}"
    yield f"  promised for {promise_text(releases)}"
    yield f"  symbols      {len(data.exports)}, of them {len(data.lfs64)} resolved though newer ones do not export them"
    yield f"  DT_RELR      musl {data.relr_floor}" + ("" if data.relr_floor <= row.floor else ", newer than the floor")
    yield f"  libraries    libc; by choice also {', '.join(row.libraries) or 'none'}"
    later = sorted({version for version in table.since.values() if version > row.floor})
    for version in later:
        names = sorted(name for name in table.since if table.since[name] == version)
        yield f"  not before {version}: {' '.join(names)}"


def symbol_lines(name: str, corpus: Corpus, policies: Policies, archs: Sequence[Arch]) -> Iterator[str]:
    """What is known of a symbol; architectures that agree share a line."""
    by_text: dict[str, list[str]] = {}
    for arch in archs:
        text = symbol_text(name, corpus, policies.table(arch))
        by_text.setdefault(text, []).append(arch.value)
    for text, where in by_text.items():
        yield f"{name}: {text}" + ("" if len(where) == len(Arch) else f" ({', '.join(where)})")


def symbol_text(name: str, corpus: Corpus, table: SymbolTable) -> str:
    """``musl 1.2.3 (upstream), first in Alpine 3.15``, or why it is in no policy."""
    if name in table.removed:
        return f"gone since musl {table.removed[name]}; no policy has it"
    if name not in table.since:
        return "no recorded musl has it"
    version = table.since[name]
    if version <= table.oldest:
        text = f"musl {table.oldest} or older"
    else:
        row = next((row for row in corpus.upstream.additions if name in row.names and row.concerns(table.arch)), None)
        source = "upstream" if row and row.version == version else "recorded releases"
        text = f"musl {version} ({source}{', not released when recorded' if row and row.expected else ''})"
    branch = table.first_alpine.get(name)
    text += f", first in Alpine {branch}" if branch else ""
    return text + (", resolved by newer loaders without being exported" if name in table.lfs64 else "")
