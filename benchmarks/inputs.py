"""The inputs of auditor.py: pinned wheels, and what they were before their libraries were grafted."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.elf.edit import KEEP, ElfEdit, edit_elf
from musllinux_build.elf.reader import read_elf

WHEELS = {
    "pyzmq": ("27.3.0", "d317685b83663fbd03ca8b5c34add7463e9bed094e3e1a69d2a895130b64ffaf"),
    "numpy": ("2.4.6", "dfa20cc6ca228e6b155b11da03825975ce66aea520985dbbddf0f2a5a495c605"),
    "scipy": ("1.17.1", "6609bc224e9568f65064cfa72edc0f24ee6655b47575954ec6339534b2798369"),
    "duckdb": ("1.3.2", "97f7a22dcaa1cca889d12c3dc43a999468375cdb6f6fe56edf840e062d4a8293"),
    "pyarrow": ("26.0.1", "029e881af986375a2731da79c999fe734a72547fabb16503d65fc079d4bc7eb2"),
}
"""Project to version and SHA-256 of its wheel for musllinux_1_2_x86_64 and CPython 3.13."""
GRAFTED = re.compile(r"(?P<base>.+?)-[0-9a-f]{8}(?P<ext>\.so.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A published wheel, the same without grafts and tagged ``linux_x86_64``, and the libraries it then needs."""

    name: str
    wheel: Path
    bare: Path
    libraries: Path


def prepare(directory: Path) -> list[Input]:
    """Fetch what is not there, check the hashes, and take the grafts out."""
    return [_prepare(name, version, sha256, directory) for name, (version, sha256) in WHEELS.items()]


def _prepare(name: str, version: str, sha256: str, directory: Path) -> Input:
    wheels = directory / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    pattern = f"{name}-{version}-cp31*musllinux_1_2_x86_64.whl"
    if not list(wheels.glob(pattern)):
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--platform", "musllinux_1_2_x86_64"]
        command = [sys.executable, "-m", "pip", "download", *options, "--python-version", "3.13", "--dest", str(wheels)]
        subprocess.run([*command, f"{name}=={version}"], check=True)
    wheel = next(wheels.glob(pattern))
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != sha256:
        raise SystemExit(f"{wheel} is not the pinned file")
    bare = directory / "bare" / wheel.name.replace("musllinux_1_2_x86_64", "linux_x86_64")
    libraries = directory / "libraries" / name
    if not bare.is_file():
        ungraft(wheel, bare, libraries)
    return Input(name=name, wheel=wheel, bare=bare, libraries=libraries)


def ungraft(wheel: Path, bare: Path, libraries: Path) -> None:
    """Undo what auditwheel did: libraries into a directory under their own names, and those names needed again."""
    with zipfile.ZipFile(wheel) as archive:
        contents = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
        executable = {info.filename for info in archive.infolist() if info.external_attr >> 16 & 0o111}
    grafts = {name.rpartition("/")[2] for name in contents if ".libs/" in name}
    names = {name: f"{found['base']}{found['ext']}" for name in grafts if (found := GRAFTED.fullmatch(name))}
    libraries.mkdir(parents=True, exist_ok=True)
    kept: dict[str, bytes] = {}
    for name, content in contents.items():
        file_name = name.rpartition("/")[2]
        if name.endswith("/RECORD") or "/sboms/" in name:
            continue
        if ".libs/" in name:
            (libraries / names[file_name]).write_bytes(_renamed(content, name, names, names[file_name]))
        else:
            kept[name] = _renamed(content, name, names, None)
    _write(kept, executable, bare)


def _renamed(content: bytes, path: str, names: dict[str, str], soname: str | None) -> bytes:
    facts = read_elf(content, path) if content.startswith(b"\x7fELF") else None
    if facts is None or not facts.is_dynamic:
        return content
    needed = tuple((old, names[old]) for old in facts.needed if old in names)
    entries = [entry for entry in (facts.search_path or "").split(":") if entry and ".libs" not in entry]
    search_path = ":".join(entries) or None
    changes = soname is not None or needed or search_path != facts.search_path
    edit = ElfEdit(soname=soname, needed=needed, search_path=None if soname else search_path if changes else KEEP)
    return bytes(edit_elf(content, edit, path)) if changes else content


def _write(contents: dict[str, bytes], executable: set[str], bare: Path) -> None:
    bare.parent.mkdir(parents=True, exist_ok=True)
    about = next(name for name in contents if name.endswith(".dist-info/WHEEL"))
    contents[about] = contents[about].replace(b"musllinux_1_2_x86_64", b"linux_x86_64")
    rows = []
    with zipfile.ZipFile(bare, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o100755 if name in executable else 0o100644) << 16
            archive.writestr(info, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(content)}\n")
        record = about.replace("/WHEEL", "/RECORD")
        archive.writestr(zipfile.ZipInfo(record), "".join([*rows, f"{record},,\n"]))
