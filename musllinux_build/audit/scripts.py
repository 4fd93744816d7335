"""Programs of ``.data/scripts`` that need grafted libraries.

Installers put scripts at no fixed distance from site-packages (``--user``, ``--target``, ``--prefix``, Debian's
``dist-packages``), so ``$ORIGIN`` leads from there to no graft. The program goes into site-packages, beside its
libraries, and a small script takes its place, finds it and becomes it.
"""

from __future__ import annotations

import posixpath

SHIM = '''\
#!python
"""Starts a program that is installed in site-packages, beside its libraries; written by musllinux-build."""
import os
import sys
import sysconfig

DISTRIBUTION = {distribution!r}
PROGRAM = {parts!r}


def _places():
    for script in (os.path.realpath(__file__), os.path.abspath(__file__)):
        binaries = os.path.dirname(script)
        prefix = os.path.dirname(binaries)
        yield prefix  # pip install --target
        bases = dict.fromkeys(("base", "platbase", "installed_base", "installed_platbase", "userbase"), prefix)
        for scheme in (name for name in sysconfig.get_scheme_names() if not name.startswith("nt")):
            for key in ("platlib", "purelib"):
                yield sysconfig.get_path(key, scheme, vars=bases)
    try:
        from importlib.metadata import distribution
        yield str(distribution(DISTRIBUTION).locate_file(""))
    except Exception:
        pass  # not on this interpreter's path
    yield sysconfig.get_path("platlib")
    yield sysconfig.get_path("purelib")
    yield from sys.path


def _main():
    for place in _places():
        program = os.path.join(place, *PROGRAM)
        if os.path.isfile(program):
            os.execv(program, sys.argv)
    sys.exit("{{}}: {{}} of {{}} is not there".format(sys.argv[0], os.path.join(*PROGRAM), DISTRIBUTION))


if __name__ == "__main__":
    _main()
'''


def shim(distribution: str, target: str) -> bytes:
    """The script that becomes the program at ``target``, a path below site-packages."""
    return SHIM.format(distribution=distribution, parts=tuple(target.split("/"))).encode()


def is_script(member: str, data_dir: str) -> bool:
    """Whether ``member`` is installed as a command."""
    return posixpath.dirname(member) == f"{data_dir}/scripts"


def new_place(member: str, distribution: str) -> str:
    """Where the program ``member`` goes: ``{distribution}.scripts/tool``."""
    return f"{distribution}.scripts/{posixpath.basename(member)}"
