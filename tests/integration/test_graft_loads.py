"""What a repair makes of wheels, opened by the loaders of stock Alpine: compiled libraries, a root of ours, chroot.

Needs root (chroot), the archives of the lab folder, and for other architectures than this machine's a registered
emulator; no engine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pip
import pytest

from musllinux_build.adapters.sysroot import DirectorySysroot
from musllinux_build.arch import Arch
from musllinux_build.audit.options import Include, RepairOptions
from musllinux_build.audit.repair import RepairReport, repair_wheel
from tests.agreement.loaders import Compiler, releases
from tests.wheelgen import WheelSpec, build_wheel

pytestmark = pytest.mark.slow

PROBE = Path(__file__).parent / "probe.c"
INIT = "void *PyInit_x(void) { return 0; }\n"
HERE = "-Wl,-rpath,/opt/{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """A compiler, the root that libraries are taken from, and stock Alpines to open the results in."""

    compiler: Compiler
    root: Path
    alpine: Mapping[str, Path]

    def make(self, place: str, code: str, *flags: str, needs: Sequence[str] = ()) -> Path:
        """A library at ``place`` of the root, linked with others of it."""
        target = self.root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        source = self.compiler.directory / "source.c"
        source.write_text(code)
        name = f"-Wl,-soname,{target.name}"
        inputs = [self.root / need for need in needs]
        self.compiler.run(
            "-shared", "-fPIC", "-Wl,--allow-shlib-undefined", name, *flags, source, *inputs, "-o", target
        )
        return target

    def program(self, code: str, *needs: str) -> bytes:
        """A program for x86_64 that needs libraries of the root."""
        source, target = self.compiler.directory / "program.c", self.compiler.directory / "program"
        source.write_text(code)
        libc = self.compiler.directory / Arch.X86_64.row.loader
        libc.write_bytes(releases(Arch.X86_64)[0].loader)
        flags = ("-fPIE", "-pie", "-Wl,--no-as-needed", f"-Wl,--dynamic-linker=/lib/{libc.name}")
        self.compiler.run(*flags, source, libc, *(self.root / need for need in needs), "-o", target)
        return target.read_bytes()

    def extension(self, code: str, *flags: str, needs: Sequence[str] = ()) -> bytes:
        """An extension that needs libraries of the root."""
        target = self.make("build/x.so", INIT + code, *flags, needs=needs)
        content = target.read_bytes()
        target.unlink()
        return content

    def run(self, branch: str, wheel: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """A command in a stock Alpine that has the wheel unpacked at ``/w``."""
        place = self.alpine[branch] / "w"
        shutil.rmtree(place, ignore_errors=True)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place)
            for name in archive.namelist():
                (place / name).chmod(archive.getinfo(name).external_attr >> 16 & 0o777)
        return subprocess.run(["chroot", place.parent, *words], capture_output=True, text=True, check=False)

    def probe(self, branch: str, wheel: Path, *words: str) -> list[str]:
        """What ``probe.c`` says of pairs of library and function."""
        ran = self.run(branch, wheel, "/probe", *words)
        assert ran.returncode == 0, ran
        return ran.stdout.splitlines()


def make_workshop(directory: Path, arch: Arch, branches: Sequence[str]) -> Workshop:
    alpine = {}
    for release in releases(arch):
        if release.branch in branches:
            alpine[release.branch] = directory / release.branch
            alpine[release.branch].mkdir()
            subprocess.run(["tar", "-xzf", release.archive, "-C", alpine[release.branch]], check=True)
    assert set(alpine) == set(branches), "the lab folder lacks archives"
    compiler = Compiler.make(arch, directory / "compiler")
    return Workshop(compiler=compiler, root=directory / "root", alpine=alpine)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """x86_64, with the probe in each Alpine."""
    made = make_workshop(tmp_path_factory.mktemp("loads"), Arch.X86_64, ("3.13", "3.20"))
    probe = made.program(PROBE.read_text())
    for root in made.alpine.values():
        (root / "probe").write_bytes(probe)
        (root / "probe").chmod(0o755)
    return made


Repair = Callable[..., RepairReport]


@pytest.fixture
def repair(workshop: Workshop, tmp_path: Path) -> Repair:
    """Repair a wheel of these members with the workshop's root."""

    def run(
        files: Mapping[str, bytes], arch: Arch = Arch.X86_64, root: Path = workshop.root, **options: object
    ) -> RepairReport:
        tag = f"py3-none-musllinux_1_2_{arch.value}"
        spec = WheelSpec(files=files, tag=tag, metadata="Version: 1.0\n")
        path = tmp_path / spec.filename
        path.write_bytes(build_wheel(spec))
        chosen = RepairOptions(**options)  # type: ignore[arg-type] # a table's rows
        report = repair_wheel(path, tmp_path / "out", sysroot=DirectorySysroot(root), options=chosen)
        again = repair_wheel(report.path, tmp_path / "again", sysroot=DirectorySysroot(root), options=chosen)
        assert again.copied, again.changes
        return report

    return run


def test_two_libraries_of_one_name_serve_their_own_users(workshop: Workshop, repair: Repair) -> None:
    files = {}
    for number, word in ((1, "one"), (2, "two")):
        workshop.make(f"opt/{word}/libshared.so.1", f"int {word}(void) {{ return {number}; }}\n")
        code = f"int {word}(void); int value(void) {{ return {word}(); }}\n"
        library = f"opt/{word}/libshared.so.1"
        files[f"demo/{word}.so"] = workshop.extension(code, HERE.format(word), needs=[library])
        asks = f"int {word}(void); int from_{word}(void) {{ return {word}(); }}\n"
        workshop.make(f"opt/{word}/libuser_{word}.so", asks, HERE.format(word), needs=[library])
    both = "int from_one(void), from_two(void); int value(void) { return 10 * from_one() + from_two(); }\n"
    users = [f"opt/{word}/libuser_{word}.so" for word in ("one", "two")]
    files["demo/both.so"] = workshop.extension(both, "-Wl,-rpath,/opt/one:/opt/two", needs=users)
    report = repair(files)
    assert len(report.grafts) == 4
    words = [word for name in ("one", "two", "both") for word in (f"/w/demo/{name}.so", "value")]
    for branch in workshop.alpine:
        assert workshop.probe(branch, report.path, *words) == ["1", "2", "12"]


def test_libraries_that_need_each_other_and_themselves(workshop: Workshop, repair: Repair) -> None:
    workshop.make("opt/c/liba.so", "int a(void) { return 1; }\n")
    workshop.make("opt/c/libb.so", "int a(void); int b(void) { return 10 * a(); }\n", needs=["opt/c/liba.so"])
    code = "int b(void); int a(void) { return 4; } int ab(void) { return a() + b(); }\n"
    stub = workshop.make("build/liba.so", "int a(void) { return 1; }\n")
    workshop.make(
        "opt/c/liba.so", code, "-Wl,--no-as-needed", HERE.format("c"), needs=["opt/c/libb.so", "build/liba.so"]
    )
    stub.unlink()
    module = workshop.extension(
        "int ab(void); int value(void) { return ab(); }\n", HERE.format("c"), needs=["opt/c/liba.so"]
    )
    report = repair({"demo/x.so": module})
    assert len(report.grafts) == 2
    for branch in workshop.alpine:
        assert workshop.probe(branch, report.path, "/w/demo/x.so", "value") == ["44"]


def test_one_file_under_two_names_is_one_graft(workshop: Workshop, repair: Repair) -> None:
    workshop.make("opt/l/libn.so.1", "static int n; int count(void) { return ++n; }\n")
    shutil.copy(workshop.root / "opt/l/libn.so.1", workshop.root / "opt/l/libcopy.so.1")
    (workshop.root / "opt/l/liblink.so.1").symlink_to("libn.so.1")
    files = {}
    for name in ("libn.so.1", "libcopy.so.1", "liblink.so.1"):
        stub = workshop.make(f"build/{name}", "int count(void) { return 0; }\n")
        code = "int count(void); int value(void) { return count(); }\n"
        files[f"demo/{name[:7]}.so"] = workshop.extension(code, HERE.format("l"), needs=[f"build/{name}"])
        stub.unlink()
    report = repair(files)
    assert len(report.grafts) == 1
    words = [word for name in files for word in (f"/w/{name}", "value")]
    assert workshop.probe("3.20", report.path, *words) == ["1", "2", "3"]


def test_an_included_library_answers_dlopen(workshop: Workshop, repair: Repair) -> None:
    workshop.make("usr/lib/libdeep.so", "int deep(void) { return 7; }\n")
    workshop.make(
        "usr/lib/libplug.so.1", "int deep(void); int plug(void) { return deep(); }\n", needs=["usr/lib/libdeep.so"]
    )
    files = {"demo/x.so": workshop.extension("int value(void) { return 1; }\n")}
    by_name = repair(files, include=(Include(library="libplug.so.1", member="demo/x.so"),))
    words = ("libplug.so.1", "plug")
    for branch in workshop.alpine:
        (refused,) = workshop.probe(branch, by_name.path, *words)
        assert "libplug.so.1" in refused
        assert workshop.probe(branch, by_name.path, "/w/demo/x.so", "value", *words) == ["1", "7"]
    by_path = repair(files, include=(Include(library="/usr/lib/libplug*"),))
    assert [graft.reached for graft in by_path.grafts if graft.reached] == [
        "open it by its path in site-packages: demo.libs/libplug.so.1"
    ]
    assert workshop.probe("3.13", by_path.path, "/w/demo.libs/libplug.so.1", "plug") == ["7"]


def test_packed_relocations_are_expanded(workshop: Workshop, repair: Repair) -> None:
    code = (
        "static int zero; int *volatile table[64] = {[0 ... 63] = &zero};\n"
        "int plug(void) { for (int i = 0; i < 64; i++) *table[i] += 1; return zero; }\n"
    )
    workshop.make("opt/r/librelr.so", code, "-Wl,--pack-dyn-relocs=relr")
    module = workshop.extension(
        "int plug(void); int value(void) { return plug(); }\n", HERE.format("r"), needs=["opt/r/librelr.so"]
    )
    report = repair({"demo/x.so": module})
    for branch in workshop.alpine:
        assert workshop.probe(branch, report.path, "/w/demo/x.so", "value") == ["64"]


@pytest.mark.parametrize("arch", list(Arch))
def test_stripped_grafts_load_on_every_architecture(arch: Arch, tmp_path: Path, repair: Repair) -> None:
    workshop = make_workshop(tmp_path, arch, ("3.20",))
    code = "static int zero; int *volatile table[64] = {[0 ... 63] = &zero};\n"
    use = "__attribute__((constructor)) static void follow(void) { for (int i = 0; i < 64; i++) *table[i] = 1; }\n"
    workshop.make("opt/s/libs.so", f"{code}{use}int s(void) {{ return 1; }}\n", "-g")
    module = workshop.extension(
        "int s(void); int value(void) { return s(); }\n", "-g", HERE.format("s"), needs=["opt/s/libs.so"]
    )
    report = repair({"demo/x.so": module}, arch, workshop.root, strip=True)
    assert report.grafts[0].size < (workshop.root / "opt/s/libs.so").stat().st_size
    # Its own symbols are needed to load it alone, and CPython's are not there: preloading asks for nothing else.
    ran = workshop.run("3.20", report.path, f"/lib/{arch.row.loader}", "--preload", "/w/demo/x.so", "/bin/true")
    assert ran.returncode == 0, ran


def tool_wheel(workshop: Workshop, repair: Repair) -> RepairReport:
    workshop.make("usr/lib/libtool.so.1", "int tool(void) { return 42; }\n")
    tool = PROBE.read_text().replace("static int run(int count, char **words) {", TOOL, 1)
    program = workshop.program(tool, "usr/lib/libtool.so.1")
    return repair({"demo/__init__.py": b"", "demo-1.0.data/scripts/tool": program})


TOOL = """int tool(void);
static int run(int count, char **words) {
    dprintf(1, "%d %s\\n", tool(), words[1]);
    if (count) return 0;
"""


def test_a_program_that_moved_runs(workshop: Workshop, repair: Repair) -> None:
    report = tool_wheel(workshop, repair)
    for branch, root in workshop.alpine.items():
        # musl asks the kernel where a program lies; there is no /proc in a chroot.
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/exe").symlink_to("/w/demo.scripts/tool")
        ran = workshop.run(branch, report.path, "/w/demo.scripts/tool", "word")
        assert (ran.returncode, ran.stdout) == (0, "42 word\n"), ran


LAYOUTS = {
    "target": (["--target", "{}/t"], "t/bin/tool"),
    "prefix": (["--prefix", "{}/p", "--ignore-installed"], "p/bin/tool"),
    "root": (["--root", "{}/r", "--prefix", "/usr"], "r/usr/bin/tool"),
    "user": (["--user"], "u/bin/tool"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_script_finds_its_program_wherever_pip_puts_it(
    layout: str, workshop: Workshop, repair: Repair, tmp_path: Path
) -> None:
    report = tool_wheel(workshop, repair)
    # Installed by this machine's pip under a name it accepts; a shell script then stands for the program.
    wheel = tmp_path / "demo-1.0-py3-none-any.whl"
    shutil.copy(report.path, wheel)
    options, script = LAYOUTS[layout]
    environment = {**os.environ, "PYTHONUSERBASE": str(tmp_path / "u"), "PIP_BREAK_SYSTEM_PACKAGES": "1"}
    # The interpreter below the virtual environment, which has user sites; pip is the environment's.
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    environment["PYTHONPATH"] = str(Path(pip.__file__).parent.parent)
    words = [option.format(tmp_path) for option in options]
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", *words, wheel],
        env=environment,
        check=True,
    )
    (moved,) = tmp_path.rglob("demo.scripts/tool")
    moved.write_text('#!/bin/sh\necho "$0" "$@"\n')
    assert os.access(moved, os.X_OK)
    installed = tmp_path / script
    if not installed.exists():
        (installed,) = (path for path in tmp_path.rglob("bin/tool"))
    environment.pop("PYTHONPATH")
    ran = subprocess.run([installed, "a", "b c"], env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, f"{moved} a b c\n"), ran
