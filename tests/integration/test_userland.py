"""The native userland on a real engine, in a container of another architecture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine
from musllinux_build.adapters.host_fetch import HostFetch
from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session
from musllinux_build.cli.options import cache_directory
from musllinux_build.cli.wiring import make_supply
from musllinux_build.config import Config
from musllinux_build.images.supplies import Supplies
from musllinux_build.policy import Policy
from musllinux_build.ports import ContainerSpec
from musllinux_build.userland import KEPT_SHELL, USERLAND_MOUNT, Userland, enter, leave, path_with_userland
from tests.fakes import ListProgress

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ARCH = Arch.AARCH64
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOOP = "for i in 1 2 3 4 5 6 7 8 9 0; do echo x | sed s/x/y/ | grep y >/dev/null; expr 1 + $i; cat /dev/null; done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A foreign container that scripts run in."""

    session: Session
    container: str
    userland: Userland

    def sh(self, script: str, path: str = path_with_userland(PATH)) -> str:
        """The output of a script that must succeed."""
        said = bytearray()
        argv = ["/bin/sh", "-ec", script]
        status = self.session.engine.run(self.container, argv, env={"PATH": path}, on_output=said.extend)
        assert status == 0, said.decode()
        return said.decode()


@pytest.fixture(scope="module")
def userland(docker: DockerEngine, offline: Path | None) -> Userland:
    cache = cache_directory()
    supplies = Supplies.chosen(offline=offline, fetch=HostFetch(cache=cache / "downloads"))
    supply = make_supply(Session(docker, ListProgress()), Config(), supplies, cache)
    assert supply.userland is not None
    return supply.userland(Policy.MUSLLINUX_1_2)


@pytest.fixture
def shop(docker: DockerEngine, images: Mapping[str, str], userland: Userland) -> Iterator[Shop]:
    session = Session(docker, ListProgress())
    spec = ContainerSpec(
        image=images[f"musllinux_1_2_{ARCH.value}"],
        platform=ARCH.oci_platform,
        purpose="test",
        volumes={userland.volume: USERLAND_MOUNT},
        network=False,
    )
    with session.container(spec) as container:
        enter(docker, container, userland)
        yield Shop(session=session, container=container, userland=userland)


def test_it_answers_as_the_container_s_architecture(shop: Shop) -> None:
    assert shop.sh("uname -m; arch") == "aarch64\naarch64\n"
    assert shop.sh("sh -c 'uname -m'; make -f - <<'X'\nall:\n\t@uname -m\nX") == "aarch64\naarch64\n"
    assert shop.sh("sed --version 2>&1 | head -n 1") == "This is not GNU sed version 4.0\n"


def test_programs_are_the_image_s_own(shop: Shop) -> None:
    # GNU tar is installed in the image, and its twin is what runs.
    assert shop.sh("tar --version | head -n 1").startswith("tar (GNU tar) ")
    assert shop.sh("make --version | head -n 1").startswith("GNU Make ")
    # What somebody installs takes the place of busybox at once, though nothing is native about it.
    shop.sh("printf '#!/bin/sh\\necho mine\\n' >/usr/local/bin/sed; chmod +x /usr/local/bin/sed")
    assert shop.sh("sed") == "mine\n"
    shop.sh("rm /usr/local/bin/sed /usr/bin/awk")
    assert shop.sh("awk 2>&1 || echo $?") == "awk: not found\n127\n"


def test_a_link_of_the_project_means_what_it_leads_to(shop: Shop) -> None:
    shop.sh("mkdir /l; cd /l; ln -s $(command -v make) gmake; ln -s gmake hmake; ln -s $(command -v sed) sed")
    for command in ("PATH=$PATH:/l; gmake", "PATH=/l:$PATH; hmake", "/l/gmake", "cd /l; ./hmake"):
        assert shop.sh(f"{command} --version").startswith("GNU Make "), command
    assert shop.sh("PATH=/l:$PATH; echo x | sed s/x/y/; echo x | /l/sed s/x/z/") == "y\nz\n"
    # The image's busybox knows no gsed either.
    assert "applet not found" in shop.sh("cd /l; ln -s $(command -v sed) gsed; ./gsed 2>&1 || true")
    shop.sh("rm -r /l")


def test_a_script_without_its_first_line_is_the_shell_s(shop: Shop) -> None:
    shop.sh("printf 'echo mine \"$@\"; exit 3\n' >/usr/local/bin/sed; chmod +x /usr/local/bin/sed")
    assert shop.sh("env sed a 'b c' || echo $?") == "mine a b c\n3\n"
    shop.sh("rm /usr/local/bin/sed")


def test_links_and_files_are_made_as_before(shop: Shop) -> None:
    shop.sh("mkdir /t; cd /t; echo a >a; ln -s a b; chmod 600 a; cp -a b c; find . -type l | sort | xargs ls -d >d")
    assert shop.sh("cd /t; cat d; stat -c %a a; readlink c") == "./b\n./c\n600\na\n"
    shop.sh("rm -r /t")


def test_a_script_is_native(shop: Shop) -> None:
    """Emulated, a loop takes 20 times as long; four is what it must at least be."""

    def seconds(path: str, shell: str) -> float:
        said = shop.sh(f"time {shell} -c '{LOOP}' 2>&1", path)
        found = re.search(r"real\s+(\d+)m\s*([\d.]+)s", said)
        assert found, said
        return int(found[1]) * 60 + float(found[2])

    assert seconds(path_with_userland(PATH), "/bin/sh") * 4 < seconds(PATH, "/bin/busybox sh")


def test_nothing_is_left(shop: Shop) -> None:
    engine = shop.session.engine
    leave(shop.session, shop.container, shop.userland)
    shell = engine.stat(shop.container, "/bin/sh")
    assert shell is not None
    assert shell.link_target == "/bin/busybox"
    assert engine.stat(shop.container, shop.userland.loader) is None
    assert engine.stat(shop.container, KEPT_SHELL) is None
    assert shop.sh("uname -m", PATH) == "aarch64\n"
    leave(shop.session, shop.container, shop.userland)
    assert shop.sh("uname -m", PATH) == "aarch64\n"
