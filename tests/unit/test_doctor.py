from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from musllinux_build.arch import Arch
from musllinux_build.builds.session import RUN_LABEL, Session
from musllinux_build.cli.doctor import doctor
from musllinux_build.doctor import (
    Check,
    Emulation,
    State,
    check_certificates,
    check_disk,
    check_emulation,
    check_index,
    parse_binfmt,
    qemu_trouble,
    qemu_version,
    to_json,
    worst,
)
from musllinux_build.errors import EngineError, UsageError
from musllinux_build.ports import ContainerSpec
from musllinux_build.probe import executes, probe_elf
from tests.fakes import FakeEngine, ListProgress, answering

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


def test_what_cannot_be_done_without_is_a_failure_and_the_rest_a_warning() -> None:
    missing = Emulation(arch=Arch.S390X, executes=False)
    assert check_emulation(missing).state is State.FAILED
    assert check_emulation(replace(missing, required=False)).state is State.WARNING
    untried = replace(missing, executes=None, untried="no engine", required=False)
    assert check_emulation(untried).found == "not tried: no engine"
    assert check_emulation(untried).state is State.WARNING


def test_another_machine_has_entries_of_its_own() -> None:
    entry = parse_binfmt("qemu-aarch64", AARCH64)
    far = Emulation(arch=Arch.AARCH64, executes=True, entry=entry, qemu="8.2.0", local=False)
    assert check_emulation(far) == Check(name="runs aarch64", state=State.OK, found="emulated")
    broken = check_emulation(replace(far, executes=False))
    assert "qemu-aarch64" not in broken.found
    assert "doctor --fix" not in broken.mend


@pytest.mark.parametrize(
    ("arch", "version", "known"),
    [
        (Arch.S390X, "6.2.0", "brk"),
        (Arch.AARCH64, "7.2.22", ""),
        (Arch.AARCH64, "8.0.4", "brk"),
        (Arch.AARCH64, "8.1.5", ""),
        (Arch.AARCH64, "8.2.2", "8233"),
        (Arch.S390X, "8.2.2", ""),
        (Arch.AARCH64, "9.2.1", "1913"),
        (Arch.AARCH64, "9.2.2", ""),
        (Arch.ARMV7L, "9.0.0", ""),
        (Arch.AARCH64, "10.1", ""),
        (Arch.AARCH64, "", ""),
    ],
)
def test_versions_of_qemu_that_are_known_to_fail(arch: Arch, version: str, known: str) -> None:
    assert known in qemu_trouble(arch, version)
    assert bool(known) == bool(qemu_trouble(arch, version))


def test_an_emulator_that_is_known_to_fail_is_a_warning() -> None:
    entry = parse_binfmt("qemu-aarch64", AARCH64)
    found = check_emulation(Emulation(arch=Arch.AARCH64, executes=True, entry=entry, qemu="9.0.0"))
    assert found.state is State.WARNING
    assert "1913" in found.found
    assert found.mend


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


Doctor = Callable[..., Result]


@pytest.fixture
def ask_doctor(tmp_path: Path) -> Doctor:
    def run(*arguments: str, host: str = "tcp://127.0.0.1:1") -> Result:
        environment: dict[str, Any] = {"DOCKER_HOST": host, "DOCKER_CONFIG": str(tmp_path)}
        return CliRunner().invoke(doctor, arguments, env=environment, standalone_mode=False)

    return run


def test_without_an_engine_the_rest_is_still_looked_at(ask_doctor: Doctor, tmp_path: Path) -> None:
    result = ask_doctor(host=f"unix://{tmp_path}/none")
    assert result.return_value == 3
    assert f"no container engine answers at unix://{tmp_path}/none (DOCKER_HOST)" in result.output
    for name in (*(f"runs {arch.value}" for arch in Arch), "disk", "CA bundle"):
        assert name in result.output


def test_another_machine_s_engine_has_neither_our_disk_nor_our_entries(ask_doctor: Doctor) -> None:
    result = ask_doctor("--json", host="tcp://127.0.0.1:1")
    assert result.return_value == 3
    assert "GiB" not in result.output
    assert "flags" not in result.output


def test_an_engine_that_is_named_is_the_one_that_is_looked_at(ask_doctor: Doctor) -> None:
    result = ask_doctor("--engine", "s390x=tcp://127.0.0.1:2", "--json", host="tcp://127.0.0.1:1")
    assert result.return_value == 3
    assert "no container engine answers at tcp://127.0.0.1:2" in result.output
    assert [check["name"] for check in json.loads(result.output)["checks"] if "runs" in check["name"]] == ["runs s390x"]
    assert isinstance(ask_doctor("--engine", "s390=here").exception, UsageError)
    missing = ask_doctor("--engine", "nowhere")
    assert "there is no docker context nowhere" in missing.output


def test_another_machine_is_not_mended(ask_doctor: Doctor) -> None:
    result = ask_doctor("--fix", host="tcp://127.0.0.1:1")
    assert isinstance(result.exception, UsageError)
    assert "tcp://127.0.0.1:1 (DOCKER_HOST)" in result.exception.brief


def test_a_socket_nobody_starts_an_engine_at_is_not_mended(ask_doctor: Doctor, tmp_path: Path) -> None:
    result = ask_doctor("--fix", host=f"unix://{tmp_path}/none")
    assert isinstance(result.exception, UsageError)


def test_an_engine_that_is_too_old_is_not_started_again(ask_doctor: Doctor, tmp_path: Path) -> None:
    with answering(tmp_path / "socket", {"ApiVersion": "1.40", "Version": "19.03", "Arch": "amd64"}) as host:
        result = ask_doctor("--fix", host=host)
    assert isinstance(result.exception, EngineError)
    assert "too old" in result.exception.brief


def test_an_unknown_architecture_says_the_near_miss(ask_doctor: Doctor) -> None:
    result = ask_doctor("--arch", "aarch46", host="tcp://127.0.0.1:1")
    assert isinstance(result.exception, UsageError)
    assert "'aarch64'" in result.exception.brief
