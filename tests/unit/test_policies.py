from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import musllinux_build.policies
from musllinux_build.arch import Arch
from musllinux_build.policies.evidence import Evidence, format_history, parse_history
from musllinux_build.policies.generate import derive_table
from musllinux_build.policies.load import load_policy, load_table, parse_table
from musllinux_build.policy import MuslVersion, Policy

HERE = Path(musllinux_build.policies.__file__).parent
SYMBOLS = st.frozensets(st.sampled_from([f"symbol_{letter}" for letter in "abcdefgh"]), min_size=1)


def release(number: int, musl: str, *exports: str) -> Evidence:
    return Evidence(
        distro="alpine",
        release=f"3.{number}.1",
        arch=Arch.X86_64,
        musl_package=musl,
        exports=frozenset(exports),
    )


@pytest.mark.parametrize("arch", list(Arch))
def test_committed_tables_reproduce_from_the_committed_evidence(arch: Arch) -> None:
    evidence = (HERE / "evidence" / f"{arch.value}.json").read_text("utf-8")
    assert (HERE / "data" / f"{arch.value}.json").read_text("utf-8") == derive_table(parse_history(evidence))
    assert format_history(parse_history(evidence)) == evidence


@pytest.mark.parametrize("arch", list(Arch))
def test_policies_are_monotone(arch: Arch) -> None:
    ordered = sorted(Policy, key=lambda policy: policy.row.floor)
    for older, newer in pairwise(ordered):
        assert load_policy(older, arch).exports < load_policy(newer, arch).exports


@pytest.mark.parametrize("arch", list(Arch))
def test_the_table_says_what_musl_documents(arch: Arch) -> None:
    table = load_table(arch)
    assert table.since["gettid"] == MuslVersion(1, 2, 2)
    # Alpine's 1.2.2-r9 has it early; not every 1.2.2 does.
    assert (table.since["qsort_r"], table.first_alpine["qsort_r"]) == (MuslVersion(1, 2, 3), "3.15")
    assert table.since["statx"] == MuslVersion(1, 2, 5)
    assert table.since["malloc"] == table.oldest == MuslVersion(1, 1, 24)
    assert "malloc" not in table.first_alpine
    assert len(table.lfs64) == 60
    assert "fcntl64" not in table.lfs64
    assert table.relr_floor == MuslVersion(1, 2, 4)
    data = load_policy(Policy.MUSLLINUX_1_2, arch)
    assert {"gettid", "fopen64"} <= data.exports
    assert not {"qsort_r", "statx", "__cxa_thread_atexit_impl"} & data.exports
    assert ("__time64" in data.exports) == (arch.row.elf.bits == 32)


def test_a_symbol_of_some_builds_of_a_version_belongs_to_the_next() -> None:
    table = parse_table(
        derive_table([release(1, "1.2.2-r1", "a"), release(2, "1.2.2-r9", "a", "b"), release(3, "1.2.3-r0", "a", "b")])
    )
    assert table.since["b"] == MuslVersion(1, 2, 3)
    assert table.first_alpine["b"] == "3.2"


@settings(max_examples=30, deadline=None)
@given(st.lists(SYMBOLS, min_size=1, max_size=5))
def test_what_a_floor_provides_every_newer_release_exports(exports: list[frozenset[str]]) -> None:
    history = [release(index, f"1.2.{index}-r0", *names) for index, names in enumerate(exports)]
    assert parse_history(format_history(history)) == tuple(history)
    table = parse_table(derive_table(history))
    for record in history:
        provided = table.provided_at(record.musl)
        assert all(provided <= newer.exports for newer in history if newer.musl >= record.musl)


def test_a_history_is_of_one_architecture() -> None:
    with pytest.raises(ValueError, match="one architecture"):
        format_history([])
    with pytest.raises(ValueError, match="schema"):
        parse_history('{"schema": 2}')
    with pytest.raises(ValueError, match="schema"):
        parse_table('{"schema": 2}')


def test_a_record_of_one_release() -> None:
    text = '{"distro": "alpine", "release": "3.13.12", "arch": "i686", "musl_package": "1.2.2-r1", "exports": ["a"]}'
    record = Evidence.parse_record(text)
    assert (record.branch, record.musl, record.order) == ("3.13", MuslVersion(1, 2, 2), (3, 13, 12))
