from __future__ import annotations

import pytest

from musllinux_build.arch import Arch
from musllinux_build.builds.session import RUN_LABEL, Session
from musllinux_build.doctor import (
    Check,
    Emulation,
    State,
    check_certificates,
    check_disk,
    check_emulation,
    check_index,
    parse_binfmt,
    qemu_version,
    to_json,
    worst,
)
from musllinux_build.errors import EngineError
from musllinux_build.ports import ContainerSpec
from musllinux_build.probe import executes, probe_elf
from tests.fakes import FakeEngine, ListProgress

AARCH64 = """\
enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""


@pytest.mark.parametrize("arch", Arch)
def test_the_probe_is_an_elf_of_its_architecture(arch: Arch) -> None:
    identity, data = arch.row.elf, probe_elf(arch)
    assert data[:4] == b"\x7fELF"
    assert data[4] == (2 if identity.bits == 64 else 1)
    assert int.from_bytes(data[18:20], identity.order) == identity.machine
    assert len(data) < 150


def test_an_entry_matches_its_own_architecture_alone() -> None:
    entry = parse_binfmt("qemu-aarch64", AARCH64)
    assert entry.enabled
    assert entry.flags == "POF"
    assert [arch for arch in Arch if entry.matches(probe_elf(arch))] == [Arch.AARCH64]


def test_executing_decides() -> None:
    engine = FakeEngine(runs=[Arch.X86_64])
    session = Session(engine, ListProgress())
    assert executes(session, Arch.X86_64)
    assert not executes(session, Arch.S390X)
    assert not engine.boxes
    assert all(box.spec.labels[RUN_LABEL] == session.run for box in engine.created)


@pytest.mark.parametrize(
    "said",
    [
        "crun: open executable: Exec format error",
        'exec: "/probe": stat /probe: no such file or directory: unknown',
    ],
)
def test_an_engine_that_refuses_to_start_it_does_not_execute_it(said: str) -> None:
    assert not executes(Session(Refusing(said), ListProgress()), Arch.S390X)


def test_an_engine_that_fails_is_not_an_answer() -> None:
    with pytest.raises(EngineError):
        executes(Session(Refusing("connection reset"), ListProgress()), Arch.S390X)


class Refusing(FakeEngine):
    """Starts nothing."""

    def __init__(self, said: str) -> None:
        super().__init__()
        self.said = said

    def create(self, spec: ContainerSpec) -> str:
        raise EngineError(f"the container engine failed while creating a container of {spec.image}", details=self.said)


def test_emulation_says_what_serves_it_and_what_mends_it() -> None:
    entry = parse_binfmt("qemu-aarch64", AARCH64)
    works = Emulation(arch=Arch.AARCH64, executes=True, native=False, entry=entry, qemu="7.2.22")
    assert check_emulation(works).found == "emulated: qemu-aarch64, qemu 7.2.22, flags POF"
    lacks_f = parse_binfmt("q", AARCH64.replace("POF", "P"))
    broken = check_emulation(Emulation(arch=Arch.AARCH64, executes=False, native=False, entry=lacks_f, qemu=""))
    assert broken.state is State.FAILED
    assert "inside the container" in broken.found
    assert "doctor --fix" in broken.mend


def test_qemu_version() -> None:
    assert qemu_version("qemu-aarch64 version 7.2.22 (Debian 1:7.2+dfsg)") == "7.2.22"
    assert qemu_version("what") == ""


def test_disk_certificates_and_index() -> None:
    assert check_disk(1 << 30, "/var").state is State.WARNING
    assert check_disk(100 << 30, "/var").state is State.OK
    assert check_disk(None, "/var").state is State.WARNING
    assert check_certificates(b"").state is State.WARNING
    assert check_certificates(b"-----BEGIN CERTIFICATE-----").found == "1 certificates"
    assert check_index(None, "").state is State.WARNING
    assert check_index(0, "").state is State.OK
    assert check_index(1, "no route").state is State.FAILED


def test_the_worst_counts_and_everything_is_told() -> None:
    checks = [Check(name="a", state=State.OK, found=""), Check(name="b", state=State.FAILED, found="x", mend="y")]
    assert worst(checks) is State.FAILED
    assert worst(checks[:1]) is State.OK
    assert to_json(checks)["version"] == 1
