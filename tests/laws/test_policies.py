"""Evidence, the policies derived from it, and what the shipped ones say."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from musllinux_build.arch import Arch
from musllinux_build.audit.judge import judge_wheel
from musllinux_build.audit.subject import Search
from musllinux_build.audit.symbols import FIRST_RELR
from musllinux_build.cli.audit import audit
from musllinux_build.errors import UsageError
from musllinux_build.policies.check import broken_promises, check, not_monotone
from musllinux_build.policies.corpus import DATA, EVIDENCE, SHIPPED, Corpus, laid_over, read_corpus, read_policies
from musllinux_build.policies.describe import COLUMNS, RELEASE_COLUMNS, policy_rows, release_rows, table_lines
from musllinux_build.policies.evidence import Evidence, format_history, parse_evidence, parse_history
from musllinux_build.policies.generate import derive_table, provided
from musllinux_build.policies.load import Policies, load_policies, load_policy, load_table, parse_table
from musllinux_build.policies.upstream import Addition, Feature, Upstream, parse_upstream
from musllinux_build.policy import MuslVersion, Policy, PolicyRow, known_policies
from tests.unit.auditing import extension, module_name, put_wheel

SYMBOLS = st.frozensets(st.sampled_from([f"symbol_{letter}" for letter in "abcdefgh"]), min_size=1)
UPSTREAM = Upstream(features=(Feature(name="relr", version=MuslVersion(1, 2, 4), source="a test"),))


def release(
    number: int, musl: str, *exports: str, distro: str = "alpine", arch: Arch = Arch.X86_64, **applies: bool
) -> Evidence:
    return Evidence(
        distro=distro,
        release=f"3.{number}.1",
        arch=arch,
        musl_package=musl,
        exports=frozenset(exports),
        applies=applies,
    )


@pytest.fixture(scope="module")
def shipped() -> Corpus:
    return read_corpus()


def test_what_ships_reproduces_from_the_evidence(shipped: Corpus) -> None:
    assert shipped.derived() == {path.name: path.read_text("utf-8") for path in (SHIPPED / DATA).glob("*.json")}
    for path in (SHIPPED / EVIDENCE).glob("*-*.json"):
        text = path.read_text("utf-8")
        assert format_history(parse_history(text)) == text


@pytest.mark.parametrize("arch", list(Arch))
def test_policies_are_monotone(arch: Arch) -> None:
    for older, newer in pairwise(known_policies()):
        assert load_policy(older, arch).exports < load_policy(newer, arch).exports


@pytest.mark.parametrize("arch", list(Arch))
def test_the_table_says_what_musl_documents(arch: Arch) -> None:
    table = load_table(arch)
    assert table.since["gettid"] == MuslVersion(1, 2, 2)
    # Alpine's 1.2.2-r9 has it early; not every 1.2.2 does.
    assert (table.since["qsort_r"], table.first_alpine["qsort_r"]) == (MuslVersion(1, 2, 3), "3.15")
    assert table.since["statx"] == MuslVersion(1, 2, 5)
    # No recorded Alpine has 1.1.21; upstream says so.
    assert table.since["name_to_handle_at"] == MuslVersion(1, 1, 21)
    assert table.since["posix_getdents"] == MuslVersion(1, 2, 6)
    assert table.oldest == MuslVersion(1, 1, 20 if arch is Arch.ARMV7L else 16)
    assert table.since["malloc"] == table.oldest
    assert "malloc" not in table.first_alpine
    assert len(table.lfs64) == 59
    assert "fcntl64" not in table.lfs64
    assert table.relr_floor == table.features["relr"] == MuslVersion(1, 2, 4)
    data = load_policy(Policy.MUSLLINUX_1_2, arch)
    assert {"gettid", "fopen64"} <= data.exports
    assert not {"qsort_r", "statx", "__cxa_thread_atexit_impl"} & data.exports
    assert "inflate" in data.libraries["libz.so.1"]
    assert "zcalloc" not in data.libraries["libz.so.1"]


@pytest.mark.parametrize("arch", list(Arch))
def test_the_letter_of_the_series(arch: Arch) -> None:
    table, narrow = load_table(arch), arch.row.elf.bits == 32
    time64 = {name for name in table.since if table.since[name] == MuslVersion(1, 2, 0)}
    assert len(time64) == (63 if narrow else 0)
    assert ("__time64" in table.provided_at(MuslVersion(1, 2, 0))) == narrow
    assert "__time64" not in table.provided_at(MuslVersion(1, 1, 24))
    assert "gettid" not in table.provided_at(MuslVersion(1, 2, 1))
    # 1.2.0 to 1.2.3 have no such name on 32 bits, so a library of 1.1.24 that uses it breaks its promise.
    assert ("__fxstat" in table.provided_at(MuslVersion(1, 1, 24))) != narrow


def test_a_symbol_of_some_builds_of_a_version_belongs_to_the_next() -> None:
    table = parse_table(
        derive_table(
            [release(1, "1.2.2-r1", "a"), release(2, "1.2.2-r9", "a", "b"), release(3, "1.2.3-r0", "a", "b")], UPSTREAM
        )
    )
    assert table.since["b"] == MuslVersion(1, 2, 3)
    assert table.first_alpine["b"] == "3.2"


VERSIONS = st.sampled_from(["1.1.24-r1", "1.2.0", "1.2.2-r1", "1.2.2-r9", "1.2.3-r0", "1.2.4_git20230717-r4", "1.2.5"])
RELEASES = st.lists(
    st.builds(
        release,
        st.integers(0, 30),
        VERSIONS,
        distro=st.sampled_from(["alpine", "nimbus"]),
        relr=st.booleans(),
    ).flatmap(
        lambda record: st.builds(
            lambda exports, resolves, libraries: replace(
                record, exports=exports, resolves=resolves, libraries=libraries
            ),
            SYMBOLS,
            st.none() | SYMBOLS,
            st.dictionaries(st.sampled_from(["libz.so.1", "libc++.so.1"]), SYMBOLS | st.just(frozenset[str]())),
        )
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda record: (record.distro, record.release),
)
UPSTREAMS = st.builds(
    Upstream,
    additions=st.lists(st.builds(Addition, version=VERSIONS.map(MuslVersion.parse), names=SYMBOLS, source=st.just(""))),
    features=st.just(UPSTREAM.features),
    remapped=SYMBOLS,
    remapped_since=st.none() | VERSIONS.map(MuslVersion.parse),
)


@settings(max_examples=20, deadline=None)
@given(RELEASES, UPSTREAMS)
def test_what_a_floor_provides_every_newer_release_provides(records: list[Evidence], upstream: Upstream) -> None:
    table = parse_table(derive_table(records, upstream))
    documented = upstream.since(Arch.X86_64)
    floors = sorted({record.musl for record in records} | {MuslVersion(1, 2, 1)})
    for older, newer in pairwise(floors):
        assert table.provided_at(older) <= table.provided_at(newer)
    for floor in floors:
        names = table.provided_at(floor)
        assert all(names <= provided(record, upstream) for record in records if record.musl >= floor)
        # Nothing is promised below the upstream release that brought it, whatever a distribution carried early.
        assert all(documented.get(name, table.oldest) <= max(floor, table.oldest) for name in names)
        assert not names & table.removed.keys()
    assert table.relr_floor >= MuslVersion(1, 2, 4)
    assert all(record.applies["relr"] for record in records if record.musl >= table.relr_floor)


@settings(max_examples=15, deadline=None)
@given(RELEASES)
def test_records_and_histories_round_trip(records: list[Evidence]) -> None:
    for record in records:
        assert Evidence.parse_record(record.format_record()) == record
        assert parse_evidence(record.format_record()) == (record,)
    for distro in {record.distro for record in records}:
        history = sorted((record for record in records if record.distro == distro), key=lambda record: record.order)
        assert parse_evidence(format_history(history)) == tuple(history)


def test_nothing_applies_a_feature_for_good_that_the_newest_lacks() -> None:
    lost = [release(1, "1.2.4", relr=True), release(2, "1.2.5", relr=False)]
    assert parse_table(derive_table(lost, UPSTREAM)).relr_floor == MuslVersion(1, 2, 6)
    assert "tls" not in parse_table(derive_table([release(1, "1.2.5", tls=False)], UPSTREAM)).features


def test_a_history_is_of_one_architecture() -> None:
    with pytest.raises(ValueError, match="one architecture"):
        format_history([])
    with pytest.raises(ValueError, match="schema"):
        parse_history('{"schema": 1}')
    with pytest.raises(ValueError, match="schema"):
        parse_table('{"schema": 1}')


def test_a_record_of_one_release() -> None:
    text = '{"distro": "alpine", "release": "3.13.12", "arch": "i686", "musl_package": "1.2.2-r1", "exports": ["a"]}'
    record = Evidence.parse_record(text)
    assert (record.label, record.applies, record.resolves) == ("alpine 3.13.12", {}, None)
    assert (record.branch, record.musl, record.order) == ("3.13", MuslVersion(1, 2, 2), (3, 13, 12))


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"releases": []}',
        "no json",
        '{"distro": "a", "release": "1", "arch": "i686", "musl_package": "1.2.2", "exports": 1}',
        '{"distro": "a", "release": "1", "arch": "i686", "musl_package": "1.2.2", "exports": [], "applies": 1}',
    ],
)
def test_what_is_no_evidence(text: str) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        parse_evidence(text)


def test_what_ships_is_true(shipped: Corpus) -> None:
    committed = {path.name: path.read_text("utf-8") for path in (SHIPPED / DATA).glob("*.json")}
    report = check(shipped, committed)
    assert report.problems == ()
    assert "alpine 3.15.11 (musl 1.2.2-r9) has qsort_r of musl 1.2.3" in report.notes
    assert "alpine 3.15.11 (musl 1.2.2-r9) applies relr" in report.notes


def small(*records: Evidence, upstream: Upstream = UPSTREAM, **row: object) -> Corpus:
    """A corpus with one policy, and the same records on every architecture."""
    rows = [{"name": "musllinux_1_2", "promises": {"alpine": "3.1"}, **row}]
    everywhere = [replace(record, arch=arch) for record in records for arch in Arch]
    return Corpus(table=json.dumps({"schema": 1, "policies": rows}), records=everywhere, upstream=upstream)


ADDED = Addition(version=MuslVersion(1, 2, 3), names=frozenset({"new"}), source="a test")
PLANTED = {
    "not the evidence": (small(release(1, "1.2.2", "a")), "x86_64.json is not what the evidence gives"),
    "a record lacks": (
        small(release(1, "1.2.3", "a"), upstream=replace(UPSTREAM, additions=[ADDED])),
        "alpine 3.1.1 has musl 1.2.3 and lacks new of musl 1.2.3",
    ),
    "late and is not": (
        small(
            release(1, "1.2.3", "new"),
            upstream=replace(UPSTREAM, additions=[replace(ADDED, late=frozenset({"alpine 3.1.1"}))]),
        ),
        "alpine 3.1.1 does not lack",
    ),
    "undocumented": (
        small(release(1, "1.2.2", "a"), release(2, "1.2.3", "a", "odd")),
        "x86_64: no upstream release is known to bring odd",
    ),
    "feature": (
        small(release(1, "1.2.4", "a", relr=False), release(2, "1.2.5", "a", relr=True)),
        "alpine 3.1.1 x86_64 does not apply relr of musl 1.2.4",
    ),
    "resolving": (
        small(replace(release(1, "1.2.4", "a"), resolves=frozenset({"b64"}))),
        "alpine 3.1.1 x86_64 and upstream's list differ in resolving b64",
    ),
    "library": (
        small(replace(release(1, "1.2.2", "a"), libraries={"libz.so.1": frozenset()}), libraries=["libz.so.1"]),
        "musllinux_1_2 allows libz.so.1, which alpine 3.1.1 x86_64 lacks",
    ),
    "library nobody looked for": (
        small(release(1, "1.2.2", "a"), libraries=["libz.so.1"]),
        "musllinux_1_2 allows libz.so.1, which no record was asked for",
    ),
    "no such image": (
        small(release(1, "1.2.2", "a"), image={"base": "3.1.1", "musl_package": "1.2.2-r7", "newest": "3.9.9"}),
        "no Alpine 3.1.1 with musl 1.2.2-r7 was recorded",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str) -> None:
    corpus, sentence = PLANTED[name]
    committed = {**corpus.derived(), "x86_64.json": ""} if name == "not the evidence" else None
    problems = check(corpus, committed).problems
    assert any(problem.startswith(sentence) or sentence in problem for problem in problems), problems


def test_a_policy_that_promises_nothing_recorded_has_no_floor() -> None:
    with pytest.raises(UsageError, match="no policies") as caught:
        small(release(1, "1.1.24", "a")).policies()
    assert "musllinux_1_2: no recorded release" in caught.value.details
    with pytest.raises(UsageError):
        small(release(1, "1.1.24", "a")).derived()


def write_nimbus(directory: Path, shipped: Corpus) -> None:
    """A distribution that does not exist: musl 1.3.0 with one symbol more and one less than the newest Alpine."""
    newest = [record for record in shipped.records if record.release == "3.20.3"]
    for record in newest:
        exports = record.exports - {"getrandom"} | {"brand_new"}
        made = replace(record, distro="nimbus", release="7", musl_package="1.3.0", exports=exports)
        (directory / f"nimbus-7-{record.arch.value}.json").write_text(made.format_record(), "utf-8")


def test_another_distribution_and_policy_need_no_code(tmp_path: Path, shipped: Corpus) -> None:
    more = tmp_path / "more"
    more.mkdir()
    write_nimbus(more, shipped)
    calls, gone = (
        put_wheel(tmp_path, {module_name(): extension(undefined=[name])}, distribution=name)
        for name in ("statx", "getrandom")
    )

    def shown(path: Path, *options: str) -> tuple[int, str]:
        result = CliRunner().invoke(audit, ["show", str(path), *options])
        assert not isinstance(result.exception, UsageError), result.exception
        return result.exit_code, result.output

    with_more = ("--policies", str(more))
    # Recorded, and promised by no policy: nothing changes.
    assert [shown(path, *with_more)[0] for path in (calls, gone)] == [1, 0]
    rows = [
        {"name": "musllinux_1_2", "promises": {"alpine": "3.13", "nimbus": "7"}},
        {"name": "musllinux_1_3", "promises": {"nimbus": "7"}},
    ]
    (more / "policies.json").write_text(json.dumps({"schema": 1, "policies": rows}), "utf-8")
    assert shown(gone, *with_more)[0] == 1
    assert shown(gone)[0] == 0
    status, output = shown(calls, *with_more, "--policy", "musllinux_1_3")
    assert (status, "conforms to musllinux_1_3_x86_64" in output) == (0, True)
    out = tmp_path / "out"
    repaired = CliRunner().invoke(
        audit, ["repair", *with_more, "--plat", "musllinux_1_3_x86_64", "-w", str(out), str(calls)]
    )
    assert repaired.exit_code == 0, repaired.output
    assert [path.name for path in out.iterdir()] == ["statx-1.0-cp313-cp313-musllinux_1_3_x86_64.whl"]
    policies = read_policies(more)
    assert policies.row(Policy("musllinux_1_3")).floor == MuslVersion(1, 3, 0)
    assert policies.table(Arch.S390X).since["brand_new"] == MuslVersion(1, 3, 0)
    assert "posix_getdents" not in policies.table(Arch.S390X).since, "expected of 1.2.6, and 1.3.0 lacks it"
    problems = check(laid_over(shipped, more)).problems
    assert "nimbus 7 has musl 1.3.0 and lacks getrandom of musl 1.1.20" in problems
    assert "s390x: no upstream release is known to bring brand_new" in problems


def test_a_library_provides_what_all_promised_releases_of_it_export() -> None:
    names = [frozenset({"inflate", "zcalloc"}), frozenset({"inflate", "uncompress2"}), None]
    records = [
        replace(release(at, "1.2.2", "a"), libraries={} if exports is None else {"libz.so.1": exports})
        for at, exports in enumerate(names, 1)
    ]
    policies = small(*records, libraries=["libz.so.1"]).policies()
    assert policies.libraries == {"libz.so.1": frozenset({"inflate"})}
    assert policies.data(Policy.MUSLLINUX_1_2, Arch.I686).libraries == policies.libraries


@pytest.mark.parametrize(
    ("trusted", "undefined", "rules"),
    [
        (["libz.so.1"], ["inflate", "uncompress2"], []),
        (["libz.so.1"], ["inflate_table", "inflate"], ["symbol-private"]),
        (["libz.so.1", "libknown-to-nobody.so"], ["inflate_table"], []),
    ],
)
def test_a_trusted_library_has_its_recorded_symbols(
    trusted: list[str], undefined: list[str], rules: list[str], tmp_path: Path
) -> None:
    path = put_wheel(tmp_path, {module_name(): extension(needed=trusted, undefined=undefined)})
    verdict = judge_wheel(path, search=Search(whitelist=frozenset(trusted)))
    assert [finding.rule for finding in verdict.errors] == rules


def test_a_directory_that_adds_nothing(tmp_path: Path, shipped: Corpus) -> None:
    with pytest.raises(UsageError, match="neither"):
        laid_over(shipped, tmp_path)
    (tmp_path / "policies.json").write_text("{}", "utf-8")
    with pytest.raises(UsageError, match="not a table"):
        laid_over(shipped, tmp_path)
    (tmp_path / "a.json").write_text("{}", "utf-8")
    with pytest.raises(UsageError, match="no recorded release"):
        laid_over(shipped, tmp_path)
    with pytest.raises(UsageError, match="no directory of policies"):
        read_corpus(tmp_path / "gone")


def test_names_of_policies() -> None:
    assert Policy.of((1, 2)) == Policy.MUSLLINUX_1_2
    for text in ("musllinux_1", "manylinux_2_17", "musllinux_01_2", "musllinux_1_2_x86_64"):
        with pytest.raises(ValueError, match="not a policy"):
            Policy(text)
    with pytest.raises(UsageError, match="not a known policy"):
        _ = Policy("musllinux_1_9").row
    with pytest.raises(UsageError, match="not a known policy"):
        load_policies().row(Policy("musllinux_1_9"))
    audited_only = small(release(1, "1.2.2", "a")).policies().row(Policy.MUSLLINUX_1_2)
    with pytest.raises(UsageError, match="has no image"):
        _ = audited_only.base


@pytest.mark.parametrize("arch", list(Arch))
def test_a_large_file_name_that_no_newer_loader_resolves(arch: Arch, tmp_path: Path) -> None:
    # get_lfs64 of musl 1.2.4 copies at most 16 characters of the name, and this one has 17.
    assert load_table(arch).resolves_no_more("posix_fallocate64")
    assert not load_table(arch).resolves_no_more("dummy_lock")
    files = {module_name(arch): extension(arch, undefined=["posix_fallocate64", "posix_fadvise64"])}
    (finding,) = judge_wheel(put_wheel(tmp_path, files, arch)).errors
    assert (finding.rule, finding.evidence) == ("symbol-not-provided", "posix_fallocate64")
    assert "does not resolve since musl 1.2.4" in finding.message


def test_a_floor_below_all_that_is_known(tmp_path: Path) -> None:
    path = put_wheel(tmp_path, {module_name(): extension(undefined=["getrandom"])})
    assert not judge_wheel(path, floor=MuslVersion(1, 1, 16)).conforms
    assert judge_wheel(path, floor=MuslVersion(1, 1, 20)).conforms
    with pytest.raises(UsageError, match=r"nothing is known of musl 1\.1\.15 on x86_64"):
        judge_wheel(path, floor=MuslVersion(1, 1, 15))


def test_the_document_shows_what_ships(shipped: Corpus) -> None:
    text = (Path(__file__).parents[2] / "docs" / "policies.md").read_text("utf-8")
    policies = table_lines(COLUMNS, list(policy_rows(shipped, shipped.policies())))
    for lines in (policies, table_lines(RELEASE_COLUMNS, list(release_rows(shipped)))):
        assert "```\n" + "\n".join(lines) + "\n```\n" in text
    for policy in known_policies():
        assert f"The newest recorded is Alpine {policy.row.newest}" in text


def rows_and_table(*floors: str, provided_since: str = "1.2.0") -> Policies:
    """Policies by hand, as no derivation would make them; all provide ``a`` from one release on."""
    table = parse_table(derive_table([release(1, "1.2.0", "a")], UPSTREAM))
    shifted = replace(table, since={"a": MuslVersion.parse(provided_since)})
    rows = {
        Policy.of((1, minor)): PolicyRow(
            series=(1, minor), floor=MuslVersion.parse(floor), promises={"alpine": "3.1"}, libraries={}
        )
        for minor, floor in enumerate(floors, 1)
    }
    return Policies(rows=rows, table=lambda _: shifted)


def test_policies_that_no_derivation_makes() -> None:
    backwards = rows_and_table("1.2.3", "1.2.2", provided_since="1.2.3")
    problems = list(not_monotone(backwards))
    assert problems[0] == "musllinux_1_1 has a higher floor than musllinux_1_2"
    assert "musllinux_1_1 on s390x has a, which musllinux_1_2 lacks" in problems
    assert not list(not_monotone(rows_and_table("1.1.24", "1.2.2")))
    lacking = small(release(1, "1.2.2", "b"))
    assert "musllinux_1_1 promises alpine 3.1.1 armv7l, which lacks a" in list(
        broken_promises(lacking, rows_and_table("1.2.2"))
    )


def test_a_table_is_of_one_architecture() -> None:
    with pytest.raises(ValueError, match="one architecture"):
        derive_table([release(1, "1.2.2", "a"), release(1, "1.2.2", "a", arch=Arch.I686)], UPSTREAM)
    with pytest.raises(ValueError, match="schema"):
        parse_upstream('{"schema": 2}')


def test_what_is_recorded_and_not_promised_is_told() -> None:
    corpus = small(release(1, "1.2.2", "a"), release(7, "1.2.2", "a", distro="nimbus"))
    assert check(corpus).notes == ("nimbus 3.7.1 is recorded, and no policy promises its distribution",)


def test_the_first_alpine_with_relr_is_the_recorded_one(shipped: Corpus) -> None:
    measured = [(record.order, record.branch) for record in shipped.records if record.applies.get("relr")]
    assert min(measured)[1] == FIRST_RELR
