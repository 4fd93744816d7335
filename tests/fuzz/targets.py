"""What is fuzzed: each target makes an input from a random source, and reads it as the program would."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from musllinux_build.adapters.archive_sysroot import ArchiveSysroot
from musllinux_build.apkdb import NO_DATABASE, read_database
from musllinux_build.audit.apply import apply_graft, built_in
from musllinux_build.audit.contents import Contents
from musllinux_build.audit.judge import choose_arch, choose_policy, examine, judge
from musllinux_build.audit.options import RepairOptions
from musllinux_build.audit.repair import plan_repair
from musllinux_build.audit.report import verdict_json, verdict_lines
from musllinux_build.audit.sbom import Bundled, Source, sbom_json
from musllinux_build.audit.subject import Inventory, take_inventory
from musllinux_build.elf.edit import KEEP, ElfEdit, check_edit, edit_elf
from musllinux_build.elf.reader import read_elf
from musllinux_build.elf.strip import strip_elf
from musllinux_build.errors import MusllinuxBuildError
from musllinux_build.plaintext import plain_json, plain_line
from musllinux_build.policies.corpus import read_records
from musllinux_build.policies.load import load_policies
from musllinux_build.tags import WheelName
from musllinux_build.wheel.contents import Wheel, read_wheel
from tests.fuzz.mutate import mutate
from tests.fuzz.seeds import EVIDENCE, FILENAMES, HISTORY, INSTALLED, JSON, TEXTS, objects, roots, wheel_input
from tests.unit.auditing import DictSysroot


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """``make`` gives an input that pickles, ``run`` reads it; a scratch directory is the only place for writing."""

    make: Callable[[Random], object]
    run: Callable[[object, Path], None]
    share: int
    """Of a hundred inputs."""


def _make_object(random: Random) -> object:
    return mutate(random.choice(objects()), objects(), random)


def _run_object(given: object, scratch: Path) -> None:
    assert isinstance(given, bytes)
    read_elf(given, "object")


EDITS = (
    ElfEdit(soname="libnew-0123456789ab.so.1", search_path="$ORIGIN/../demo.libs"),
    ElfEdit(needed=(("libz.so.1", "z"), ("liby.so", "liby-0123456789ab-much-longer-than-before.so")), search_path=None),
    ElfEdit(expand_relr=True, clear_exec_stack=True),
    ElfEdit(soname="x", drop_needed=("libz.so.1",), add_needed=("libnew.so", "liby.so"), search_path=KEEP),
    ElfEdit(),
)


def _make_edit(random: Random) -> object:
    return random.randrange(len(EDITS)), _make_object(random)


def _run_edit(given: object, scratch: Path) -> None:
    assert isinstance(given, tuple)
    edit, content = EDITS[given[0]], given[1]
    before = read_elf(content, "object")
    if before is None or not before.is_dynamic:
        return
    read_elf(strip_elf(content), "object")
    # What comes out must be sound, and hold what was asked for; or one of the three refuses.
    check_edit(before, read_elf(bytes(edit_elf(content, edit, "object")), "object"), edit)


def _make_wheel(random: Random) -> object:
    return wheel_input(random)


def _run_wheel(given: object, scratch: Path) -> None:
    assert isinstance(given, tuple)
    filename, data = given
    try:
        wheel = read_wheel(data, filename)
        inventory = take_inventory(wheel)
        if not inventory.is_pure:
            _audit(wheel, inventory)
    except MusllinuxBuildError as error:
        _check_shown([error.brief, *error.details.splitlines()])
        raise


def _audit(wheel: Wheel, inventory: Inventory) -> None:
    """Show and repair, but for the writing."""
    arch, policy = choose_arch(wheel.name, inventory), choose_policy(wheel.name)
    floor = load_policies().row(policy).floor
    library = wheel.read(inventory.members[min(inventory.objects)])
    root = DictSysroot(files={"/usr/lib/libz.so.1": library, "/usr/lib/liby.so": library})
    verdict = judge(examine(wheel, inventory, arch=arch, floor=floor, sysroot=None, may_graft=False), policy)
    _check_shown(list(verdict_lines(verdict)))
    text = json.dumps(plain_json(verdict_json(verdict)), ensure_ascii=False)
    assert json.loads(text.encode()), "this is valid JSON in valid UTF-8"
    contents = Contents(wheel, root)
    _, plan = plan_repair(wheel, inventory, contents, RepairOptions(), arch=arch, floor=floor)
    if not plan.conflicts:
        applied = apply_graft(plan, contents, built_in, wheel.name.distribution)
        sbom_json(wheel.name, applied.bundled, NO_DATABASE, epoch=0)


def _check_shown(lines: list[str]) -> None:
    for line in map(plain_line, lines):
        assert line.isprintable(), line
        assert not line.lstrip().startswith("::"), line


def _make_database(random: Random) -> object:
    return mutate(INSTALLED, (INSTALLED, *TEXTS), random), mutate(TEXTS[0], TEXTS, random)


def _run_database(given: object, scratch: Path) -> None:
    assert isinstance(given, tuple)
    files = {"/lib/apk/db/installed": given[0], "/etc/os-release": b"ID=alpine\nVERSION_ID=3.13.2\n" + given[1]}
    database = read_database(files.get)
    path = next(iter(database.files), "/lib/x")
    library = Bundled(member="d.libs/x.so", sha256="0" * 64, soname="x", source=Source.of(path, b""))
    content = sbom_json(WheelName.parse("d-1-py3-none-any.whl"), [library], database, epoch=0)
    assert json.loads(content)["components"]


def _make_evidence(random: Random) -> object:
    return mutate(random.choice((EVIDENCE, HISTORY, EVIDENCE, HISTORY, random.choice(JSON))), JSON, random)


def _run_evidence(given: object, scratch: Path) -> None:
    assert isinstance(given, bytes)
    (scratch / "record.json").write_bytes(given)
    for record in read_records(scratch):
        assert record.order or record.branch
        assert str(record.musl)


def _make_root(random: Random) -> object:
    content = bytearray(mutate(random.choice(roots()), (*roots(), *TEXTS), random))
    if random.random() < 0.7:
        for at in range(0, len(content) - 511, 512):
            if content[at + 257 : at + 262] == b"ustar":
                content[at + 148 : at + 156] = b" " * 8
                content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
    return bytes(content)


def _run_root(given: object, scratch: Path) -> None:
    assert isinstance(given, bytes)
    path = scratch / "root.tar"
    path.write_bytes(given)
    sysroot = ArchiveSysroot(path)
    for name in ("/lib/x", "/usr/lib/libz.so.1", "/loop", "/hard"):
        content = sysroot.read(name)
        assert content is None or len(content) <= len(given)
    assert isinstance(sysroot.names("/usr/lib"), list | tuple)


def _make_name(random: Random) -> object:
    return mutate(random.choice(FILENAMES), TEXTS, random).decode("utf-8", "surrogateescape")


def _run_name(given: object, scratch: Path) -> None:
    assert isinstance(given, str)
    name = WheelName.parse(given)
    assert WheelName.parse(str(name)) == name
    assert len(name.expanded) <= 1000


TARGETS = {
    "elf": Target(make=_make_object, run=_run_object, share=50),
    "edit": Target(make=_make_edit, run=_run_edit, share=20),
    "wheel": Target(make=_make_wheel, run=_run_wheel, share=10),
    "apk": Target(make=_make_database, run=_run_database, share=7),
    "root": Target(make=_make_root, run=_run_root, share=4),
    "evidence": Target(make=_make_evidence, run=_run_evidence, share=4),
    "name": Target(make=_make_name, run=_run_name, share=5),
}


def save(given: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(given))


def load(path: Path) -> object:
    """An input as ``save`` wrote it; only files of one's own."""
    return pickle.loads(path.read_bytes())
