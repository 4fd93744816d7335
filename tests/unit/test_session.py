from __future__ import annotations

import pytest

from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session
from musllinux_build.errors import EngineError
from musllinux_build.ports import ContainerSpec
from tests.fakes import FakeEngine, ListProgress

SPEC = ContainerSpec(image="stock:fake", platform=Arch.X86_64.oci_platform, purpose="test")


@pytest.fixture
def engine() -> FakeEngine:
    made = FakeEngine()
    made.add_image("stock:fake", Arch.X86_64)
    return made


@pytest.fixture
def session(engine: FakeEngine) -> Session:
    return Session(engine, ListProgress())


def test_a_command_of_our_own_that_fails_says_what_it_said(session: Session) -> None:
    with session.container(SPEC) as container:
        session.check(container, ["true"])
        with pytest.raises(EngineError, match="exit status 7") as caught:
            session.check(container, ["/bin/sh", "-c", "echo out; echo err >&2; exit 7"])
    assert "out\nerr" in caught.value.details
    assert "exit 7" in caught.value.details
