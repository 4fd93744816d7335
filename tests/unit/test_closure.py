from collections.abc import Mapping
from dataclasses import replace

import pytest

from musllinux_build.arch import Arch
from musllinux_build.elf.closure import (
    DEFAULT_PATH,
    Closure,
    Edge,
    Found,
    Outcome,
    World,
    expand,
    is_reserved,
    resolve,
    split_path,
    system_path_file,
)
from musllinux_build.elf.facts import ElfFacts, ElfKind


def facts(path: str, *needed: str, search: str | None = None, exports: tuple[str, ...] = ()) -> ElfFacts:
    return ElfFacts(
        path=path,
        kind=ElfKind.SHARED,
        machine=62,
        bits=64,
        order="little",
        flags=0,
        is_dynamic=True,
        needed=needed,
        runpath=search,
        exports=frozenset(exports),
    )


def extension(path: str, *needed: str, search: str | None = None) -> ElfFacts:
    return facts(path, *needed, search=search, exports=("PyInit_x",))


def closure(
    wheel: Mapping[str, ElfFacts],
    root: Mapping[str, ElfFacts | None] | None = None,
    *,
    links: Mapping[str, str] | None = None,
    system_path: str = DEFAULT_PATH,
) -> Closure:
    files: dict[str, ElfFacts | None] = {**wheel, **(root or {})}

    def lookup(path: str) -> Found | None:
        real = (links or {}).get(path, path)
        return Found(identity=real, facts=files[real]) if real in files else None

    return resolve(wheel, World(arch=Arch.X86_64, lookup=lookup, system_path=system_path))


def outcomes(found: Closure) -> dict[tuple[str, str], tuple[Outcome, str | None]]:
    return {(edge.requester, edge.name): (edge.outcome, edge.target) for edge in found.edges}


@pytest.mark.parametrize(
    "name", ["libc.so", "libc.so.6", "libm.so.6", "libpthread.so.0", "libc.musl-aarch64.so.1", "libm.foo-12.so"]
)
def test_reserved_names_are_libc_itself(name: str) -> None:
    assert is_reserved(name)
    assert outcomes(closure({"/w/x.so": extension("x", name)})) == {("/w/x.so", name): (Outcome.LIBC, None)}


@pytest.mark.parametrize("name", ["libresolv.so.2", "libcrypt.so.1", "libm-1234.so.6", "libmath.so", "libcap.so"])
def test_other_names_are_not(name: str) -> None:
    assert not is_reserved(name)
    assert outcomes(closure({"/w/x.so": extension("x", name)})) == {("/w/x.so", name): (Outcome.MISSING, None)}


def test_the_loader_under_its_own_name_is_libc() -> None:
    found = closure(
        {"/w/x.so": extension("x", "ld-musl-x86_64.so.1")},
        {"/lib/ld-musl-x86_64.so.1": facts("/lib/ld-musl-x86_64.so.1")},
    )
    assert outcomes(found) == {("/w/x.so", "ld-musl-x86_64.so.1"): (Outcome.LIBC, None)}


def test_the_default_path_in_order() -> None:
    root = {f"{directory}/liba.so": facts(directory) for directory in ("/usr/lib", "/usr/local/lib")}
    found = closure({"/w/x.so": extension("x", "liba.so")}, root)
    assert outcomes(found)["/w/x.so", "liba.so"] == (Outcome.FOUND, "/usr/local/lib/liba.so")


def test_the_path_file_replaces_the_default_and_is_split_at_newlines_too() -> None:
    root = {f"{directory}/liba.so": facts(directory) for directory in ("/usr/lib", "/b")}
    found = closure({"/w/x.so": extension("x", "liba.so")}, root, system_path="/a\n/b:/usr/lib\n")
    assert outcomes(found)["/w/x.so", "liba.so"] == (Outcome.FOUND, "/b/liba.so")
    assert split_path("/a\n/b::/c\n") == ("/a", "/b", "/c")


@pytest.mark.parametrize(
    ("arch", "path"),
    [
        (Arch.X86_64, "/etc/ld-musl-x86_64.path"),
        (Arch.I686, "/etc/ld-musl-i386.path"),
        (Arch.ARMV7L, "/etc/ld-musl-armhf.path"),
        (Arch.PPC64LE, "/etc/ld-musl-powerpc64le.path"),
    ],
)
def test_the_path_file_is_called_like_the_loader(arch: Arch, path: str) -> None:
    assert system_path_file(arch) == path


def test_origin_is_the_directory_of_the_path_as_opened() -> None:
    assert expand("$ORIGIN/../a:${ORIGIN}", "/w/p/x.so") == ("/w/p/../a", "/w/p")


def test_another_token_discards_the_whole_list() -> None:
    assert expand("/usr/lib:$LIB", "/w/x.so") is None
    found = closure(
        {"/w/x.so": extension("x", "liba.so", search="/opt:$PLATFORM"), "/opt/liba.so": facts("a")},
    )
    assert outcomes(found)["/w/x.so", "liba.so"][0] is Outcome.MISSING


def test_the_search_path_is_inherited_from_whoever_needed_the_requester() -> None:
    wheel = {
        "/w/x.so": extension("x", "liba.so", search="$ORIGIN/libs"),
        "/w/libs/liba.so": facts("a", "libb.so"),
        "/w/libs/libb.so": facts("b"),
    }
    found = closure(wheel)
    assert outcomes(found)["/w/libs/liba.so", "libb.so"] == (Outcome.FOUND, "/w/libs/libb.so")
    assert found.chains["/w/libs/libb.so"] == ("/w/x.so", "/w/libs/liba.so")
    assert found.loads == {"/w/x.so": ("/w/x.so", "/w/libs/liba.so", "/w/libs/libb.so")}


def test_a_name_found_once_is_that_library_for_everyone_in_the_load() -> None:
    wheel = {
        "/w/x.so": extension("x", "liba.so", "libb.so", search="$ORIGIN/one"),
        "/w/one/liba.so": facts("one/a"),
        "/w/one/libb.so": facts("b", "liba.so", search="$ORIGIN/../two"),
        "/w/two/liba.so": facts("two/a"),
    }
    assert outcomes(closure(wheel))["/w/one/libb.so", "liba.so"] == (Outcome.FOUND, "/w/one/liba.so")


def test_two_files_that_answer_to_one_name_are_told() -> None:
    wheel = {
        "/w/x.so": extension("x", "liba.so", search="$ORIGIN/one"),
        "/w/y.so": extension("y", "liba.so", search="$ORIGIN/two"),
        "/w/one/liba.so": facts("one/a"),
        "/w/two/liba.so": facts("two/a"),
    }
    assert closure(wheel).claims == {"liba.so": ("/w/one/liba.so", "/w/two/liba.so")}


def test_two_names_of_one_file_are_one_library() -> None:
    found = closure(
        {"/w/x.so": extension("x", "liba.so", "liba.so.1")},
        {"/usr/lib/liba.so.1.2": facts("/usr/lib/liba.so.1.2")},
        links={"/usr/lib/liba.so": "/usr/lib/liba.so.1.2", "/usr/lib/liba.so.1": "/usr/lib/liba.so.1.2"},
    )
    assert found.loads["/w/x.so"] == ("/w/x.so", "/usr/lib/liba.so")
    assert outcomes(found)["/w/x.so", "liba.so.1"] == (Outcome.FOUND, "/usr/lib/liba.so")


def test_what_is_found_first_and_cannot_be_loaded_ends_the_search() -> None:
    foreign = replace(facts("/lib/liba.so"), machine=183)
    root = {
        "/lib/liba.so": foreign,
        "/lib/libt.so": None,
        "/usr/lib/liba.so": facts("a"),
        "/usr/lib/libt.so": facts("t"),
    }
    found = closure({"/w/x.so": extension("x", "liba.so", "libt.so")}, root)
    assert {name: outcome for (_, name), (outcome, _) in outcomes(found).items()} == {
        "liba.so": Outcome.UNLOADABLE,
        "libt.so": Outcome.UNLOADABLE,
    }
    assert [edge.why for edge in found.missing_for("/w/x.so")] == [
        "/lib/liba.so is found first and is an object of aarch64",
        "/lib/libt.so is found first and is no ELF object",
    ]


def test_names_with_a_slash_and_relative_directories() -> None:
    found = closure(
        {"/w/x.so": extension("x", "/opt/liba.so", "sub/libb.so", "libc_.so", search="relative:")},
        {"/opt/liba.so": facts("/opt/liba.so")},
    )
    assert outcomes(found) == {
        ("/w/x.so", "/opt/liba.so"): (Outcome.FOUND, "/opt/liba.so"),
        ("/w/x.so", "sub/libb.so"): (Outcome.MISSING, None),
        ("/w/x.so", "libc_.so"): (Outcome.MISSING, None),
    }


def test_cycles_end_and_libraries_nobody_needs_are_roots() -> None:
    wheel = {
        "/w/liba.so": facts("a", "libb.so", search="$ORIGIN"),
        "/w/libb.so": facts("b", "liba.so", search="$ORIGIN"),
        "/w/alone.so": facts("alone"),
    }
    found = closure(wheel)
    assert set(found.loads) == {"/w/alone.so", "/w/liba.so"}
    assert Edge(requester="/w/libb.so", name="liba.so", outcome=Outcome.FOUND, target="/w/liba.so") in found.edges
