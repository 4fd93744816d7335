"""Which engine is meant, whether it is one we can use, and what is said when it is not."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from musllinux_build.adapters import docker_sdk
from musllinux_build.adapters.addressed import endpoint_at
from musllinux_build.adapters.docker_json import DEFAULT_SOCKET, Endpoint, no_answer, require_new_enough
from musllinux_build.adapters.docker_sdk import ask, connect, find_endpoint
from musllinux_build.arch import Arch
from musllinux_build.engines import Address
from musllinux_build.errors import EngineError
from tests.fakes import answering

VERSION = {"ApiVersion": "1.45", "Version": "26.1", "Arch": "amd64", "Platform": {"Name": "Test Engine"}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's own configuration, empty."""
    directory = tmp_path / "docker"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONFIG", str(directory))
    monkeypatch.setenv("HOME", str(tmp_path))
    return directory


def add_context(home: Path, name: str, host: str) -> None:
    directory = home / "contexts" / "meta" / sha256(name.encode()).hexdigest()
    directory.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    (directory / "meta.json").write_text(json.dumps(meta))


@pytest.mark.usefixtures("home")
def test_without_any_word_it_is_the_default_socket() -> None:
    assert find_endpoint({}) == Endpoint(url=DEFAULT_SOCKET)
    assert find_endpoint({}).default


def test_docker_host_wins_over_contexts(home: Path) -> None:
    add_context(home, "far", "tcp://far.example:2375")
    found = find_endpoint({"DOCKER_HOST": "tcp://near.example:2375", "DOCKER_CONTEXT": "far"})
    assert str(found) == "tcp://near.example:2375 (DOCKER_HOST)"
    assert not found.local


@pytest.mark.usefixtures("home")
def test_a_context_that_an_engine_setting_names_may_have_been_meant_as_an_address() -> None:
    with pytest.raises(EngineError, match="no docker context far, which an engine setting names") as caught:
        endpoint_at(Address(context="far"))
    assert "or an address: unix://, tcp://, ssh://, podman" in caught.value.resolution
    with pytest.raises(EngineError, match="no docker context far, which DOCKER_CONTEXT names") as caught:
        find_endpoint({"DOCKER_CONTEXT": "far"})
    assert "unix://" not in caught.value.resolution


def test_the_named_context_wins_over_the_current_one(home: Path) -> None:
    add_context(home, "far", "tcp://far.example:2375")
    add_context(home, "here", "unix:///run/user/1000/docker.sock")
    (home / "config.json").write_text(json.dumps({"currentContext": "far"}))
    assert str(find_endpoint({})) == "tcp://far.example:2375 (docker context far)"
    named = find_endpoint({"DOCKER_CONTEXT": "here"})
    assert str(named) == "unix:///run/user/1000/docker.sock (DOCKER_CONTEXT here)"
    assert (named.local, named.default) == (True, False)
    assert find_endpoint({"DOCKER_CONTEXT": "default"}).default


def test_a_context_brings_its_certificates(home: Path) -> None:
    add_context(home, "far", "tcp://far.example:2376")
    directory = home / "contexts" / "tls" / sha256(b"far").hexdigest() / "docker"
    directory.mkdir(parents=True)
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (directory / name).write_text("")
    tls = find_endpoint({"DOCKER_CONTEXT": "far"}).tls
    assert tls.ca_cert == str(directory / "ca.pem")


@pytest.mark.parametrize("name", ["DOCKER_CONTEXT", "currentContext"])
def test_a_context_that_is_not_there_is_an_error(home: Path, name: str) -> None:
    environment = {}
    if name == "DOCKER_CONTEXT":
        environment[name] = "gone"
    else:
        (home / "config.json").write_text(json.dumps({name: "gone"}))
    with pytest.raises(EngineError, match="no docker context gone"):
        find_endpoint(environment)


def test_a_context_that_cannot_be_read_is_an_error(home: Path) -> None:
    add_context(home, "broken", "tcp://far.example:2375")
    (meta,) = home.glob("contexts/meta/*/meta.json")
    meta.write_text("{")
    with pytest.raises(EngineError, match="docker context broken cannot be read"):
        find_endpoint({"DOCKER_CONTEXT": "broken"})


@pytest.mark.parametrize("url", ["unix:///run/docker.sock", "unix://var/run/docker.sock", DEFAULT_SOCKET])
def test_one_socket_has_several_names(url: str) -> None:
    assert Endpoint(url=url).default


def test_an_engine_says_what_it_is_and_where(tmp_path: Path, home: Path) -> None:
    with answering(tmp_path / "socket", VERSION) as url:
        add_context(home, "test", url)
        engine = connect(environment={"DOCKER_CONTEXT": "test"})
        found = engine.info()
        engine._api.close()
    assert (found.name, found.version, found.api, found.arch) == ("Test Engine", "26.1", (1, 45), Arch.X86_64)
    assert str(engine.endpoint) == f"{url} (DOCKER_CONTEXT test)"
    assert engine._api.timeout == docker_sdk.TIMEOUT_SECONDS


@pytest.mark.parametrize("api", ["1.40", "1.12"])
def test_an_old_engine_answers_and_is_refused(tmp_path: Path, api: str) -> None:
    with answering(tmp_path / "socket", {**VERSION, "ApiVersion": api}) as url:
        found = ask(Endpoint(url=url))
        with pytest.raises(EngineError, match="too old"):
            connect(url)
    with pytest.raises(EngineError, match="too old"):
        require_new_enough(found)


def test_something_else_that_answers_is_no_engine(tmp_path: Path) -> None:
    with answering(tmp_path / "socket", {"message": "hello"}) as url, pytest.raises(EngineError, match="no container"):
        connect(url)


def test_no_engine_names_the_address_and_who_gave_it(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        connect(environment={"DOCKER_HOST": f"unix://{tmp_path}/none"})
    assert f"unix://{tmp_path}/none (DOCKER_HOST)" in caught.value.brief
    assert "unset DOCKER_HOST" in caught.value.resolution


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Takes connections and says nothing, to a client that does not wait long."""
    monkeypatch.setattr(docker_sdk, "ANSWER_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        yield f"unix://{tmp_path}/socket"


def test_an_engine_that_hangs_is_given_up(silent: str) -> None:
    started = time.monotonic()
    with pytest.raises(EngineError, match="no container engine answers"):
        connect(silent)
    assert time.monotonic() - started < 5


def test_a_socket_that_is_not_ours_has_its_own_remedy() -> None:
    error = RuntimeError("Connection aborted.")
    error.__context__ = PermissionError(13, "Permission denied")
    found = no_answer(Endpoint(url=DEFAULT_SOCKET), error)
    assert "may not use" in found.brief
    assert "usermod -aG docker" in found.resolution


def test_no_engine_behind_ssh_has_its_own_remedy() -> None:
    found = no_answer(Endpoint(url="ssh://user@host.example"), RuntimeError("Connection aborted."))
    assert found.brief == "ssh logs in, and no container engine answers at ssh://user@host.example"
    assert "group docker" in found.resolution


def test_the_default_socket_is_mended_by_the_doctor() -> None:
    found = no_answer(Endpoint(url=DEFAULT_SOCKET), ConnectionRefusedError("refused"))
    assert found.resolution.startswith("Start Docker")
    assert "doctor --fix" in found.resolution
