"""cibuildwheel, as its index has it: installed by hash, and what a company sets that gives it our images."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from musllinux_build.adapters.host import ca_bundle, index_settings
from musllinux_build.cli.options import cache_directory

REQUIREMENTS = Path(__file__).with_name("cibuildwheel.txt")
BUNDLE, MIRROR = "/etc/company/ca.pem", "/mnt/apk"
# Without Alpine's mirrors: the packages of a directory, and its key beside Alpine's.
LOCAL_PACKAGES = f"""
cp -r /etc/apk/keys /tmp/keys && cp {MIRROR}/keys/*.rsa.pub /tmp/keys/ && echo {MIRROR}/v3.13/main >/tmp/repositories &&
apk add --no-network --keys-dir /tmp/keys --repositories-file /tmp/repositories"""


def installed() -> Path:
    """The command in an environment of its own, which stays for the next run."""
    locked = REQUIREMENTS.read_bytes()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    place = cache_directory() / "tests" / f"cibuildwheel-{version}-{hashlib.sha256(locked).hexdigest()[:12]}"
    ready = place / "ready"
    if not ready.exists():
        venv.create(place, with_pip=True, clear=True)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes"]
        subprocess.run([*pip, "--only-binary=:all:", "-r", str(REQUIREMENTS)], check=True)
        ready.touch()
    return place / "bin" / "cibuildwheel"


def environment(image: str, arch: str, pythons: Sequence[str], directory: Path, offline: Path | None) -> dict[str, str]:
    """What a company sets that has its own index, certificates and packages, and takes our image.

    ``pythons`` are versions such as ``3.13``; ``directory`` receives the certificates and cibuildwheel's cache;
    ``offline`` is a directory of docs/offline.md, whose packages are mounted.
    """
    (directory / "ca.pem").write_bytes(ca_bundle(None, os.environ))
    volumes = [f"--volume={directory / 'ca.pem'}:{BUNDLE}:ro"]
    if offline is not None:
        volumes.append(f"--volume={(offline / 'apk').resolve()}:{MIRROR}:ro")
    inside = dict(index_settings(with_credentials=True)) | dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE"), BUNDLE)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CIBW_")}
    return {
        **kept,
        "CIBW_PLATFORM": "linux",
        "CIBW_BUILD": " ".join(f"cp{python.replace('.', '')}-musllinux_{arch}" for python in pythons),
        "CIBW_ARCHS": arch,
        f"CIBW_MUSLLINUX_{arch.upper()}_IMAGE": image,
        "CIBW_CONTAINER_ENGINE": f"docker; create_args: {' '.join(volumes)}; disable_host_mount: true",
        "CIBW_ENVIRONMENT": " ".join(f'{name}="{value}"' for name, value in inside.items()),
        "CIBW_CACHE_PATH": str(directory / "cache"),
    }


def apk_add(package: str, offline: Path | None) -> str:
    """The command that installs a package in the image, from the directory where there is one."""
    return f"{LOCAL_PACKAGES.strip() if offline is not None else 'apk add'} {package}"
