"""Evidence, the policies derived from it, and what the shipped ones say."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musllinux_build.arch import Arch
from musllinux_build.policies.corpus import DATA, EVIDENCE, SHIPPED, Corpus, read_corpus
from musllinux_build.policies.evidence import Evidence, format_history, parse_history
from musllinux_build.policies.generate import derive_table
from musllinux_build.policies.load import load_policy, load_table, parse_table
from musllinux_build.policies.upstream import Feature, Upstream
from musllinux_build.policy import MuslVersion, Policy, known_policies

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
    assert "zcalloc" in data.libraries["libz.so.1"]


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


@settings(max_examples=30, deadline=None)
@given(st.lists(SYMBOLS, min_size=1, max_size=5))
def test_what_a_floor_provides_every_newer_release_exports(exports: list[frozenset[str]]) -> None:
    history = [release(index, f"1.2.{index}-r0", *names) for index, names in enumerate(exports)]
    assert parse_history(format_history(history)) == tuple(history)
    table = parse_table(derive_table(history, UPSTREAM))
    for record in history:
        provided = table.provided_at(record.musl)
        assert all(provided <= newer.exports for newer in history if newer.musl >= record.musl)


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
    assert (record.branch, record.musl, record.order) == ("3.13", MuslVersion(1, 2, 2), (3, 13, 12))
