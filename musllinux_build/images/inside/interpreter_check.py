"""Sent into an image and run by one of its interpreters: ``interpreter_check.py modules|extension|wheel``.

Prints one line of evidence and ends with status 0, or says what is wrong and ends with 1. Runs on CPython 3.9 and
later, needs nothing but the standard library.
"""
# ruff: noqa: INP001, T201, TID251, S603 - a program inside the image

import base64
import ctypes
import hashlib
import importlib.util
import os
import sqlite3
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import threading
import zipfile
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


def compiled(scratch: Path) -> Path:
    """An extension made with what sysconfig says."""
    source = scratch / "probe.c"
    source.write_text(SOURCE)
    target = scratch / f"probe{variable('EXT_SUFFIX')}"
    include = "-I" + sysconfig.get_paths()["include"]
    command = [*variable("LDSHARED").split(), *variable("CCSHARED").split(), include, str(source), "-o", str(target)]
    made = run(command)
    if made.returncode:
        wrong(f"the compiler failed: {made.stdout.decode(errors='replace').strip()[-400:]}")
    return target


def run(command: list[str]) -> "subprocess.CompletedProcess[bytes]":
    """A command and all it wrote."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def extension() -> None:
    """An extension compiles, and imports."""
    with tempfile.TemporaryDirectory() as scratch:
        target = compiled(Path(scratch))
        sys.path.insert(0, scratch)
        importlib.import_module("probe")
        print(target.name)


def row_hash(content: bytes) -> str:
    """As RECORD has it (PEP 376)."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def wheel() -> None:
    """A wheel as a backend leaves it is repaired by the command that clients give, without a platform."""
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    abi = tag + ("t" if sysconfig.get_config_var("Py_GIL_DISABLED") else "")
    plain = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    expect("the platform of a wheel", plain, f"linux_{os.environ['ARCH']}")
    info = "probe-1.dist-info"
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        files = {
            f"{info}/METADATA": b"Metadata-Version: 2.1\nName: probe\nVersion: 1\n",
            f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}-{abi}-{plain}\n".encode(),
        }
        made = compiled(scratch)
        files[made.name] = made.read_bytes()
        record = "".join(f"{path},{row_hash(content)},{len(content)}\n" for path, content in files.items())
        files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
        path = scratch / f"probe-1-{tag}-{abi}-{plain}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in files.items():
                archive.writestr(member, content)
        repaired = run(["auditwheel", "repair", "-w", str(scratch / "out"), str(path)])
        found = sorted(one.name for one in (scratch / "out").glob("*"))
        if repaired.returncode or not found:
            wrong(f"auditwheel failed: {repaired.stdout.decode(errors='replace').strip()[-400:]}")
        right = f"{os.environ['POLICY']}_{os.environ['ARCH']}.whl"
        if len(found) != 1 or not found[0].endswith(right):
            wrong(f"auditwheel made {' '.join(found)}, not one for {right[:-4]}")
        print(found[0])


if __name__ == "__main__":
    try:
        {"modules": modules, "extension": extension, "wheel": wheel}[sys.argv[1]]()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the evidence
        wrong(f"{type(error).__name__}: {error}")
