"""The native compiler on a real engine: in containers of its own and of a foreign architecture.

Needs pip's index for the wheel.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine
from musllinux_build.adapters.fetch import fetch_wheel
from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session
from musllinux_build.builds.volumes import ensure_volume
from musllinux_build.ports import ContainerSpec, Engine
from musllinux_build.shipped import shipped
from musllinux_build.tarstream import tar_of
from musllinux_build.toolchain import (
    ENGINES,
    TOOLCHAIN_MOUNT,
    container_env,
    ensure_toolchain_image,
    toolchain_volume,
)

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    # The SDK leaves the socket of a streamed exec to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SOURCES = r"""
printf '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n' > hello.c
printf 'int zero; int *pointer = &zero; int answer(void) { return 42 + *pointer; }\n' > answer.c
printf 'char preadv2(); int main(void) { return preadv2(); }\n' > new.c
cat > load.c <<'X'
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
    void *library = dlopen("./answer.so", RTLD_NOW);
    int (*answer)(void) = library ? (int (*)(void))dlsym(library, "answer") : 0;
    if (!answer) return puts(dlerror()), 1;
    printf("%d\n", answer());
    return 0;
}
X
"""


class Quiet:
    """A Progress that says nothing."""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        yield

    def note(self, text: str) -> None: ...

    detail = warn = note


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A running container with the compiler first in PATH."""

    engine: Engine
    container: str
    arch: Arch

    def sh(self, script: str) -> tuple[int, str]:
        """Exit status and output of a shell script in the sources' directory."""
        said = bytearray()
        status = self.engine.run(
            self.container, ["/bin/sh", "-ec", script], env=container_env(self.arch), cwd="/tmp", on_output=said.extend
        )
        return status, said.decode()

    def works(self, script: str) -> str:
        """The output of a script that must succeed."""
        status, said = self.sh(script)
        assert status == 0, said
        return said


@pytest.fixture(scope="module")
def volume(docker: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> str:
    arch = docker.info().arch
    assert arch is not None
    filename, sha256 = _pinned_wheel(arch)
    path = tmp_path_factory.mktemp("wheel") / filename
    name, version = filename.split("-")[:2]
    cache = Path.home() / ".cache" / "musllinux-build" / "downloads"
    fetch_wheel(name, version, filename, sha256, path, cache=cache, platforms=ENGINES[arch].wheel_platforms)
    tag = ensure_toolchain_image(docker, arch, path, Quiet())
    return ensure_volume(Session(docker, Quiet()), toolchain_volume(tag, arch.oci_platform))


@pytest.fixture(scope="module", params=[Arch.X86_64, Arch.AARCH64], ids=lambda arch: arch.value)
def shop(
    request: pytest.FixtureRequest, docker: DockerEngine, images: Mapping[str, str], volume: str
) -> Iterator[Shop]:
    arch = Arch(request.param)
    spec = ContainerSpec(
        image=images[f"musllinux_1_2_{arch.value}"],
        platform=arch.oci_platform,
        purpose="test",
        volumes={volume: TOOLCHAIN_MOUNT},
        network=False,
    )
    container = docker.create(spec)
    try:
        made = Shop(engine=docker, container=container, arch=arch)
        made.works(SOURCES)
        yield made
    finally:
        docker.remove(container)


def _pinned_wheel(arch: Arch) -> tuple[str, str]:
    """File name and hash of the engine's ziglang wheel, wherever the lock keeps it."""

    def rows(node: Any) -> Iterator[dict[str, Any]]:
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        if isinstance(node, dict):
            yield node
        for child in children:
            yield from rows(child)

    lock = tomllib.loads((shipped("dockerfiles") / "lock.toml").read_text())
    for row in rows(lock):
        filename = str(row.get("filename", ""))
        if re.match(rf"ziglang-.*_{arch.value}\.whl", filename):
            return filename, str(row["sha256"])
    pytest.fail(f"the lock has no ziglang wheel for {arch.value}")


def test_the_compiler_answers_as_alpine_s(shop: Shop) -> None:
    triple = shop.arch.row.triple
    assert shop.works("gcc -dumpmachine").strip() == triple
    assert shop.works(f"command -v {triple}-gcc").startswith(f"{TOOLCHAIN_MOUNT}/")
    assert shop.works("gcc -print-prog-name=ld").strip() == f"{TOOLCHAIN_MOUNT}/targets/{shop.arch.value}/bin/ld"
    assert f"Target: {triple}" in shop.works("gcc -v 2>&1")
    assert "LLD" in shop.works("gcc -Wl,--version")


def test_programs_and_libraries_run(shop: Shop) -> None:
    assert shop.works("gcc hello.c -o hello && ./hello") == "hello\n"
    assert shop.works("cc -shared -fPIC answer.c -o answer.so && gcc load.c -o load -ldl && ./load") == "42\n"
    objects = "gcc -c answer.c && ar rcs libanswer.a answer.o && ranlib libanswer.a && gcc-ar t libanswer.a"
    assert shop.works(objects) == "answer.o\n"


def test_a_link_check_tells_the_truth_about_the_old_musl(shop: Shop) -> None:
    status, said = shop.sh("gcc new.c -o new")
    assert status != 0
    assert "undefined symbol: preadv2" in said


def test_only_libc_is_needed_and_nothing_is_packed(shop: Shop) -> None:
    shop.works(f"gcc hello.c -o hello && grep -q {shop.arch.row.libc_soname} hello && ! grep -q libgcc_s hello")
    # A request for DT_RELR (tag 36 of the dynamic section) is not met: both libraries are the same.
    shop.works("gcc -shared -fPIC answer.c -o a.so && gcc -shared -fPIC -Wl,-z,pack-relative-relocs answer.c -o b.so")
    shop.works("cmp a.so b.so")


def test_a_long_link_finds_what_a_short_one_finds(shop: Shop) -> None:
    """A driver gives a long command to its linker in a file."""
    shop.works("mkdir -p /usr/local/lib && cc -shared -fPIC answer.c -o /usr/local/lib/libfar.so")
    shop.works("printf 'int answer(void); int main(void) { return answer() - 42; }\\n' >far.c")
    shop.works("seq 1 20000 | sed 's,.*,-L/tmp/nowhere/&,' >long")
    shop.works("gcc -v far.c @long -lfar -o far 2>said || { tail said; false; }; grep -q @/tmp/response- said")
    shop.works("LD_LIBRARY_PATH=/usr/local/lib ./far; gcc -r @long far.c -o far.o; rm /usr/local/lib/libfar.so")


def test_a_pipe_in_place_of_a_response_file_is_read_once(shop: Shop) -> None:
    assert "puts" in shop.works("echo hello.c | gcc -E @/dev/stdin")


def test_writing_to_standard_output_by_name_leaves_its_link_alone(shop: Shop) -> None:
    shop.works("gcc -E hello.c -o /dev/stdout >written; grep -q puts written; test -L /dev/stdout")
    shop.sh("echo '#error no' | gcc -E -x c - -o /dev/stdout | cat")
    shop.works("test -L /dev/stdout")


def test_the_build_machine_s_processor_is_never_meant(shop: Shop) -> None:
    assert "warning: ignoring -march=native" in shop.works("gcc -march=native -c hello.c 2>&1")
    shop.works("echo '-march=native \"-DGREETING=a b\" -c hello.c' > words")
    assert "warning: ignoring -march=native" in shop.works("gcc @words 2>&1")


OWN_GCC = """#!/bin/sh
echo "own gcc: $*" >>/tmp/own
: >/tmp/made.o
echo "gcc's answer"
"""
RECORDED = "export MUSLLINUX_BUILD_FALLBACKS=/tmp/fallbacks; "
COPIES = "broken.inc broken.h conftest.c conftest2.c conftest_1.c _configtest.c conftest_helpers.c"


@pytest.fixture
def own_gcc(shop: Shop) -> Iterator[Shop]:
    """The image's gcc and cpp are a script that takes anything. Clang understands only the first line of broken.c."""
    shop.works("for name in gcc cpp; do mv /usr/bin/$name /usr/bin/$name.kept; done")
    shop.works("rm -f own made.o fallbacks; mkdir -p CMakeFiles/CMakeTmp")
    script = OWN_GCC.encode()
    shop.engine.put(shop.container, "/usr/bin", [tar_of({"gcc": script, "cpp": script}, mode=0o755)])
    shop.works("printf 'int whole;\\n#if __GNUC__ < 5\\n#error old\\n#endif\\n' >broken.c")
    shop.works(f"for name in {COPIES}; do cp broken.c $name; done")
    yield shop
    shop.works("for name in gcc cpp; do mv /usr/bin/$name.kept /usr/bin/$name; done")


def test_what_clang_does_not_compile_the_image_s_gcc_does(own_gcc: Shop) -> None:
    said = own_gcc.works(f"{RECORDED} gcc -c broken.c -o made.o 2>&1")
    assert "error:" in said
    assert "note: clang failed (status 1): trying /usr/bin/gcc" in said
    assert own_gcc.works("cat own") == "own gcc: -c broken.c -o made.o\n"
    assert own_gcc.works("cat fallbacks") == "clang failed\tbroken.c\n"
    # A file that compiles is none of gcc's business.
    own_gcc.works(f"{RECORDED} gcc -c hello.c")
    assert own_gcc.works("cat own") == "own gcc: -c broken.c -o made.o\n"


@pytest.mark.parametrize(
    ("command", "sources"),
    [
        ("gcc -x c -c broken.inc", ["broken.inc"]),
        ("gcc -xc -c broken.inc -o conf.o", ["broken.inc"]),
        ("gcc -x c -c hello.c -x none broken.c libx.a", ["hello.c", "broken.c"]),
        ("gcc -c hello.c conftest_helpers.c", ["hello.c", "conftest_helpers.c"]),
        ("gcc -o made.c -include hello.c -E broken.c", ["broken.c"]),
        ("cp broken.c ./-y.c; gcc -c -- -y.c", ["-y.c"]),
        ("gcc -c @command", ["broken.c"]),
        ("gcc -E broken.h", ["broken.h"]),
        ("cpp broken.inc", ["broken.inc"]),
    ],
)
def test_every_source_is_known_however_it_is_named(own_gcc: Shop, command: str, sources: list[str]) -> None:
    own_gcc.works("echo '@inner' >command; echo 'broken.c -o \"a b.o\"' >inner")
    own_gcc.works(RECORDED + command)
    assert own_gcc.works("cat fallbacks") == "".join(f"clang failed\t{source}\n" for source in sources)


@pytest.mark.parametrize(
    "command",
    [
        "gcc -c conftest.c",
        "gcc -c conftest2.c",
        "gcc -c conftest_1.c",
        "gcc -c _configtest.c",
        "gcc -c broken.c -o conftest.o",
        "cd CMakeFiles/CMakeTmp && gcc -c ../../broken.c",
        "gcc -x c -c -funknown /dev/null -o null.o",
        "gcc -x c -c - <broken.c",  # nobody can read it a second time
    ],
)
def test_a_no_to_a_probe_is_an_answer(own_gcc: Shop, command: str) -> None:
    status, _ = own_gcc.sh(RECORDED + command)
    assert (status == 0, own_gcc.works("cat own 2>/dev/null || true")) == (False, "")


@pytest.mark.parametrize(
    "command", ["gcc -E broken.c", "gcc -E -o - broken.c", "gcc -S -o - broken.c", "gcc -M broken.c", "cpp broken.c"]
)
def test_what_clang_wrote_before_it_failed_is_not_seen(own_gcc: Shop, command: str) -> None:
    assert own_gcc.works(f"{RECORDED} {command} 2>/dev/null") == "gcc's answer\n"


@pytest.mark.parametrize("command", ["gcc -E hello.c", "gcc -E hello.c -o -", "cpp hello.c -o /dev/stdout"])
def test_what_clang_wrote_and_completed_is_seen_once(own_gcc: Shop, command: str) -> None:
    assert own_gcc.works(RECORDED + command).count("int main(void)") == 1


@pytest.mark.parametrize(
    "options",
    ["-flto", "-flto=auto -flto-partition=none", "-flto=thin -fwhole-program-vtables", "-flto -ffat-lto-objects"]
    + ["@lto"],
)
def test_where_gcc_may_take_part_every_object_is_machine_code(own_gcc: Shop, options: str) -> None:
    """Bitcode of clang and gcc's own do not link with each other, and lld does not say so."""
    own_gcc.works("echo '-fPIC -flto=thin' >lto")
    own_gcc.works(f"{RECORDED} gcc {options} -c hello.c; gcc {options} -c broken.c; gcc -fopenmp {options} -c hello.c")
    assert "E   L   F" in own_gcc.works("od -c -N 4 hello.o")
    own_gcc.works("! grep -q 'llvm[.]lto' hello.o")
    said = own_gcc.works("cat own")
    assert said.count("own gcc:") == 2
    assert said.count("-fno-lto") >= 2
    assert not re.search("-flto|-fwhole", said)
    # Together with bitcode no linker would take what gcc makes.
    own_gcc.works(f"{RECORDED} gcc {options} hello.o -o hello && ./hello")


def test_where_gcc_takes_no_part_link_time_optimization_is_clang_s(own_gcc: Shop) -> None:
    own_gcc.works("gcc -flto -c hello.c; gcc -flto hello.o -o hello; ./hello")
    assert own_gcc.works("head -c 2 hello.o") == "BC"
    own_gcc.works("gcc -flto -fopenmp -c hello.c 2>/dev/null")
    assert own_gcc.works("cat own") == "own gcc: -fno-lto -fopenmp -c hello.c\n"


def test_without_the_choice_clang_s_word_is_the_last(own_gcc: Shop) -> None:
    status, _ = own_gcc.sh("gcc -c broken.c")
    assert status != 0
    assert own_gcc.works("ls own 2>/dev/null || echo none") == "none\n"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("-fopenmp hello.c", "-fopenmp"),
        ("x.f90", "Fortran"),
        ("-x f95 x.inc", "Fortran"),
        ("-specs=x hello.c", "-specs=x"),
        ("@words", "-fopenmp"),
    ],
)
def test_what_is_gcc_s_alone_goes_there_at_once(own_gcc: Shop, options: str, reason: str) -> None:
    own_gcc.works("echo '-fopenmp -c hello.c' >words")
    said = own_gcc.works(f"{RECORDED} gcc {options} 2>&1")
    assert f"note: {reason}: compiling with /usr/bin/gcc" in said
    source = "hello.c" if options == "@words" else options.rpartition(" ")[2]
    assert own_gcc.works("cat fallbacks") == f"{reason}\t{source}\n"


def test_debugging_information_does_not_say_where_the_compiler_was(shop: Shop) -> None:
    # A header that musl does not have is the compiler's own; a file is named if something it declares is used.
    shop.works("printf '#include <stdatomic.h>\\natomic_int count;\\n' >own.c; gcc -g -c own.c -o own.o")
    shop.works("grep /usr/lib/clang/include own.o >named; test -s named")
    shop.works("! grep opt/musllinux own.o >/dev/null")


def test_no_environment_is_needed(shop: Shop) -> None:
    shop.works(f"env -i {TOOLCHAIN_MOUNT}/targets/{shop.arch.value}/bin/gcc hello.c -o bare && ./bare")


def test_a_compile_is_native(shop: Shop) -> None:
    # What a container's kernel executes itself has the machine of the engine in its header (e_machine).
    engine = shop.engine.info().arch
    assert engine is not None
    for program in ("$(command -v gcc)", "$(command -v ld)", f"{TOOLCHAIN_MOUNT}/zig"):
        low, high = shop.works(f"od -An -tu1 -j18 -N2 {program}").split()
        assert int(low) + 256 * int(high) == engine.row.elf.machine
    said = shop.works("MUSLLINUX_BUILD_VERBOSE=1 gcc -c hello.c 2>&1")
    assert said.startswith(f"+ {TOOLCHAIN_MOUNT}/zig clang ")
