"""Turns an installed interpreter into a shipped one: ``finish_cpython.py /out/opt/_internal/cpython-X.Y.Z``.

Runs under the build python of the same release. Removes what a wheel build never reads (test suites, the static
library, byte code of the install rule), takes the builder's paths out of what sysconfig reports, unpacks the pinned
wheels, compiles byte code, makes the names clients rely on, and refuses an interpreter that would not load.
"""
# ruff: noqa: INP001 - a program of the builder

from __future__ import annotations

import compileall
import configparser
import json
import multiprocessing
import os
import pprint
import py_compile
import re
import runpy
import shlex
import shutil
import sys
import sysconfig
import zipfile
from pathlib import Path

WHEELS = Path("/wheels")
SHARDS = 8
BUILDER_PATHS = ("/opt/build-python", "/opt/musllinux-build", "/sysroot")
BUILDER_ARGUMENTS = ("--with-openssl=", "--with-build-python=", "LIBREADLINE_", "PKG_CONFIG", "CONFIG_SITE")
CLANG_FLAGS = ("-mno-thumb", "-mno-omit-leaf-frame-pointer")
"""What configure asks the compiler for since 3.15 and a gcc for 32-bit ARM refuses."""
THREADS = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
MINOR = "{}.{}".format(*sys.version_info[:2])
VERSION = f"{MINOR}{THREADS}"
"""What commands and directories are called after: 3.14t."""
ENTRY_POINT = """#!{python}
import sys
from {module} import {function}
if __name__ == "__main__":
    sys.exit({function}())
"""


def remove_unshipped(root: Path) -> None:
    """Test suites and libpython.a go: both are large, and an extension must not link the latter."""
    library = root / "lib" / f"python{VERSION}"
    for name in (
        "test",
        "idlelib/idle_test",
        "lib2to3/tests",
        "distutils/tests",
        "unittest/test",
        "ctypes/test",
        "sqlite3/test",
        "tkinter/test",
    ):
        shutil.rmtree(library / name, ignore_errors=True)
    for cache in list(root.rglob("__pycache__")):
        shutil.rmtree(cache)
    for archive in list(root.rglob("libpython*.a")):
        archive.unlink()
    shutil.rmtree(root / "share", ignore_errors=True)


def without_builder(value: str) -> str:
    """``value`` without options and paths that exist in the builder alone."""
    value = re.sub(r"-[IL](/sysroot|/opt/build-python)\S*", "", value)
    if os.environ["TARGET_ARCH"] == "armv7l":
        value = re.sub(rf"(?<!\S)({'|'.join(CLANG_FLAGS)})(?!\S)", "", value)
    return re.sub(r"/opt/build-python/bin/python[\d.]*t?", f"python{VERSION}", value)


def shipped_arguments(value: str) -> str:
    """Configure's arguments without those that say where the builder keeps its libraries."""
    kept = (argument for argument in shlex.split(value) if not argument.startswith(BUILDER_ARGUMENTS))
    return " ".join(f"'{argument}'" for argument in kept)


def shipped_value(key: str, value: object) -> object:
    """A variable as users are to see it."""
    if not isinstance(value, str):
        return value
    return shipped_arguments(value) if key == "CONFIG_ARGS" else without_builder(value).strip()


def shipped_line(line: str) -> str:
    """A line of the Makefile as users are to see it."""
    key, equals, value = line.partition("=")
    return f"{key}=\t{shipped_arguments(value)}" if equals and key.strip() == "CONFIG_ARGS" else without_builder(line)


def scrub(root: Path) -> None:
    """Sysconfig's data, its Makefile and JSON say nothing of the builder; CC and CXX are plain names."""
    library = root / "lib" / f"python{VERSION}"
    for data in library.glob("_sysconfigdata_*.py"):
        found = runpy.run_path(str(data))["build_time_vars"]
        clean = {key: shipped_value(key, value) for key, value in found.items()}
        # Since 3.15 the stack of an extension's threads is the linker's matter (cpython#149993).
        stack = " -Wl,-z,stack-size=1048576" if sys.version_info >= (3, 15) else ""
        for key, wanted in (("CC", "gcc"), ("CXX", "g++"), ("LDSHARED", f"gcc -shared{stack}")):
            if clean[key] != wanted:
                raise SystemExit(f"sysconfig's {key} is {clean[key]!r}, not {wanted!r}")
        header = "# system configuration generated and used by the sysconfig module\nbuild_time_vars = "
        data.write_text(f"{header}{pprint.pformat(clean, width=120)}\n")
    # Since 3.14 the same once more (cpython#127178).
    for data in library.glob("_sysconfig_vars_*.json"):
        found = json.loads(data.read_text())
        clean = {key: shipped_value(key, value) for key, value in found.items()}
        data.write_text(f"{json.dumps(clean, indent=2)}\n")
    for makefile in library.glob("config-*/Makefile"):
        makefile.write_text("".join(f"{shipped_line(line)}\n" for line in makefile.read_text().splitlines()))
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            for word in BUILDER_PATHS:
                if re.search(rb"(?<![\w.])" + word.encode() + rb"(?=[/'\"\s])", content):
                    raise SystemExit(f"{path} still names {word}")


def install_wheels(root: Path) -> None:
    """Pure wheels unpacked as an installer would (PEP 427), with their console scripts."""
    site = root / "lib" / f"python{VERSION}" / "site-packages"
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir()
    python = f"/{root.relative_to('/out')}/bin/python{VERSION}"
    for wheel in sorted(WHEELS.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
            info = next(n.split("/")[0] for n in archive.namelist() if n.split("/")[0].endswith(".dist-info"))
        (site / info / "INSTALLER").write_text("pip\n")
        with (site / info / "RECORD").open("a") as record:
            record.write(f"{info}/INSTALLER,,\n")
            parser = configparser.ConfigParser(delimiters=("=",))
            parser.optionxform = str  # type: ignore[assignment,method-assign] # names are case sensitive
            parser.read([site / info / "entry_points.txt"])
            scripts = dict(parser["console_scripts"]) if "console_scripts" in parser else {}
            if "pip" in scripts:
                scripts = {"pip": scripts["pip"], "pip3": scripts["pip"], f"pip{MINOR}": scripts["pip"]}
            for name, target in sorted(scripts.items()):
                module, function = target.split(":")
                script = root / "bin" / name
                script.write_text(ENTRY_POINT.format(python=python, module=module.strip(), function=function.strip()))
                script.chmod(0o755)
                record.write(f"../../../bin/{name},,\n")


def compile_shard(paths: list[str]) -> bool:
    """One process' share of the modules."""
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    return all(
        compileall.compile_file(path, stripdir="/out", force=True, quiet=1, invalidation_mode=unchecked)
        for path in paths
    )


def compile_byte_code(root: Path) -> None:
    """Byte code that is never checked against its source: deterministic, and no stat per import under an emulator.

    What marshal writes of a string depends on who else holds it, hence on everything its process compiled before. So
    the shares are fixed, and each has a process of its own.
    """
    modules = sorted(str(path) for path in (root / "lib" / f"python{VERSION}").rglob("*.py"))
    shards = [modules[start::SHARDS] for start in range(SHARDS)]
    with multiprocessing.get_context("fork").Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        if not all(pool.map(compile_shard, shards, chunksize=1)):
            raise SystemExit("some modules do not compile")


def make_names(root: Path) -> None:
    """bin/python, /opt/python/<tag> and the exec wrappers of /usr/local/bin (a link there breaks cpython#106045)."""
    for name in ("python", "python3"):
        link = root / "bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(f"python{VERSION}")
    release = "cp{}{}".format(*sys.version_info[:2])
    names = Path("/out/opt/python")
    names.mkdir(parents=True, exist_ok=True)
    shipped = f"/{root.relative_to('/out')}"
    tag = names / f"{release}-{release}{THREADS}"
    tag.unlink(missing_ok=True)
    tag.symlink_to(shipped)
    commands = Path("/out/usr/local/bin")
    commands.mkdir(parents=True, exist_ok=True)
    wrapper = commands / f"cpython{VERSION}"
    wrapper.write_text(f'#!/bin/sh\nexec {shipped}/bin/python{VERSION} "$@"\n')
    wrapper.chmod(0o755)
    (commands / f"python{VERSION}").unlink(missing_ok=True)
    (commands / f"python{VERSION}").symlink_to(wrapper.name)


def main() -> None:
    """The steps in order; the first that finds something wrong ends the build."""
    root = Path(sys.argv[1])
    remove_unshipped(root)
    scrub(root)
    install_wheels(root)
    compile_byte_code(root)
    make_names(root)


if __name__ == "__main__":
    main()
