"""What must be true of policies, each as a function that yields sentences about what is not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from musllinux_build.arch import Arch
from musllinux_build.policies.corpus import Corpus
from musllinux_build.policies.evidence import Evidence
from musllinux_build.policies.generate import promised, promised_distributions, provided, symbol_versions
from musllinux_build.policies.load import Policies
from musllinux_build.policies.upstream import Addition


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``problems`` refute the policies; ``notes`` are what is known and taken care of."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]


def check(corpus: Corpus, committed: Mapping[str, str] | None = None) -> Report:
    """Everything there is to check; ``committed`` are the generated files that should be these."""
    policies = corpus.policies()
    problems = [
        *(not_reproduced(corpus, committed) if committed is not None else ()),
        *not_monotone(policies),
        *broken_promises(corpus, policies),
        *missing_libraries(corpus, policies),
        *wrong_images(corpus, policies),
        *contradictions(corpus),
        *undocumented(corpus),
    ]
    return Report(problems=tuple(problems), notes=tuple(forks(corpus)))


def not_reproduced(corpus: Corpus, committed: Mapping[str, str]) -> Iterator[str]:
    """The committed files are the derived ones, byte for byte."""
    derived = corpus.derived()
    for name in sorted(derived.keys() | committed.keys()):
        if derived.get(name) != committed.get(name):
            yield f"{name} is not what the evidence gives; run musllinux-build policy generate"


def not_monotone(policies: Policies) -> Iterator[str]:
    """Each policy is a subset of the newer one on each architecture (PEP 600's play well with later releases)."""
    for older, newer in pairwise(sorted(policies.rows, key=lambda policy: policy.series)):
        if policies.row(older).floor > policies.row(newer).floor:
            yield f"{older.value} has a higher floor than {newer.value}"
        for arch in Arch:
            more = policies.data(older, arch).exports - policies.data(newer, arch).exports
            if more:
                yield f"{older.value} on {arch.value} has {_some(more)}, which {newer.value} lacks"


def broken_promises(corpus: Corpus, policies: Policies) -> Iterator[str]:
    """Every release that a policy promises provides what the policy provides."""
    for policy, row in policies.rows.items():
        for record in corpus.records:
            if promised(record, row.promises, row.series):
                lacking = policies.data(policy, record.arch).exports - provided(record, corpus.upstream)
                if lacking:
                    yield f"{policy.value} promises {record.label} {record.arch.value}, which lacks {_some(lacking)}"


def missing_libraries(corpus: Corpus, policies: Policies) -> Iterator[str]:
    """Every promised release where it was looked for has each library that its policy allows."""
    for policy, row in policies.rows.items():
        for record in corpus.records:
            lacking = [name for name in row.libraries if not record.libraries.get(name, "not looked for")]
            if lacking and promised(record, row.promises, row.series):
                yield f"{policy.value} allows {', '.join(lacking)}, which {record.label} {record.arch.value} lacks"
        yield from (
            f"{policy.value} allows {name}, which no record was asked for"
            for name, exports in row.libraries.items()
            if not exports and not any(name in record.libraries for record in corpus.records)
        )


def wrong_images(corpus: Corpus, policies: Policies) -> Iterator[str]:
    """Images stand on recorded releases, with the musl that was recorded."""
    packages = {(record.release, record.musl_package) for record in corpus.records if record.distro == "alpine"}
    for policy, row in policies.rows.items():
        if row.image and (row.image.base, row.image.musl_package) not in packages:
            yield f"{policy.value}: no Alpine {row.image.base} with musl {row.image.musl_package} was recorded"
        if row.image and row.image.newest not in {release for release, _ in packages}:
            yield f"{policy.value}: Alpine {row.image.newest} was not recorded"


def contradictions(corpus: Corpus) -> Iterator[str]:
    """No record lacks what upstream's release of its version has, except where a row says so."""
    for row in corpus.upstream.additions:
        late = {record.label: record for record in _used(corpus) if _lacking(record, row)}
        for label in sorted(late.keys() - row.late):
            record = late[label]
            yield f"{label} has musl {record.musl} and lacks {_some(_lacking(record, row))} of musl {row.version}"
        yield from (f"{label} does not lack what is said to be late there" for label in sorted(row.late - late.keys()))
    for feature in corpus.upstream.features:
        for record in _used(corpus):
            if record.musl >= feature.version and not record.applies.get(feature.name, True):
                yield f"{record.label} {record.arch.value} does not apply {feature.name} of musl {feature.version}"
    for record in _used(corpus):
        expected = corpus.upstream.remapped_at(record.musl) - record.exports
        if record.resolves is not None and record.resolves != expected:
            odd = record.resolves ^ expected
            yield f"{record.label} {record.arch.value} and upstream's list differ in resolving {_some(odd)}"


def undocumented(corpus: Corpus) -> Iterator[str]:
    """Every symbol that came after the oldest record has a row of upstream's: no distribution's own extension."""
    for arch in Arch:
        records = [record for record in _used(corpus) if record.arch is arch]
        if not records:
            continue
        oldest, known = min(record.musl for record in records), corpus.upstream.since(arch)
        new = {name for name, version in symbol_versions(records, corpus.upstream).items() if version > oldest}
        if new - known.keys():
            yield f"{arch.value}: no upstream release is known to bring {_some(frozenset(new - known.keys()))}"


def forks(corpus: Corpus) -> Iterator[str]:
    """What distributions do earlier or later than upstream: known, and the reason for an intersection."""
    for row in corpus.upstream.additions:
        early = {record.label: record for record in _used(corpus) if _early(record, row)}
        for record in early.values():
            yield f"{record.label} (musl {record.musl_package}) has {_some(_early(record, row))} of musl {row.version}"
        yield from (f"{label} lacks {_some(row.names)} of musl {row.version}" for label in sorted(row.late))
    for feature in corpus.upstream.features:
        names = {
            record.label: record.musl_package
            for record in _used(corpus)
            if record.musl < feature.version and record.applies.get(feature.name)
        }
        yield from (f"{label} (musl {musl}) applies {feature.name}" for label, musl in names.items())
    unused = {record.label for record in corpus.records} - {record.label for record in _used(corpus)}
    yield from (f"{label} is recorded, and no policy promises its distribution" for label in sorted(unused))


def _used(corpus: Corpus) -> list[Evidence]:
    named = promised_distributions(corpus.table)
    ordered = sorted(corpus.records, key=lambda record: (record.distro, record.order, record.arch.value))
    return [record for record in ordered if record.distro in named]


def _lacking(record: Evidence, row: Addition) -> frozenset[str]:
    return row.names - record.exports if row.concerns(record.arch) and record.musl >= row.version else frozenset()


def _early(record: Evidence, row: Addition) -> frozenset[str]:
    early = row.concerns(record.arch) and record.musl < row.version and not row.again
    return row.names & record.exports if early else frozenset()


def _some(names: frozenset[str]) -> str:
    """The first four names and how many more."""
    ordered = sorted(names)
    more = f" and {len(ordered) - 4} more" if len(ordered) > 4 else ""
    return ", ".join(ordered[:4]) + more
