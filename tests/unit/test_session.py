from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from musllinux_build.adapters.host_fetch import HostFetch
from musllinux_build.arch import Arch
from musllinux_build.builds.session import LOG_END_BYTES, RUN_LABEL, Log, Session, signals_as_errors
from musllinux_build.builds.steps import Step
from musllinux_build.builds.volumes import FILL_LABEL, Clock, DataVolume, ensure_volume
from musllinux_build.errors import DiskFullError, EngineError, FetchError, InterruptedBuildError, TerminatedError
from musllinux_build.images.lock import SourceRow, WheelRow
from musllinux_build.ports import ContainerSpec
from tests.fakes import FakeEngine, ListProgress

SPEC = ContainerSpec(image="stock:fake", platform=Arch.X86_64.oci_platform, purpose="test")
STEP = Step(title="build", argv=("make",), env={}, cwd="/")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ROOT = Path(__file__).parents[2]


class Engine(FakeEngine):
    """Calls back where something may happen meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.add_image("stock:fake", Arch.X86_64)
        self.during_create: Callable[[], None] = lambda: None
        self.during_remove: Callable[[str], None] = lambda _: None

    def create(self, spec: ContainerSpec) -> str:
        made = super().create(spec)
        self.during_create()
        return made

    def remove(self, container: str) -> None:
        self.during_remove(container)
        super().remove(container)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def session(engine: Engine) -> Session:
    return Session(engine, ListProgress())


@pytest.fixture
def handlers() -> Iterator[None]:
    """Signals are what they were, whatever the test did."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        # What started the tests may ignore some (nohup), and the tool leaves those alone.
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_command_of_our_own_that_fails_says_what_it_said(session: Session) -> None:
    with session.container(SPEC) as container:
        session.check(container, ["true"])
        with pytest.raises(EngineError, match="exit status 7") as caught:
            session.check(container, ["/bin/sh", "-c", "echo out; echo err >&2; exit 7"])
    assert "out\nerr" in caught.value.details
    assert "exit 7" in caught.value.details


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGINT, InterruptedBuildError),
        (signal.SIGTERM, TerminatedError),
        (signal.SIGHUP, TerminatedError),
    ],
)
def test_a_signal_while_the_engine_creates_leaves_nothing(
    engine: Engine, session: Session, number: int, error: type[Exception]
) -> None:
    engine.during_create = lambda: send(number)
    with pytest.raises(error), signals_as_errors(), session.container(SPEC):
        pytest.fail("the block is not entered")
    assert not engine.boxes
    assert [box.spec.labels[RUN_LABEL] for box in engine.created] == [session.run]


@pytest.mark.usefixtures("handlers")
def test_the_first_signal_counts_and_cleaning_up_is_finished(engine: Engine, session: Session) -> None:
    engine.during_remove = lambda _: send(signal.SIGTERM)
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    other.start()
    try:
        with pytest.raises(InterruptedBuildError), signals_as_errors(), session.container(SPEC):
            send(signal.SIGINT)
    finally:
        ended.set()
        other.join()
    assert not engine.boxes


@pytest.mark.usefixtures("handlers")
def test_a_signal_while_a_container_is_removed_still_ends_the_run(engine: Engine, session: Session) -> None:
    engine.during_remove = lambda _: send(signal.SIGTERM)
    with pytest.raises(TerminatedError), signals_as_errors(), session.container(SPEC):
        pass
    assert not engine.boxes


@pytest.mark.usefixtures("handlers")
def test_signals_after_the_first_are_ignored_until_the_process_exits() -> None:
    with pytest.raises(TerminatedError), signals_as_errors():
        send(signal.SIGTERM)
    for number in SIGNALS:
        send(number)


@pytest.mark.usefixtures("handlers")
def test_without_a_signal_the_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with signals_as_errors():
        pass
    with pytest.raises(EngineError), signals_as_errors():
        raise EngineError("other")
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.usefixtures("handlers")
def test_nohup_is_respected() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals_as_errors():
        send(signal.SIGHUP)


def test_quick_signals_end_in_the_status_of_the_first() -> None:
    script = """
import os, signal, sys, threading, time
from musllinux_build.builds.session import signals_as_errors
from musllinux_build.errors import MusllinuxBuildError

def shoot():
    for _ in range(300):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.001)

try:
    with signals_as_errors():
        threading.Thread(target=shoot).start()
        time.sleep(10)
except MusllinuxBuildError as error:
    time.sleep(0.1)
    sys.exit(error.exit_code)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_what_cannot_be_removed_is_named_and_the_rest_is_removed(engine: Engine) -> None:
    progress = ListProgress()
    session = Session(engine, progress)
    stuck: list[str] = []

    def refuse(container: str) -> None:
        if container in stuck:
            raise DiskFullError("no space left")

    engine.during_remove = refuse

    def work() -> None:
        with session.container(SPEC) as first:
            stuck.append(first)
            raise EngineError("the block's own")

    with pytest.raises(EngineError, match="the block's own"):
        work()
    stray = engine.create(replace(SPEC, labels={RUN_LABEL: session.run}))
    session.close()
    assert list(engine.boxes) == stuck
    assert stray not in engine.boxes
    assert [line for line in progress.lines if stuck[0][:12] in line and "docker rm" in line]


def test_an_engine_that_is_gone_is_no_news_when_nothing_was_left() -> None:
    class Gone(Engine):
        def containers(self, label: str) -> list[str]:
            raise EngineError("gone")

    progress = ListProgress()
    session = Session(Gone(), progress)
    with session.container(SPEC):
        pass
    session.close()
    assert progress.lines == []


def test_what_another_thread_creates_while_the_session_closes_is_removed(engine: Engine, session: Session) -> None:
    creating, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        creating.set()
        go_on.wait(10)

    engine.during_create = slowly
    refused: list[EngineError] = []

    def work() -> None:
        try:
            with session.container(SPEC):
                pytest.fail("the block is not entered")
        except EngineError as error:
            refused.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    assert creating.wait(10)
    session.close()
    go_on.set()
    worker.join()
    assert len(refused) == 1
    assert not engine.boxes
    with session.container(SPEC):  # another target of the same run
        assert len(engine.boxes) == 1


def test_a_session_closed_by_a_signal_creates_nothing_more(engine: Engine, session: Session) -> None:
    with pytest.raises(TerminatedError), closing(session):
        raise TerminatedError("terminated")
    with pytest.raises(EngineError, match="ending"), session.container(SPEC):
        pytest.fail("the block is not entered")
    assert not engine.created


def test_a_part_is_closed_by_itself_and_with_the_whole(engine: Engine, session: Session) -> None:
    part = session.part()
    with session.container(SPEC) as other:
        with part.container(SPEC):
            part.close()
            assert set(engine.boxes) == {other}
        with part.container(SPEC), session.part().container(SPEC):
            session.close()
            assert not engine.boxes
        with part.container(SPEC) as again:
            assert set(engine.boxes) == {again}


def test_what_a_part_is_creating_while_the_whole_is_closed_is_removed(engine: Engine, session: Session) -> None:
    engine.during_create = session.close
    with pytest.raises(EngineError, match="the run is ending"), session.part().container(SPEC):
        raise AssertionError
    assert not engine.boxes


def test_when_a_signal_has_ended_the_whole_no_part_creates_anything(engine: Engine, session: Session) -> None:
    with pytest.raises(TerminatedError), closing(session):
        raise TerminatedError("terminated")
    with pytest.raises(EngineError, match="the run is ending"), session.part().container(SPEC):
        raise AssertionError
    assert not engine.created


def end(session: Session) -> None:
    """As a signal does."""
    with pytest.raises(TerminatedError), closing(session):
        raise TerminatedError("terminated")


def test_another_run_s_volume_is_not_waited_for_when_a_signal_has_ended_this_one(
    engine: Engine, session: Session
) -> None:
    others = {FILL_LABEL: "1000-other"}
    engine.volume("compilers", others)
    wanted = DataVolume(
        what="toolchain", name="compilers", image="stock:fake", platform="x", mount="/x", command=[], expected=[]
    )
    times = iter([1001.0, 1061.0, 1061.0])
    with pytest.raises(EngineError, match="the run is ending"):
        ensure_volume(session, wanted, clock=Clock(now=lambda: next(times), pause=lambda _: end(session)))
    assert engine.volume_labels("compilers") == others


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Path]:
    """A file that is being opened until the end of the test, as an address that does not answer."""
    path = tmp_path / "silent"
    os.mkfifo(path)
    yield path
    os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))


def ended_in_a_thread(session: Session, fetch: Callable[[], Path], begun: Callable[[], bool]) -> None:
    pool = ThreadPoolExecutor()
    fetching = pool.submit(fetch)
    pool.shutdown(wait=False)
    for _ in range(1000):
        if begun():
            break
        threading.Event().wait(0.01)
    assert not fetching.done()
    end(session)
    with pytest.raises(EngineError, match="the run is ending"):
        fetching.result(10)


def test_a_download_is_not_waited_for_when_a_signal_has_ended_the_run(
    session: Session, tmp_path: Path, silent: Path
) -> None:
    fetch = HostFetch(cache=tmp_path / "cache", go_on=session.go_on)
    row = SourceRow(name="x", version="1", filename="x.tgz", urls=(silent.as_uri(),), sha256="0" * 64, size=1)
    ended_in_a_thread(session, lambda: fetch.source(row, tmp_path / "x"), (tmp_path / "cache").exists)
    with pytest.raises(FetchError, match="cannot fetch"):  # the main thread has a signal of its own
        fetch.source(replace(row, urls=()), tmp_path / "x")


def test_pip_is_ended_when_a_signal_has_ended_the_run(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python, word = tmp_path / "python", tmp_path / "word"
    python.write_text(f"#!/bin/sh\necho $$ > {word}.new\nmv {word}.new {word}\nexec sleep 100\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    fetch = HostFetch(cache=tmp_path / "cache", go_on=session.go_on)
    row = WheelRow(group="g", name="x", version="1", filename="x-1-py3-none-any.whl", sha256="0" * 64)
    ended_in_a_thread(session, lambda: fetch.wheel(row, tmp_path, ()), word.exists)
    with pytest.raises(ProcessLookupError):
        os.killpg(int(word.read_text()), 0)


def test_what_goes_on_is_fetched_in_any_thread(session: Session, tmp_path: Path) -> None:
    fetch = HostFetch(cache=tmp_path / "cache", go_on=session.go_on)
    (tmp_path / "there").write_bytes(b"x")
    address = (tmp_path / "there").as_uri()
    with ThreadPoolExecutor() as pool:
        assert pool.submit(fetch.unpinned, address).result() == fetch.unpinned(address) == b"x"


def test_endless_output_fills_no_disk_and_its_end_is_kept(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", "build", most=1000)
    log.begin(STEP)
    write = log.writer(None)
    for number in range(4 * LOG_END_BYTES // 1024):
        write(f"{number:<1023}\n".encode())
    write(b"error: the end\n")
    assert log.tail(log.started, 1) == "error: the end"
    assert log.place(log.started).endswith(f":{len((tmp_path / 'log').read_bytes().splitlines())}")
    log.close()
    content = (tmp_path / "log").read_bytes()
    assert content.count(b" bytes are left out here]") == 1
    assert len(content) < 2 * LOG_END_BYTES + 3000
    assert content.startswith(b"\n$ make\n0 ")


def test_an_endless_line_is_echoed_in_no_more_memory(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", "build")
    told: list[str] = []
    write = log.writer(told.append)
    for _ in range(3):
        write(bytes(LOG_END_BYTES))
    write(b"\n")
    assert [len(line) for line in told] == [LOG_END_BYTES]
    log.close()
