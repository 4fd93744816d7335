"""The lab's packages in stock roots of Alpine: installed by apk, run where they will run."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.policy import Policy

LAB = os.environ.get("MUSLLINUX_BUILD_OFFLINE")
PACKAGES: tuple[str, ...] = (
    "bash",
    "make",
    "gcc",
    "g++",
    "zlib-dev",
    "git",
    "curl",
    "tar",
    "patch",
    "pkgconf",
    "file",
    "unzip",
    "m4",
)
PACKAGES += ("libtool", "bison", "ca-certificates")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(LAB is None, reason="there is no lab"),
    pytest.mark.skipif(os.geteuid() != 0, reason="chroot is root's"),
]

COMPILED = r"""
cd /tmp
cat > a.c <<'X'
#include <stdio.h>
#include <zlib.h>
int main(void) { return printf("%s\n", zlibVersion()) < 0; }
X
cat > a.cc <<'X'
#include <iostream>
#include <stdexcept>
#include <thread>
#include <vector>
int main() {
    try { throw std::runtime_error("caught"); } catch (const std::exception &e) { std::cout << e.what() << std::endl; }
    int found = 1;
    std::thread other([&] { try { (void)std::vector<int>().at(5); } catch (const std::out_of_range &) { found = 0; } });
    other.join();
    return found;
}
X
gcc -O2 a.c $(pkg-config --libs zlib) -o a && ./a
g++ -O2 a.cc -o aa && ./aa
gcc -dumpmachine
ar rcs liba.a a.c && ranlib liba.a && file aa
scanelf -qn a aa
"""

COMMANDS = r"""
cd /tmp && mkdir tree && cd tree
git init -q . && echo one > file && git add file
git -c user.name=a -c user.email=a@example.com commit -qm first
git clone -q . ../clone && git -C ../clone log --oneline
printf -- '--- file\n+++ file\n@@ -1 +1 @@\n-one\n+two\n' | patch -p0 && grep two file
tar --version | grep 'GNU tar' && tar --no-same-owner -cf - file | tar -tf -
curl --version | grep -w https
echo 'define(x, expanded)x' | m4
printf '%%token A\n%%%%\ns: A;\n%%%%\n' > p.y && bison p.y && test -s p.tab.c
unzip -v | head -n 1
libtoolize --version | head -n 1
make --version | head -n 1
bash -c 'echo "$BASH_VERSION"'
update-ca-certificates && grep -c BEGIN /etc/ssl/cert.pem
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """An unpacked stock root with the lab's packages in it."""

    path: Path
    arch: Arch

    def sh(self, script: str) -> str:
        """What a script writes there; /proc is mounted for it alone."""
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        inside = f'mount -t proc proc "$1/proc" && exec chroot "$1" /usr/bin/env -i HOME=/root PATH={path} sh -e'
        command = ["unshare", "--mount", "--fork", "sh", "-c", inside, "sh", str(self.path)]
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


CASES = [
    (Policy.MUSLLINUX_1_1, Arch.X86_64),
    (Policy.MUSLLINUX_1_2, Arch.X86_64),
    (Policy.MUSLLINUX_1_2, Arch.AARCH64),
]


@pytest.fixture(
    name="root", params=CASES, ids=[f"{policy.value}_{arch.value}" for policy, arch in CASES], scope="module"
)
def _root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    policy, arch = request.param
    lab, path = Path(str(LAB)), tmp_path_factory.mktemp("root")
    with tarfile.open(lab / "bases" / f"alpine-minirootfs-{policy.row.base}-{arch.row.apk}.tar.gz") as archive:
        archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
        archive.extractall(path)
    branch = f"v{policy.row.base.rpartition('.')[0]}"
    shutil.copytree(lab / "apk" / branch / "main" / arch.row.apk, path / "run" / "main" / arch.row.apk)
    for key in (lab / "apk" / "keys").iterdir():
        shutil.copy(key, path / "etc" / "apk" / "keys")
    for name, minor in (("null", 3), ("urandom", 9)):
        os.mknod(path / "dev" / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    root = Root(path=path, arch=arch)
    root.sh(f"apk add --no-network --repositories-file /dev/null --repository /run/main {' '.join(PACKAGES)}")
    yield root
    shutil.rmtree(path)


def test_c_and_cxx_compile_and_run_with_the_roots_libraries_alone(root: Root) -> None:
    said = root.sh(COMPILED).splitlines()
    assert said[1:3] == ["caught", root.arch.row.triple]
    libc = root.arch.row.libc_soname
    assert said[-2:] == [f"libz.so.1,{libc}  a", f"{libc}  aa"]


def test_the_commands_do_their_work(root: Root) -> None:
    said = root.sh(COMMANDS)
    assert "first" in said
    assert "GNU tar" in said
    assert "expanded" in said
