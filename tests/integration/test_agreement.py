"""A part of `make agreement`, small enough for every change: some wheels and all fixtures on three architectures."""

from __future__ import annotations

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine
from musllinux_build.arch import Arch
from tests.agreement.__main__ import Run
from tests.agreement.pinned import fetch, read_list
from tests.agreement.report import Results, Sum

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("no_leftovers")]

PART = {
    Arch.X86_64: ("pyzmq-27", "uvloop-", "ninja-1.11", "psycopg2_binary-2.9.9"),
    Arch.AARCH64: ("pyzmq-27", "cryptography-41"),
    Arch.I686: ("psycopg2_binary-2.9.10", "ninja-1.13"),
}


@pytest.mark.parametrize("arch", PART, ids=lambda arch: arch.value)
def test_what_we_say_is_what_loaders_do(docker: DockerEngine, arch: Arch) -> None:
    wanted = [wheel for wheel in read_list() if wheel.arch is arch and wheel.filename.startswith(PART[arch])]
    assert len(wanted) == len(PART[arch])
    results = Results()
    Run(engine=docker, seeds=10).arch(arch, fetch(wanted), results)
    total = Sum(cells=results.cells)
    assert not results.unread
    assert not [(cell.subject, cell.object, cell.release.release, str(cell.outcome)) for cell in total.unsound]
    unexplained = [(cell.subject, cell.object, cell.release.release, cell.said.rules) for cell in total.unexplained]
    assert not unexplained
    # Both outcomes occur for both, else the comparison would show nothing.
    for cells in (results.published, results.made):
        assert {cell.outcome.loads for cell in cells if cell.agrees} == {True, False}
    # Every architecture of PART has a wheel that a repair mends.
    assert {cell.outcome.loads for cell in results.repaired if not cell.object} == {True}
