"""The registry client against a server that asks for what registries ask for."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import stored_credentials
from musllinux_build.adapters.registry import HttpRegistry
from musllinux_build.errors import RegistryError

BASIC = f"Basic {b64encode(b'user:secret').decode()}"


class Handler(BaseHTTPRequestHandler):
    """Tokens are per repository; ``/basic/…`` repositories want basic credentials."""

    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass

    def do_GET(self) -> None:
        if self.path.startswith("/token"):
            known = self.headers.get("Authorization") == BASIC
            scope = self.path.partition("scope=")[2].partition("&")[0]
            self.answer(200 if known else 401, json.dumps({"token": scope}).encode())
            return
        repository = self.path.removeprefix("/v2/").rpartition("/manifests/")[0]
        if repository.startswith("basic/"):
            asked, right = 'Basic realm="x"', BASIC
        else:
            scope = f"repository:{repository}:pull,push"
            realm = f"http://127.0.0.1:{self.server.server_port}/token"
            asked = f'Bearer realm="{realm}",service="s",scope="{scope}"'
            right = f"Bearer {scope.replace(':', '%3A').replace('/', '%2F').replace(',', '%2C')}"
        if self.headers.get("Authorization") != right:
            self.answer(401, b"", {"WWW-Authenticate": asked})
            return
        self.answer(self.server.status, b"the manifest")

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.server.answers.append(status)
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    status = 200
    answers: list[int]


@contextmanager
def serving(status: int = 200) -> Iterator[tuple[str, list[int]]]:
    server = Server(("127.0.0.1", 0), Handler)
    server.status, server.answers = status, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", server.answers
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_token_is_asked_for_once_for_each_repository() -> None:
    with serving() as (host, answers):
        registry = HttpRegistry(lambda _: ("user", "secret"), plain=True)
        for repository in ("one/a", "one/a", "one/b"):
            assert registry.manifest(f"{host}/{repository}", "latest") == b"the manifest"
    assert answers == [401, 200, 200, 200, 401, 200, 200]


def test_basic_credentials_are_given_where_they_are_asked_for() -> None:
    with serving() as (host, _):
        registry = HttpRegistry(lambda _: ("user", "secret"), plain=True)
        assert registry.manifest(f"{host}/basic/a", "latest") == b"the manifest"


@pytest.mark.parametrize("repository", ["one/a", "basic/a"])
def test_without_credentials_it_says_how_to_log_in(repository: str) -> None:
    with serving() as (host, _):
        registry = HttpRegistry(lambda _: None, plain=True)
        with pytest.raises(RegistryError) as caught:
            registry.manifest(f"{host}/{repository}", "latest")
    assert caught.value.resolution == f"Log in first: docker login {host}"
    assert not caught.value.transient


@pytest.mark.parametrize(("status", "transient"), [(500, True), (503, True), (429, True), (400, False), (403, False)])
def test_only_what_may_pass_is_transient(status: int, transient: bool) -> None:
    with serving(status) as (host, _):
        registry = HttpRegistry(lambda _: ("user", "secret"), plain=True)
        with pytest.raises(RegistryError) as caught:
            registry.manifest(f"{host}/basic/a", "latest")
    assert caught.value.transient is transient


def test_credentials_are_those_that_docker_login_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    auth = b64encode(b"user:secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"registry.example": {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert stored_credentials("registry.example") == ("user", "secret")
    assert stored_credentials("other.example") is None
