"""Makes what an image has besides packages and interpreters: ``install_tools.py X.Y.Z``, into ``/out``.

Runs under the build python of the interpreter that the tools will run on, so that their byte code is its own. Wheels
lie in ``/tools``, the tool's own files in ``/tool``, what the recipe wrote for this image in ``/contents``.
"""
# ruff: noqa: INP001 - a program of the builder

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import sys
import zipfile
from pathlib import Path

OUT = Path("/out")
HOME = "/opt/_internal/musllinux-build"
SITE = f"{HOME}/site"
ELF = b"\x7fELF"
COMMANDS = {
    "musllinux-build": "musllinux_build.cli.main:run",
    "auditwheel": "musllinux_build_auditwheel.main:run",
    "pipx": "pipx.__main__:cli",
    "abi3audit": "abi3audit._cli:main",
}
"""Command to entry point; a command whose wheel is not among the image's is left out."""
PIPX_PLACES = """import os
if os.geteuid() == 0:
    os.environ.setdefault("PIPX_HOME", "/opt/_internal/pipx")
    os.environ.setdefault("PIPX_BIN_DIR", "/usr/local/bin")
"""
# Isolated, without the interpreter's site-packages: what users install there does not reach the tools. No second
# process, as a shell's wrapper would be: under an emulator each costs.
COMMAND = """#!{python} -ISB
import sys
sys.path.insert(0, "{site}")
{places}from {module} import {function}
if __name__ == "__main__":
    sys.exit({function}())
"""
GIT = """[safe]
\tdirectory = *
"""


def put(path: str, text: str, mode: int = 0o644) -> None:
    """A file of the image."""
    target = OUT / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    target.chmod(mode)


def link(path: str, target: str) -> None:
    """A symbolic link of the image."""
    place = OUT / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def unpack_wheels(site: Path) -> None:
    """Modules of pure wheels into ``site``; of a wheel of programs just the programs (PEP 427, ``.data/scripts``)."""
    commands = OUT / "usr/local/bin"
    commands.mkdir(parents=True, exist_ok=True)
    for wheel in sorted(Path("/tools").glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            data = {name for name in archive.namelist() if name.split("/")[0].endswith(".data")}
            programs = [name for name in data if name.split("/")[1] == "scripts" and archive.read(name)[:4] == ELF]
            for name in sorted(programs):
                target = commands / name.rsplit("/", 1)[1]
                target.write_bytes(archive.read(name))
                target.chmod(0o755)
            if not programs:
                archive.extractall(site, sorted({*archive.namelist()} - data))


def write_commands(site: Path, python: str) -> None:
    """The commands that run on ``python``."""
    for name, entry in COMMANDS.items():
        module, _, function = entry.partition(":")
        if (site / module.split(".")[0]).is_dir():
            places = PIPX_PLACES if name == "pipx" else ""
            text = COMMAND.format(python=python, site=SITE, places=places, module=module, function=function)
            put(f"/usr/local/bin/{name}", text, 0o755)


def main() -> None:
    """Everything, in order."""
    version = sys.argv[1]
    if version.split(".")[:2] != [str(part) for part in sys.version_info[:2]]:
        raise SystemExit(f"byte code for {version} cannot be made by {sys.version}")
    site = OUT / SITE.lstrip("/")
    site.mkdir(parents=True)
    unpack_wheels(site)
    shutil.copytree("/tool", site, dirs_exist_ok=True)
    shutil.copytree("/contents", OUT / HOME.lstrip("/"), dirs_exist_ok=True)
    for directory, names, files in os.walk(site):
        Path(directory).chmod(0o755)
        names.sort()
        for name in files:
            (Path(directory) / name).chmod(0o644)
    if not compileall.compile_dir(
        str(site), quiet=1, stripdir="/out", invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    ):
        raise SystemExit("some modules do not compile")
    if not any(site.rglob("*.pyc")):
        raise SystemExit("byte code went elsewhere")
    write_commands(site, f"/opt/_internal/cpython-{version}/bin/python{'.'.join(version.split('.')[:2])}")
    put("/usr/local/bin/manylinux-interpreters", Path("/scripts/manylinux-interpreters").read_text("utf-8"), 0o755)
    link("/usr/local/bin/musllinux-interpreters", "manylinux-interpreters")
    link("/usr/local/bin/musllinux-entrypoint", "manylinux-entrypoint")
    link("/opt/_internal/certs.pem", "musllinux-build/site/certifi/cacert.pem")
    if "BEGIN CERTIFICATE" not in (site / "certifi/cacert.pem").read_text("utf-8"):
        raise SystemExit("there are no certificates")
    # A project is mounted or copied with the owner it has outside, and whoever builds here is root (git 2.35.2).
    put("/etc/gitconfig", GIT)
    put("/etc/default/useradd", "SHELL=/bin/bash\n")


if __name__ == "__main__":
    main()
