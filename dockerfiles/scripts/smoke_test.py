"""Run by every interpreter of an image, on the target's architecture: prints one line or fails."""
# ruff: noqa: INP001, T201, TID251 - a program inside the image, whose output is the build's log

import bz2
import ctypes
import decimal
import hashlib
import importlib
import lzma
import multiprocessing
import os
import sqlite3
import ssl
import subprocess
import sys
import sysconfig
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

MODULES = (
    *("array", "asyncio", "audioop", "binascii", "cmath", "concurrent.futures", "datetime", "fcntl", "grp", "json"),
    *("math", "mmap", "multiprocessing.shared_memory", "pickle", "posix", "pwd", "pyexpat", "queue", "random"),
    *("resource", "select", "selectors", "socket", "struct", "syslog", "termios", "unicodedata", "uuid", "venv"),
    *("xml.etree.ElementTree", "zipfile", "zoneinfo", "_posixsubprocess", "_queue", "_multiprocessing"),
    *("curses", "curses.panel", "dbm.gnu", "dbm.ndbm", "readline", "_decimal", "_uuid"),
)
NEW = {"compression.zstd": (3, 14)}
GONE = {"audioop": (3, 13)}  # PEP 594


def deep(levels: int) -> int:
    """As deep a recursion as is asked for."""
    return levels and 1 + deep(levels - 1)


def in_thread(function: Callable[[], int]) -> int:
    """What ``function`` returns in a thread, whose stack on musl is small unless the interpreter asks for more."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def check_sysconfig() -> None:
    """The values that build backends read."""
    triplet = os.environ["TARGET_MULTIARCH"]
    if sys.version_info < (3, 11):  # noqa: UP036 - musl has had a name since; earlier releases load what says glibc
        triplet = triplet.replace("-musl", "-gnu", 1)
    threads = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    tag = f"cpython-{sys.version_info.major}{sys.version_info.minor}{threads}-{triplet}"
    stack = " -Wl,-z,stack-size=1048576" if sys.version_info >= (3, 15) else ""
    linker = f"gcc -shared{stack}"
    expected = {"CC": "gcc", "CXX": "g++", "LDSHARED": linker, "SOABI": tag, "EXT_SUFFIX": f".{tag}.so"}
    for key, value in expected.items():
        assert sysconfig.get_config_var(key) == value, (key, sysconfig.get_config_var(key))
    assert (Path(sysconfig.get_paths()["include"]) / "pyconfig.h").is_file()


def check_modules() -> None:
    """Every module of the standard library that a wheel build or its tests commonly need does its work."""
    for name in MODULES:
        if sys.version_info < GONE.get(name, (9,)):
            importlib.import_module(name)
    for name, since in NEW.items():
        if sys.version_info >= since:
            importlib.import_module(name)
    for codec in (bz2, lzma, zlib):
        assert codec.decompress(codec.compress(b"musl" * 99)) == b"musl" * 99
    assert ctypes.CDLL(None).abs(ctypes.c_int(-7)) == 7
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda value: value + 1)
    assert callback(41) == 42
    assert decimal.Decimal(1) / 3 == decimal.Decimal("0." + "3" * 28)
    assert hashlib.sha3_256(b"").hexdigest().startswith("a7ffc6f8bf1ed766")
    assert hashlib.new("sha512_256", b"").hexdigest().startswith("c672b8d1ef56ed28")
    sqlite3.connect(":memory:").execute("create virtual table t using fts5(word)")
    assert ssl.get_default_verify_paths().openssl_cafile == "/etc/ssl/cert.pem"
    assert ssl.create_default_context().cert_store_stats()["x509_ca"] > 50
    multiprocessing.Semaphore(1)
    assert subprocess.check_output(["/bin/echo", "x"]) == b"x\n"
    sys.setrecursionlimit(5000)
    assert in_thread(lambda: deep(4000)) == 4000


if __name__ == "__main__":
    check_sysconfig()
    check_modules()
    print(sys.version.split()[0], sysconfig.get_config_var("SOABI"), ssl.OPENSSL_VERSION, sqlite3.sqlite_version)
