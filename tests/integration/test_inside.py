"""The tool that an image holds, started in a container of it: no engine, the same verdict, nothing left."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine
from musllinux_build.adapters.host import ca_bundle
from musllinux_build.arch import Arch
from musllinux_build.policy import Policy
from musllinux_build.ports import ContainerSpec
from musllinux_build.report import NOT_PROVEN
from musllinux_build.tarstream import only_file, tar_of
from tests.integration.conftest import Tool
from tests.integration.test_wheels import MARKUPSAFE

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("docker", "no_leftovers")]

REGISTRY = "localhost/inside"
"""A name for images that nothing else uses."""
HOME = "/work"
ARCHS = [Arch.X86_64, pytest.param(Arch.AARCH64, marks=pytest.mark.slow)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """A container of an image of ours, with a project."""

    docker: DockerEngine
    container: str
    arch: Arch
    project: str

    @property
    def only(self) -> str:
        return f"cp313-{Policy.MUSLLINUX_1_2.platform_tag(self.arch)}"

    def shell(self, script: str, **env: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of a script."""
        said = bytearray()
        argv = ["/bin/sh", "-c", f"({script}) 2>{HOME}/err"]
        status = self.docker.run(self.container, argv, env=env, cwd=HOME, on_output=said.extend)
        error = bytearray()
        self.docker.run(self.container, ["cat", f"{HOME}/err"], on_output=error.extend)
        return status, said.decode(), error.decode()

    def tool(self, arguments: str, **env: str) -> tuple[int, str, str]:
        return self.shell(f"musllinux-build {arguments} --ca-bundle {HOME}/ca.pem", **env)

    def files(self, path: str) -> list[str]:
        return self.shell(f"ls -A {path}")[1].split()


@pytest.fixture(scope="module")
def image(tool: Tool, docker: DockerEngine) -> Iterator[Callable[[Arch], str]]:
    """Our image of an architecture, with one Python and the tool as it is here."""
    made: set[str] = set()

    def build(arch: Arch) -> str:
        name = f"{REGISTRY}/{Policy.MUSLLINUX_1_2.platform_tag(arch)}"
        if name not in made:
            which = ("--arch", arch.value, "--policy", "musllinux_1_2", "--python", "3.13")
            built = tool("images", "build", *which, "--registry", REGISTRY)
            assert built.status == 0, built.everything
            made.add(name)
        return name

    yield build
    for name in made:
        docker.remove_image(name)


@pytest.fixture(params=ARCHS, ids=lambda arch: arch.value)
def inside(
    request: pytest.FixtureRequest,
    image: Callable[[Arch], str],
    docker: DockerEngine,
    sdist: Callable[[str], Path],
) -> Iterator[Inside]:
    arch: Arch = request.param
    project = sdist(MARKUPSAFE.requirement)
    files = {project.name: project.read_bytes(), "ca.pem": ca_bundle(None, os.environ)}
    container = docker.create(ContainerSpec(image=image(arch), platform=arch.oci_platform, purpose="test"))
    try:
        docker.run(container, ["mkdir", HOME])
        docker.put(container, HOME, [tar_of(files)])
        yield Inside(docker=docker, container=container, arch=arch, project=project.name)
    finally:
        docker.remove(container)


def verdict(tool: Tool, wheel: Path) -> Any:
    """What the audit says of a wheel."""
    shown = tool("audit", "show", "--json", wheel)
    assert shown.status == 0, shown.everything
    return json.loads(shown.out)


def fetch(inside: Inside, path: str, directory: Path) -> Path:
    """A file of the container."""
    stream = inside.docker.get(inside.container, path)
    assert stream is not None
    content = only_file(b"".join(stream))
    assert content is not None
    directory.mkdir()
    found = directory / posixpath.basename(path)
    found.write_bytes(content)
    return found


def test_the_wheel_has_the_verdict_of_one_built_with_an_engine(
    inside: Inside, tool: Tool, sdist: Callable[[str], Path], tmp_path: Path
) -> None:
    inside.docker.put(inside.container, HOME, [tar_of({"test.py": MARKUPSAFE.test.encode()})])
    status, out, err = inside.tool(
        f"{inside.project} --only {inside.only} --json --output out --test-command 'python {HOME}/test.py'"
    )
    assert status == 0, err
    assert NOT_PROVEN in err
    (row,) = json.loads(out)["wheels"]
    assert (row["id"], row["proven"]) == (inside.only, [])
    assert row["caveat"].endswith(NOT_PROVEN)
    assert inside.files("out") == [posixpath.basename(row["wheel"])]
    assert inside.files("/tmp") == []
    ours = fetch(inside, row["wheel"], tmp_path / "ours")
    theirs = tmp_path / "theirs"
    options = ("--only", inside.only, "--registry", REGISTRY, "--pull", "never", "--output", theirs)
    built = tool(sdist(MARKUPSAFE.requirement), *options)
    assert built.status == 0, built.everything
    assert verdict(tool, ours) == verdict(tool, theirs / ours.name)


def test_what_is_said_is_true_there(inside: Inside) -> None:
    status, out, err = inside.tool("doctor --json")
    assert status == 0, out + err
    checks = {item["name"]: item for item in json.loads(out)["checks"]}
    assert Policy.MUSLLINUX_1_2.platform_tag(inside.arch) in checks["inside"]["found"]
    assert Policy.MUSLLINUX_1_2.row.musl_package in checks["inside"]["found"]
    assert {item["state"] for item in checks.values()} == {"ok"}
    status, out, _ = inside.shell(f"musllinux-build {inside.project} --dry-run")
    assert (status, out.split()) == (0, [inside.only])
    status, _, err = inside.shell(f"musllinux-build {inside.project} --arch s390x")
    assert status == 2
    assert "which builds for itself alone, not for s390x" in err
    status, _, err = inside.shell(f"musllinux-build {inside.project} --no-inside")
    assert status == 2
    assert "An image's own copy" in err


def test_a_killed_build_leaves_nothing(inside: Inside) -> None:
    # When the log says what the build runs, it runs.
    script = f"""
    musllinux-build {inside.project} --only {inside.only} --output out --ca-bundle {HOME}/ca.pem &
    until grep -qs 'build --wheel' $HOME/.cache/musllinux-build/logs/*/cp313*.log; do sleep 0.1; done
    sleep 1; kill -TERM $!; wait $!; status=$?; ls -A /tmp out; ps -o args | grep -c '[p]ython.*build --wheel'
    exit $status"""
    status, out, err = inside.shell(script)
    assert status == 143, out + err
    assert out.split() == ["/tmp:", "out:", "0"]


def test_before_all_changes_the_container_and_a_build_does_not_change_the_project(inside: Inside) -> None:
    unpack = f"tar -xzf {inside.project} && mv markupsafe-*/ tree && find tree -type f | sort | xargs cat | sha256sum"
    status, before, _ = inside.shell(unpack)
    assert status == 0
    options = f"--only {inside.only} --output out --no-verify"
    status, _, err = inside.tool(
        f"tree {options} --before-all 'touch /marked; touch here' --before-build 'touch there'"
    )
    assert status == 0, err
    assert inside.shell("ls /marked")[0] == 0
    after = inside.shell("find tree -type f | sort | xargs cat | sha256sum; ls tree | grep -c -E '^(t?here|build)$'")[1]
    assert after.split("\n")[:2] == [before.strip(), "0"]
