"""Derives the symbol tables and the floors of the policies from evidence. Pure: text and values in, text out.

The rule is the one of PEP 600's policies: what a musl version provides is what every recorded release with that
version *or a newer one* provides. A distribution that carries a newer symbol early (Alpine's 1.2.2-r9 has ``qsort_r``
of 1.2.3) therefore does not lower the symbol's version, and neither does one that applies DT_RELR early. Upstream's
own releases say since when a symbol can be there, also where no recorded distribution shipped that release.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence

from musllinux_build.arch import Arch
from musllinux_build.policies.evidence import Evidence, release_order
from musllinux_build.policies.load import SCHEMA
from musllinux_build.policies.upstream import RELR, Upstream
from musllinux_build.policy import MuslVersion


def provided(record: Evidence, upstream: Upstream) -> frozenset[str]:
    """The names a library can bind to on this release: exported, or resolved by the loader all the same.

    Where the loader was run, what it resolved counts; elsewhere what upstream's loader of that version does.
    """
    more = upstream.remapped_at(record.musl) if record.resolves is None else record.resolves
    return record.exports | more


def first_version(
    lacking: Iterable[MuslVersion], versions: Collection[MuslVersion], lowest: MuslVersion | None
) -> MuslVersion | None:
    """The lowest of ``versions``, not below ``lowest``, from which on nothing is lacking; None when there is none."""
    last = max(lacking, default=None)
    good = [
        version
        for version in {*versions, *([lowest] if lowest else [])}
        if (last is None or version > last) and (lowest is None or version >= lowest)
    ]
    return min(good, default=None)


def symbol_versions(records: Sequence[Evidence], upstream: Upstream) -> dict[str, MuslVersion]:
    """For every symbol that lasts: since which musl every release provides it."""
    arch = records[0].arch
    versions = {record.musl for record in records}
    oldest = min(versions)
    # What is older than any record is not told apart from what was always there.
    lowest = {name: version for name, version in upstream.since(arch).items() if version > oldest}
    provides = [(record.musl, provided(record, upstream)) for record in records]
    names = frozenset().union(lowest, *(names for _, names in provides))
    found = dict.fromkeys(names, oldest)
    lacking: dict[str, list[MuslVersion]] = {name: [] for name in lowest}
    for version, here in provides:
        for name in names - here:
            lacking.setdefault(name, []).append(version)
    for name, without in lacking.items():
        first = first_version(without, versions, lowest.get(name))
        if first is None:
            del found[name]
        else:
            found[name] = first
    return found


def feature_versions(records: Sequence[Evidence], upstream: Upstream) -> dict[str, MuslVersion]:
    """For every feature that a loader was seen to have or upstream documents: since when every musl has it."""
    lowest = {feature.name: feature.version for feature in upstream.features}
    names = lowest.keys() | {name for record in records for name in record.applies}
    found = {}
    for name in names:
        seen = [record for record in records if name in record.applies]
        lacking = (record.musl for record in seen if not record.applies[name])
        version = first_version(lacking, {record.musl for record in seen}, lowest.get(name))
        if version is not None:
            found[name] = version
    return found


def first_branches(history: Sequence[Evidence], upstream: Upstream) -> dict[str, str]:
    """The branch of one distribution from which on it has a symbol for good, as far as the oldest lacks it."""
    provides = [provided(record, upstream) for record in history]
    lasting = [frozenset.intersection(*provides[at:]) for at in range(len(history))]
    return {name: history[at].branch for at in range(1, len(history)) for name in lasting[at] - lasting[at - 1]}


def removed_names(
    records: Sequence[Evidence], upstream: Upstream, lasting: Collection[str]
) -> dict[MuslVersion, list[str]]:
    """Names that an older release provides and a newer one does not, by the first musl without them."""
    ordered = sorted(records, key=lambda record: record.musl)
    found: dict[str, MuslVersion] = {}
    known: frozenset[str] = frozenset()
    for record in ordered:
        now = provided(record, upstream)
        found.update(dict.fromkeys(known - now - found.keys() - frozenset(lasting), record.musl))
        known |= now
    return {version: sorted(name for name in found if found[name] == version) for version in sorted({*found.values()})}


def derive_table(records: Iterable[Evidence], upstream: Upstream) -> str:
    """The table of one architecture as JSON.

    Raises:
        ValueError: there are no records, or they are of several architectures.
    """
    everything = sorted(records, key=lambda record: (record.distro, record.order))
    if len({record.arch for record in everything}) != 1:
        raise ValueError("a table is of one architecture")
    since, features = symbol_versions(everything, upstream), feature_versions(everything, upstream)
    histories: dict[str, list[Evidence]] = {}
    for record in everything:
        histories.setdefault(record.distro, []).append(record)
    document = {
        "schema": SCHEMA,
        "arch": everything[0].arch.value,
        "releases": {
            distro: {record.release: record.musl_package for record in history} for distro, history in histories.items()
        },
        "features": {name: str(version) for name, version in sorted(features.items())},
        "relr_floor": str(features.get(RELR) or _after(max(record.musl for record in everything))),
        "lfs64": " ".join(sorted(upstream.remapped & since.keys())),
        "first": {
            distro: dict(sorted(first_branches(history, upstream).items())) for distro, history in histories.items()
        },
        "since": {
            str(version): " ".join(sorted(name for name in since if since[name] == version))
            for version in sorted({*since.values()})
        },
        "removed": {
            str(version): " ".join(names) for version, names in removed_names(everything, upstream, since).items()
        },
    }
    return json.dumps(document, indent=1) + "\n"


def _after(version: MuslVersion) -> MuslVersion:
    """The release after the newest recorded one: what that one lacks cannot be relied on before."""
    return MuslVersion(version.major, version.minor, version.patch + 1)


def promised(record: Evidence, promises: Mapping[str, str], series: tuple[int, int]) -> bool:
    """Whether a policy of ``series`` promises this release: its branch is in the row, and its musl is no older."""
    first = promises.get(record.distro)
    return first is not None and record.order >= release_order(first) and record.musl.series >= series


def derive_policies(table: str, records: Collection[Evidence]) -> str:
    """The policy table with the floor of each row: the lowest musl among the releases that it promises.

    Of each library that a row allows, what the promised releases have in common.

    Raises:
        KeyError, ValueError: ``table`` is no policy table, or a row promises nothing that was recorded.
    """
    document = json.loads(table)
    for row in document["policies"]:
        _, major, minor = row["name"].split("_")
        series = int(major), int(minor)
        releases = [record for record in records if promised(record, row["promises"], series)]
        if not releases:
            raise ValueError(f"{row['name']}: no recorded release is promised, so it has no floor")
        row["floor"] = str(min(record.musl for record in releases))
        row["libraries"] = {
            name: " ".join(sorted(common_exports(name, releases))) for name in sorted(row.get("libraries", ()))
        }
    return json.dumps(document, indent=1) + "\n"


def common_exports(library: str, records: Collection[Evidence]) -> frozenset[str]:
    """What a library exports on every release where it was looked for."""
    seen = [record.libraries[library] for record in records if library in record.libraries]
    return frozenset.intersection(*seen) if seen else frozenset()


def promised_distributions(table: str) -> frozenset[str]:
    """Every distribution that a row of the policy table names."""
    return frozenset(name for row in json.loads(table)["policies"] for name in row["promises"])


def derive_all(table: str, records: Collection[Evidence], upstream: Upstream) -> dict[str, str]:
    """Every generated file by name: the policies with their floors, and the table of each architecture.

    Evidence of a distribution that no policy promises is left out. The releases before a promise stay in: they tell
    what a lower floor provides.

    Raises:
        KeyError, ValueError: the inputs contradict themselves.
    """
    used = promised_distributions(table)
    kept = [record for record in records if record.distro in used]
    files = {"policies.json": derive_policies(table, kept)}
    for arch in Arch:
        files[f"{arch.value}.json"] = derive_table((record for record in kept if record.arch is arch), upstream)
    return files
