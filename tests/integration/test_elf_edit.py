"""Edited objects on real loaders: published libraries and programs, C++ exceptions, and what four linkers lay out."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.elf.edit import ElfEdit, check_edit, edit_elf
from musllinux_build.elf.facts import Hazard
from musllinux_build.elf.layout import read_layout
from musllinux_build.elf.reader import read_elf
from tests.agreement.pinned import Pinned, fetch, read_list
from tests.integration.conftest import Tool
from tests.lab import toolchain

HERE = Path(__file__).parent
LAB = Path(os.environ.get("MUSLLINUX_LAB") or HERE.parents[2] / "shared")
OLD, RELEASES = "3.13.12", ("3.12.12", "3.13.12", "3.20.3")
"""musl 1.1.24, 1.2.2 and 1.2.5; only the last of the three applies DT_RELR."""
CRASHED = 128
PREFIX = "zzz-"

LIBRARIES = {
    Arch.X86_64: (
        "numpy-2",
        "pyzmq-27",
        "psycopg2_binary-2.9.13",
        "shapely",
        "cryptography-50",
        "pillow",
        "matplotlib",
    ),
    Arch.AARCH64: ("pyzmq-27", "pillow", "psycopg_binary"),
    Arch.I686: ("pyzmq-27", "psycopg2_binary-2.9.10"),
    Arch.PPC64LE: ("psycopg2_binary-2.9.13", "rapidfuzz"),
    Arch.S390X: ("rapidfuzz", "kiwisolver"),
    Arch.ARMV7L: ("rapidfuzz",),
}
MENDED = {Arch.X86_64: 44, Arch.AARCH64: 20, Arch.I686: 15, Arch.PPC64LE: 14, Arch.S390X: 0, Arch.ARMV7L: 0}
"""Loads that died before and succeed after. Alpine's own libraries for the last two have no DT_RELR."""
CMAKE = Pinned(
    filename="cmake-3.27.9-py2.py3-none-musllinux_1_1_x86_64.whl",
    sha256="87e95c452e522c9379bbd04b300a0b28ba03841d57532166e109669f82f2bdef",
)
THROWS = 'string(JSON value ERROR_VARIABLE caught GET "{bad" x)\nmessage("caught: ${caught}")\n'
"""cmake throws its json_error and catches it, through libstdc++ and libgcc_s, which ask dl_iterate_phdr for tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A stock Alpine; ``/w`` is ours."""

    path: Path

    def put(self, directory: str, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            path = self.path / "w" / directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o755)

    def run(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            ["chroot", self.path, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return done.returncode % 256, done.stdout

    def load(self, directory: str) -> dict[str, int]:
        """The exit status of a program that has each library of the directory loaded before it."""
        names = sorted(path.name for path in (self.path / "w" / directory).iterdir())
        script = (
            'cd "/w/$0" && for f; do LD_LIBRARY_PATH=$PWD LD_PRELOAD=$PWD/$f /bin/true 2>/tmp/said; echo "$? $f"; done'
        )
        _, said = self.run("/bin/sh", "-c", f"{script} 2>/dev/null", directory, *names)
        rows = [line.split(" ", 1) for line in said.splitlines() if line[:1].isdecimal()]
        assert [name for _, name in rows] == names
        return {name: int(status) for status, name in rows}


Unpack = Callable[[str, Arch], Root]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, tool: Tool) -> Unpack:
    """Unpacks a release for an architecture, which this kernel then executes."""
    registered = Path("/proc/sys/fs/binfmt_misc")
    roots: dict[tuple[str, Arch], Root] = {}

    def unpack(release: str, arch: Arch) -> Root:
        if (release, arch) not in roots:
            native = arch in {Arch.X86_64, Arch.I686}
            if not native and not (registered / f"qemu-{arch.row.qemu}").exists():
                ran = tool("doctor", "--fix", "--arch", arch.value)
                assert (registered / f"qemu-{arch.row.qemu}").exists(), ran.everything
            path = tmp_path_factory.mktemp(f"{release}-{arch.value}")
            archive = LAB / "alpine" / f"alpine-minirootfs-{release}-{arch.row.apk}.tar.gz"
            subprocess.run(["tar", "-xzf", archive, "-C", path], check=True)
            roots[release, arch] = Root(path=path)
        shutil.rmtree(roots[release, arch].path / "w", ignore_errors=True)
        return roots[release, arch]

    return unpack


def published(arch: Arch, *prefixes: str) -> list[Path]:
    """The pinned wheels of ``arch`` whose names begin so."""
    rows = [row for row in read_list() if row.arch is arch and row.filename.startswith(prefixes)]
    assert len(rows) >= len(prefixes)
    return list(fetch(rows).values())


def members(wheel: Path, part: str) -> dict[str, bytes]:
    """ELF objects by base name, of members with ``part`` in their path."""
    with zipfile.ZipFile(wheel) as archive:
        found = {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist() if part in name}
    return {name: content for name, content in found.items() if content[:4] == b"\x7fELF"}


def edited(content: bytes, edit: ElfEdit) -> bytes:
    before = read_elf(content, "object")
    assert before is not None
    result = bytes(edit_elf(content, edit, "object"))
    check_edit(before, read_elf(result, "object"), edit)
    assert edit_elf(result, edit, "object") == result
    return result


def without_sections(content: bytes) -> bytes:
    """The object without section headers: nothing tells what lies behind its segments, so that they cannot grow."""
    layout = read_layout(content, "object")
    assert layout is not None
    header = [*layout.header[:5], 0, *layout.header[6:10], 0, 0, 0]
    return content[:16] + layout.form.header.pack(*header) + content[16 + layout.form.header.size :]


def count_programs(content: bytes) -> int:
    layout = read_layout(content, "object")
    assert layout is not None
    return len(layout.programs)


def renamed(libraries: Mapping[str, bytes]) -> dict[str, bytes]:
    """The libraries under longer names, edited twice, so that the second edit finds what the first has left."""
    result = {}
    for name, content in libraries.items():
        facts = read_elf(content, name)
        assert facts is not None
        needed = tuple((old, f"{PREFIX}{old}") for old in facts.needed if old in libraries)
        first = ElfEdit(soname=name, search_path="$ORIGIN/../elsewhere/than/before", expand_relr=True)
        second = ElfEdit(soname=f"{PREFIX}{name}", needed=needed, search_path="$ORIGIN")
        result[f"{PREFIX}{name}"] = edited(edited(content, first), second)
    return result


@pytest.mark.engine
@pytest.mark.parametrize("arch", list(Arch))
def test_published_libraries_load(arch: Arch, root: Unpack) -> None:
    libraries: dict[str, bytes] = {}
    for wheel in published(arch, *LIBRARIES[arch]):
        libraries |= members(wheel, ".libs/")
    after = renamed(libraries)
    mended = 0
    for release in RELEASES if arch is Arch.X86_64 else RELEASES[1:]:
        place = root(release, arch)
        place.put("before", libraries)
        place.put("after", after)
        old, new = place.load("before"), place.load("after")
        for name, status in old.items():
            now = new[f"{PREFIX}{name}"]
            # One that died may turn out to want a symbol, too: pillow's libzstd needs qsort_r of musl 1.2.3.
            assert now == status or (status >= CRASHED and now in {0, 127}), (release, name, status, now)
            mended += status >= CRASHED and now == 0
        if release == RELEASES[-1]:
            assert set(new.values()) == {0}
    assert mended == MENDED[arch]


@pytest.mark.engine
def test_strip_leaves_edited_libraries_whole(root: Unpack, tmp_path: Path) -> None:
    """People strip what pip has installed; program headers that had moved would be lost."""
    libraries: dict[str, bytes] = {}
    for wheel in published(Arch.X86_64, "psycopg2_binary-2.9.13", "cryptography-50"):
        libraries |= members(wheel, ".libs/")
    after = renamed(libraries)
    place = root(RELEASES[-1], Arch.X86_64)
    for name, content in after.items():
        path = tmp_path / name
        path.write_bytes(content)
        subprocess.run(["strip", path], check=True)
        assert path.read_bytes() != content
        place.put("stripped", {name: path.read_bytes()})
    assert set(place.load("stripped").values()) == {0}


@pytest.mark.engine
@pytest.mark.parametrize("arch", list(Arch))
def test_published_programs_start(arch: Arch, root: Unpack) -> None:
    (wheel,) = published(arch, "ninja-1.13" if arch is Arch.ARMV7L else "ninja-1.11")
    program = members(wheel, "/ninja")["ninja"]
    place = root(OLD, arch)
    edit = ElfEdit(search_path="/w/a/directory/of/its/own", expand_relr=True)
    moved = edited(without_sections(program), edit)
    assert count_programs(moved) == count_programs(program) + 1
    place.put("bin", {"before": program, "after": edited(program, edit), "moved": moved})
    status, said = place.run("/w/bin/after", "--version")
    assert (status, said) == place.run("/w/bin/before", "--version") == place.run("/w/bin/moved", "--version")
    assert status == 0


def run_cmake(place: Root, cmake: Path, libraries: Mapping[str, bytes]) -> str:
    """What an edited cmake says when it catches an exception; it needs ``libraries`` in place of its own."""
    program = members(cmake, "/bin/cmake")["cmake"]
    facts = read_elf(program, "cmake")
    assert facts is not None
    stems = {name.partition("-")[0]: name for name in libraries}
    needed = tuple((old, f"{PREFIX}{stems[stem]}") for old in facts.needed if (stem := old.partition("-")[0]) in stems)
    assert len(needed) == 2
    # No $ORIGIN: for the program itself musl asks /proc, which is not there.
    place.put("bin", {"cmake": edited(program, ElfEdit(needed=needed, search_path="/w/libs", expand_relr=True))})
    place.put("libs", renamed(libraries))
    place.put("", {"script": THROWS.encode()})
    with zipfile.ZipFile(cmake) as archive:
        modules = [name for name in archive.namelist() if name.endswith("/Modules/CMake.cmake")]
        place.put("", {name.partition("data/")[2]: archive.read(name) for name in modules})
    return place.run("/w/bin/cmake", "-P", "/w/script")[1]


@pytest.mark.engine
@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.PPC64LE, Arch.S390X])
def test_exceptions_pass_through_edited_libraries(arch: Arch, root: Unpack) -> None:
    """Libraries with DT_RELR (but on s390x) on a musl that ignores it, behind a program older than they are."""
    if arch is Arch.X86_64:
        (cmake,), source, release = fetch([CMAKE]).values(), published(arch, "numpy-2"), OLD
    elif arch is Arch.PPC64LE:
        (cmake,), source, release = published(arch, "cmake-3"), published(arch, "rapidfuzz"), OLD
    else:
        (cmake,), source, release = published(arch, "cmake-4"), published(arch, "rapidfuzz"), RELEASES[-1]
    found = members(source[0], ".libs/")
    libraries = {name: content for name, content in found.items() if name.startswith(("libstdc++-", "libgcc_s-"))}
    said = run_cmake(root(release, arch), cmake, libraries)
    assert "caught: failed parsing json string" in said, said


def link(arch: Arch, directory: Path) -> dict[str, bytes]:
    """The test library as lld lays it out, and as the machine's own linkers do when they are there."""
    zig = toolchain.fetch(Path.home() / ".cache" / "musllinux-build" / "lab" / ".work")
    tools = toolchain.write_wrappers(zig, arch, directory, directory / "tools")
    options: list[str | Path] = [
        "-O1",
        "-fPIC",
        "-shared",
        "-nostdlib",
        "-Wl,-z,relro,-z,now,-soname,libt.so",
        HERE / "edited.c",
    ]
    commands: dict[str, list[str | Path]] = {
        "lld-relr": [tools / "cc", *options, "-Wl,--pack-dyn-relocs=relr"],
        "lld": [tools / "cc", *options],
        "lld-zeros-relr": [tools / "cc", *options, "-DZEROS=8000000", "-Wl,--pack-dyn-relocs=relr"],
    }
    if arch is Arch.X86_64 and shutil.which("gcc"):
        commands |= {
            "bfd": ["gcc", *options, "-fuse-ld=bfd"],
            "bfd-sysv": ["gcc", *options, "-fuse-ld=bfd", "-Wl,--hash-style=sysv,-z,noseparate-code"],
            "gold": ["gcc", *options, "-fuse-ld=gold"],
        }
    for name, words in commands.items():
        subprocess.run([*words, "-o", directory / f"{name}.so"], check=True, capture_output=True)
    made = {name: (directory / f"{name}.so").read_bytes() for name in commands}
    return made | {"bare-relr": without_sections(made["lld-relr"])}


@pytest.mark.engine
@pytest.mark.parametrize("arch", list(Arch))
def test_layouts_of_linkers(arch: Arch, root: Unpack, tmp_path: Path) -> None:
    objects = link(arch, tmp_path)
    for release in RELEASES[1:]:
        place = root(release, arch)
        for name, content in objects.items():
            facts = read_elf(content, name)
            assert facts is not None
            packed = Hazard.RELR in facts.hazards
            assert packed == name.endswith("relr")
            (after,) = renamed({f"{name}.so": content}).values()
            place.put("", {"before.so": content, "after.so": after})
            status, said = place.run("/usr/bin/env", "LD_PRELOAD=/w/after.so", "/bin/true")
            assert (status, said) == (0, "relocated\n"), (release, name)
            status, _ = place.run("/usr/bin/env", "LD_PRELOAD=/w/before.so", "/bin/true")
            assert bool(status) == (packed and release == OLD)
