"""Sent into an image and run by one of its interpreters: ``interpreter_check.py modules|extension``.

Prints one line of evidence and ends with status 0, or says what is wrong and ends with 1. Runs on CPython 3.9 and
later, needs nothing but the standard library.
"""
# ruff: noqa: INP001, T201, TID251, S603 - a program inside the image

import ctypes
import importlib.util
import os
import sqlite3
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import threading
from pathlib import Path
from typing import NoReturn

MODULES = (
    *("array", "asyncio", "binascii", "bz2", "cmath", "concurrent.futures", "ctypes", "curses", "dbm.gnu", "dbm.ndbm"),
    *("decimal", "fcntl", "grp", "hashlib", "idlelib", "json", "lzma", "math", "mmap", "multiprocessing.shared_memory"),
    *("pickle", "posix", "pwd", "pyexpat", "queue", "random", "readline", "resource", "select", "socket", "sqlite3"),
    *("ssl", "struct", "syslog", "termios", "tkinter", "unicodedata", "uuid", "venv", "xml.etree.ElementTree", "zlib"),
    *("zoneinfo", "_posixsubprocess", "_queue", "_multiprocessing", "_decimal", "_ctypes"),
)
NEWER = {"compression.zstd": (3, 14)}
SOURCE = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "probe", 0, 0, 0};
PyMODINIT_FUNC PyInit_probe(void) { return PyModule_Create(&module); }
"""


def wrong(what: str) -> NoReturn:
    """End with ``what`` as the evidence."""
    print(what)
    sys.exit(1)


def deep(levels: int) -> int:
    """As deep a recursion as is asked for."""
    return levels and 1 + deep(levels - 1)


def expect(name: str, found: object, right: object) -> None:
    """Two values are equal."""
    if found != right:
        wrong(f"{name} is {found!r}, not {right!r}")


def variable(name: str) -> str:
    """A configuration variable that is always there."""
    return str(sysconfig.get_config_var(name))


def suffix() -> str:
    """What CPython of this release calls an extension on musl (it names musl since 3.11)."""
    triplet = os.environ["MULTIARCH"]
    if sys.version_info < (3, 11):  # noqa: UP036 - it runs on the interpreters of the image
        triplet = triplet.replace("-musl", "-gnu", 1)
    threads = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return f".cpython-{sys.version_info[0]}{sys.version_info[1]}{threads}-{triplet}.so"


def imports(absent: list[str]) -> None:
    """What has to be there imports, and what must not be there is not."""
    missing = []
    for name in (*MODULES, *(name for name, since in NEWER.items() if sys.version_info >= since)):
        try:
            importlib.import_module(name)
        except ImportError:
            if name.split(".")[0] not in absent and name not in absent:
                missing.append(name)
    if missing:
        wrong(f"modules that do not import: {' '.join(missing)}")
    for name in ("pip", "build", "packaging"):
        try:
            importlib.import_module(name)
        except ImportError:
            wrong(f"{name} is not installed")
    for name in ("setuptools", "wheel"):
        if importlib.util.find_spec(name):
            wrong(f"{name} is installed: projects would find it only by chance")


def modules() -> None:
    """Everything a wheel build or its tests commonly need is there and does its work."""
    expect("CC", sysconfig.get_config_var("CC"), "gcc")
    expect("CXX", sysconfig.get_config_var("CXX"), "g++")
    expect("LDSHARED", variable("LDSHARED").split(" -Wl,-z,stack-size")[0], "gcc -shared")
    expect("EXT_SUFFIX", sysconfig.get_config_var("EXT_SUFFIX"), suffix())
    expect("get_platform()", sysconfig.get_platform(), f"linux-{os.environ['ARCH']}")
    absent = os.environ.get("ABSENT_MODULES", "").split()
    imports(absent)
    sqlite3.connect(":memory:").execute("create virtual table t using fts5(word)")
    if sqlite3.sqlite_version_info < (3, 50) and "sqlite" not in absent:
        wrong(f"sqlite {sqlite3.sqlite_version} is older than 3.50")
    if ssl.create_default_context().cert_store_stats()["x509_ca"] < 50:
        wrong("the default TLS context trusts nobody")
    expect("ctypes", ctypes.CDLL(None).abs(ctypes.c_int(-7)), 7)
    sys.setrecursionlimit(5000)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(deep(4000)))
    thread.start()
    thread.join()
    expect("the depth of a recursion in a thread", found, [4000])
    print(f"{sys.version.split()[0]}, {ssl.OPENSSL_VERSION}, sqlite {sqlite3.sqlite_version}")


def extension() -> None:
    """An extension compiles with what sysconfig says, and imports."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "probe.c"
        source.write_text(SOURCE)
        target = Path(scratch) / f"probe{variable('EXT_SUFFIX')}"
        include = "-I" + sysconfig.get_paths()["include"]
        command = variable("LDSHARED").split()
        flags = variable("CCSHARED").split()
        made = subprocess.run(
            [*command, *flags, include, str(source), "-o", str(target)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if made.returncode:
            wrong(f"the compiler failed: {made.stdout.decode(errors='replace').strip()[-400:]}")
        sys.path.insert(0, scratch)
        importlib.import_module("probe")
        print(target.name)


if __name__ == "__main__":
    try:
        {"modules": modules, "extension": extension}[sys.argv[1]]()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the evidence
        wrong(f"{type(error).__name__}: {error}")
