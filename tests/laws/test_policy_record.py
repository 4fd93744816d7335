"""Recording a root: what is read, what a loader is asked by running it, and archives that are never unpacked."""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from musllinux_build.adapters.archive_sysroot import ArchiveSysroot
from musllinux_build.adapters.loader import DIRECTORY, loader_here, loader_in_container
from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session
from musllinux_build.cli.policy import policy
from musllinux_build.cli.roots import image_root
from musllinux_build.elf.facts import Hazard
from musllinux_build.elf.reader import read_elf
from musllinux_build.errors import EmulationError, ImageError, UsageError
from musllinux_build.policies.corpus import SHIPPED
from musllinux_build.policies.evidence import Evidence
from musllinux_build.policies.probes import EXIT_STATUS, Probe, probe_program, symbol_program
from musllinux_build.policies.record import REFUSED, Ran, find_loader, record
from musllinux_build.ports import ContainerSpec
from musllinux_build.tarstream import only_file
from tests.elfgen import Obj, build
from tests.fakes import FakeEngine, File, ListProgress
from tests.unit.auditing import DictSysroot

EXPORTS = ("malloc", "open")


def loader_bytes(arch: Arch = Arch.X86_64, version: str = "1.2.2") -> bytes:
    said = b"\0musl libc (any)\nVersion %s\n\0" + version.encode() + b"\0"
    return build(Obj(arch=arch, exports=EXPORTS, padding=said))


def root(
    arch: Arch = Arch.X86_64,
    version: str = "1.2.2",
    package: str | None = "1.2.2-r1",
) -> DictSysroot:
    name = arch.row.loader
    files = {f"/lib/{name}": loader_bytes(arch, version), "/etc/os-release": b'ID=alpine\nVERSION_ID="3.13.12"\n'}
    if package:
        files["/lib/apk/db/installed"] = f"P:musl\nV:{package}\nF:lib\nR:{name}\n\n".encode()
    return DictSysroot(files=files)


@dataclass(frozen=True, slots=True, kw_only=True)
class LikeMusl:
    """What a loader does with a program, from what our reader says is in it."""

    relr: bool = True
    exports: frozenset[str] = frozenset(EXPORTS)

    def __call__(self, program: bytes) -> Ran:
        facts = read_elf(program, "probe")
        assert facts is not None
        missing = sorted(facts.undefined - self.exports)
        if missing or Hazard.IFUNC in facts.hazards:
            lines = [f"Error relocating /probe: {name}: symbol not found" for name in missing]
            return Ran(status=REFUSED, said="\n".join(lines).encode())
        return Ran(status=EXIT_STATUS if self.relr or Hazard.RELR not in facts.hazards else -11, said=b"")


@pytest.mark.parametrize("arch", list(Arch))
def test_probes_are_what_they_are_called(arch: Arch) -> None:
    def facts_of(program: bytes | None) -> tuple[bool, frozenset[Hazard], tuple[str, ...], frozenset[str]]:
        facts = read_elf(program or b"", "probe")
        assert facts is not None
        return facts.fits(arch.row.elf), facts.hazards, facts.needed, facts.undefined

    none: frozenset[str] = frozenset()
    assert facts_of(probe_program(Probe.CONTROL, arch)) == (True, frozenset[Hazard](), (), none)
    assert facts_of(probe_program(Probe.RELR, arch)) == (True, frozenset({Hazard.RELR}), (), none)
    assert facts_of(probe_program(Probe.INDIRECT_FUNCTIONS, arch)) == (True, frozenset({Hazard.IFUNC}), (), none)
    assert facts_of(probe_program(Probe.RESERVED_NAMES, arch))[2] == ("libm.probe-1234.so",)
    assert (probe_program(Probe.TLS_DESCRIPTORS, arch) is None) == (arch in {Arch.PPC64LE, Arch.S390X})
    assert facts_of(symbol_program(["a", "b"], arch))[2:] == (("libc.so",), frozenset({"a", "b"}))


@pytest.mark.parametrize("arch", list(Arch))
def test_a_root_becomes_evidence(arch: Arch) -> None:
    sysroot = root(arch)
    loader = find_loader(sysroot)
    run = LikeMusl(relr=False, exports=frozenset({*EXPORTS, "open64"}))
    evidence = record(sysroot, loader, run, candidates={"malloc", "open64", "statx"})
    assert evidence == Evidence(
        distro="alpine",
        release="3.13.12",
        arch=arch,
        musl_package="1.2.2-r1",
        exports=frozenset(EXPORTS),
        applies={"relr": False, "reserved_names": True, "indirect_functions": False}
        | ({} if arch in {Arch.PPC64LE, Arch.S390X} else {"tls_descriptors": True}),
        resolves=frozenset({"open64"}),
    )
    zlib = {"/usr/lib/libz.so.1": build(Obj(arch=arch, exports=["inflate"]))}
    with_zlib = DictSysroot(files={**sysroot.files, **zlib})
    looked_for = record(with_zlib, loader, None, libraries=["libz.so.1", "libbz2.so.1"]).libraries
    assert looked_for == {"libz.so.1": frozenset({"inflate"}), "libbz2.so.1": frozenset()}
    unseen = record(sysroot, loader, None, candidates={"open64"})
    assert (unseen.applies, unseen.resolves, unseen.exports) == ({}, None, evidence.exports)


def test_a_distribution_without_apk_and_numbers() -> None:
    sysroot = root(version="1.2.5", package=None)
    files = {**sysroot.files, "/etc/os-release": b'NAME="Void"\nID="void"\n'}
    evidence = record(DictSysroot(files=files), find_loader(sysroot), None)
    assert (evidence.label, evidence.musl_package, evidence.order) == ("void rolling", "1.2.5", ())
    named = record(DictSysroot(files=files), find_loader(sysroot), None, distro="other", release="2")
    assert named.label == "other 2"


def test_the_loader_may_be_a_link_to_the_packaged_file() -> None:
    files = {"/usr/lib/libc.so": loader_bytes(), "/etc/os-release": b"ID=alpine\nVERSION_ID=3.99\n"}
    files["/lib/apk/db/installed"] = b"P:musl\nV:1.2.2-r7\nF:usr/lib\nR:libc.so\n\n"
    sysroot = DictSysroot(files=files, links={"/lib/ld-musl-x86_64.so.1": "/usr/lib/libc.so"})
    assert record(sysroot, find_loader(sysroot), None).musl_package == "1.2.2-r7"


@pytest.mark.parametrize(
    ("sysroot", "message"),
    [
        (root(package="1.2.3-r0"), "is musl 1.2.2, the package database says 1.2.3-r0"),
        (root(version="new", package=None), "neither a package database nor its bytes"),
        (root(version="new", package="2-r0"), "not a musl version"),
        (DictSysroot(files={"/lib/ld-musl-x86_64.so.1": loader_bytes()}), "no os-release"),
        (DictSysroot(files={}), "no musl loader"),
        (DictSysroot(files={"/lib/ld-musl-x86_64.so.1": build(Obj(exports=EXPORTS))}), "no musl loader"),
        (DictSysroot(files={"/lib/ld-musl-x86_64.so.1": loader_bytes(Arch.AARCH64)}), "no musl loader"),
        (DictSysroot(files={"/lib/ld-musl-x86_64.so.1": loader_bytes()[:70]}), "not a sound ELF file"),
        (DictSysroot(files={**root().files, **root(Arch.I686).files}), "x86_64, i686"),
    ],
)
def test_roots_that_do_not_say_what_they_are(sysroot: DictSysroot, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        record(sysroot, find_loader(sysroot), None)


@pytest.mark.parametrize(
    ("ran", "message"),
    [
        (Ran(status=1, said=b"Exec format error"), "simplest x86_64 program"),
        (Ran(status=-9, said=b"killed after 60 s"), "simplest x86_64 program"),
    ],
)
def test_a_loader_that_cannot_be_measured(ran: Ran, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        record(root(), find_loader(root()), lambda _: ran)
    assert ran.said.decode() in caught.value.details


def test_a_loader_that_ends_in_no_known_way() -> None:
    def odd(program: bytes) -> Ran:
        return Ran(status=3, said=b"") if program == probe_program(Probe.RELR, Arch.X86_64) else LikeMusl()(program)

    with pytest.raises(ImageError, match="no known way on the probe relr"):
        record(root(), find_loader(root()), odd)

    def silent(program: bytes) -> Ran:
        ran = LikeMusl()(program)
        return Ran(status=ran.status, said=b"")

    with pytest.raises(ImageError, match="which symbols it lacks"):
        record(root(), find_loader(root()), silent, candidates={"statx"})


def test_a_loader_is_run_where_it_is() -> None:
    engine = FakeEngine(
        [lambda engine, box, argv, env: (139, b"") if argv == [loader.path, f"/{DIRECTORY}/probe"] else None]
    )
    engine.add_image("alpine:3.13", Arch.X86_64)
    container = engine.create(ContainerSpec(image="alpine:3.13", platform="linux/amd64", purpose="record"))
    loader = find_loader(root())
    run = loader_in_container(engine, container, loader)
    assert run(b"program") == Ran(status=-11, said=b"")
    assert engine.get(container, f"/{DIRECTORY}/probe") is not None


def test_an_image_is_recorded_in_a_container_of_its_own() -> None:
    sysroot, asked = root(Arch.AARCH64), LikeMusl(relr=False)

    def run_loader(engine: FakeEngine, box: str, argv: Sequence[str], _: Mapping[str, str]) -> tuple[int, bytes] | None:
        if argv[0] != f"/lib/{Arch.AARCH64.row.loader}":
            return None
        ran = asked(only_file(b"".join(engine.get(box, argv[1]) or ())) or b"")
        return (ran.status if ran.status >= 0 else 128 - ran.status), ran.said

    engine = FakeEngine([run_loader])
    files = {path: File(data=content) for path, content in sysroot.files.items()}
    engine.add_image("alpine:3.13", Arch.AARCH64, files=files)
    session = Session(engine, ListProgress())
    with image_root(session, "alpine:3.13", None) as (opened, runner):
        loader = find_loader(opened)
        with runner(loader) as run:
            recorded = record(opened, loader, run, candidates={"statx"})
    assert recorded == record(sysroot, find_loader(sysroot), asked, candidates={"statx"})
    (box,) = engine.created
    assert (box.spec.network, box.spec.platform) == (False, "linux/arm64")
    assert not engine.boxes, "the container is gone"


def test_a_loader_that_does_not_run_here_is_an_answer() -> None:
    # elfgen's loader has no code: whatever the kernel makes of it, there is an end and no exception.
    with loader_here(find_loader(root())) as run:
        assert run(b"no program").status != EXIT_STATUS


def test_an_architecture_that_the_kernel_does_not_execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = replace(find_loader(root(Arch.S390X)), content=b"of no format that any kernel executes")
    monkeypatch.setenv("PATH", str(tmp_path))
    with loader_here(foreign) as run, pytest.raises(EmulationError, match="does not execute s390x") as caught:
        run(b"program")
    assert "--no-run" in caught.value.resolution
    emulator = tmp_path / "qemu-s390x"
    emulator.write_text('#!/bin/sh\n[ "$(cat "$2")" = program ] && exit 42\n')
    emulator.chmod(0o755)
    with loader_here(foreign) as run:
        assert [run(b"program").status, run(b"another").status] == [EXIT_STATUS, 1]


def write_tar(path: Path, members: list[tarfile.TarInfo], contents: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(contents.get(member.name, b"")))
    return path


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(content)
    return info


def test_an_archive_is_a_root(tmp_path: Path) -> None:
    link, hard, device = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE
    members = [
        member("./", kind=tarfile.DIRTYPE),
        member("./usr/lib/libc.so", b"libc"),
        member("./lib", kind=link, target="usr/lib"),
        member("./lib64", kind=link, target="/usr/lib"),
        member("./up", kind=link, target="../../../usr"),
        member("./loop", kind=link, target="loop"),
        member("./same", kind=hard, target="./usr/lib/libc.so"),
        member("./dev/mem", kind=device),
        member("../../etc/twice", b"1"),
        member("./etc/twice", b"22"),
    ]
    contents = {"./usr/lib/libc.so": b"libc", "../../etc/twice": b"1", "./etc/twice": b"22"}
    sysroot = ArchiveSysroot(write_tar(tmp_path / "root.tar.gz", members, contents))
    for path in (
        "/lib/libc.so",
        "/lib64/libc.so",
        "/up/lib/libc.so",
        "/same",
        "/lib/../lib/libc.so",
        "//usr/lib//libc.so",
    ):
        assert sysroot.read(path) == b"libc", path
    assert sysroot.real_path("/lib/libc.so") == "/usr/lib/libc.so"
    assert sysroot.read("/etc/twice") == b"22"
    for path in ("/loop", "/dev/mem", "/gone", "/usr/lib", "/"):
        assert sysroot.read(path) is None, path
    assert (sysroot.names("/lib"), sysroot.names("/etc"), sysroot.names("/gone")) == (["libc.so"], ["twice"], [])


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"x" * 600), gzip.compress(b"\0" * 9999)[:20]])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "root.tar.gz"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is not the archive of a root"):
        ArchiveSysroot(path)


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(policy, list(map(str, arguments)), standalone_mode=False)


def put_root(directory: Path, sysroot: DictSysroot) -> Path:
    for name, content in sysroot.files.items():
        path = directory / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def test_the_command_records_a_directory_and_its_archive(tmp_path: Path) -> None:
    directory = put_root(tmp_path / "root", root(Arch.S390X))
    archive = tmp_path / "root.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(directory, arcname=".")
    outputs = [invoke("record", "--no-run", place).stdout for place in (directory, archive)]
    assert outputs[0] == outputs[1]
    assert json.loads(outputs[0])["loader"] == "/lib/ld-musl-s390x.so.1"
    out = tmp_path / "out" / "record.json"
    assert invoke("record", "-q", "--no-run", "--release", "3.99.1", "--out", out, directory).exit_code == 0
    assert Evidence.parse_record(out.read_text()).label == "alpine 3.99.1"
    for wrong in (("./gone",), (directory, "--arch", "z80"), (directory, "--arch", "i686")):
        assert isinstance(invoke("record", "--no-run", *wrong).exception, UsageError | ImageError)


def test_the_command_refuses_what_it_cannot_measure_or_write(tmp_path: Path) -> None:
    directory = put_root(tmp_path / "root", root())
    ran = invoke("record", directory)
    assert isinstance(ran.exception, ImageError)
    assert "does not run the simplest x86_64 program" in ran.exception.brief
    taken = tmp_path / "file"
    taken.write_text("")
    assert isinstance(invoke("record", "--no-run", "--out", taken / "x.json", directory).exception, UsageError)


def test_check_says_no(tmp_path: Path) -> None:
    sysroot = root(Arch.X86_64, "1.2.5", "1.2.5-r99")
    (tmp_path / "fork.json").write_text(record(sysroot, find_loader(sysroot), None).format_record())
    refused = invoke("check", "--quiet", "--policies", tmp_path)
    assert refused.return_value == 1
    assert "error: alpine 3.13.12 has musl 1.2.5 and lacks" in refused.output
    assert "note:" not in refused.output
    assert "alpine 3.13.12" in invoke("show", "--releases", "--policies", tmp_path).output


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path_factory.mktemp("policies") / "policies"))


def test_generate_is_a_fixed_point_and_takes_records(clone: Path, tmp_path: Path) -> None:
    assert invoke("generate", "--check", "--directory", clone).return_value == 0
    more = record(root(), find_loader(root()), LikeMusl(relr=False))
    (tmp_path / "new.json").write_text(more.format_record())
    differs = invoke("generate", "--check", "--directory", clone, "--records", tmp_path)
    assert differs.return_value == 1
    assert "alpine-x86_64.json" in differs.output
    assert invoke("generate", "--directory", clone, "--records", tmp_path).return_value == 0
    assert invoke("generate", "--check", "--directory", clone, "--records", tmp_path).output == ""


def test_check_and_show() -> None:
    releases = invoke("show", "--releases").output
    assert "alpine 3.14.10  1.2.2-r4" in releases
    assert re.search(r"alpine 3\.15\.11 +1\.2\.2-r9 +\d+ RELR +\d+ ", releases)
    checked = invoke("check")
    assert checked.return_value == 0
    assert "musllinux_1_2  1.2.2   alpine 3.13 to 3.20" in checked.output
    assert "qsort_r: musl 1.2.3 (upstream), first in Alpine 3.15\n" in invoke("show", "--symbol", "qsort_r").output
    assert (
        "__time64: musl 1.2.0 (upstream), first in Alpine 3.13 (i686, armv7l)"
        in invoke("show", "--symbol", "__time64").output
    )
    assert "not released" in invoke("show", "--symbol", "renameat2", "--arch", "x86_64").output
    assert "gone since musl 1.2.4" in invoke("show", "--symbol", "posix_fallocate64").output
    shown = invoke("show", "musllinux_1_2", "--arch", "i686").output
    assert "DT_RELR      musl 1.2.4, newer than the floor" in shown
    assert "libc; by choice also libz.so.1" in shown
    assert isinstance(invoke("show", "musllinux_1_9").exception, UsageError)
