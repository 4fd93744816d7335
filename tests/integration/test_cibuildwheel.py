"""cibuildwheel, as its index has it, with our images: it builds, repairs with our auditwheel, and tests a C project."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from musllinux_build.adapters.host import ca_bundle, index_settings
from musllinux_build.cli.options import cache_directory
from tests.integration.conftest import PYTHONS, Tool

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("docker")]

REQUIREMENTS = Path(__file__).with_name("cibuildwheel.txt")
ARCHS = ["x86_64", pytest.param("aarch64", marks=pytest.mark.nightly)]
BUNDLE, MIRROR = "/etc/company/ca.pem", "/mnt/apk"
FILES = {
    "pyproject.toml": '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n',
    "setup.py": "from setuptools import Extension, setup\n"
    "setup(name='yamlversion', version='1.0', ext_modules=[Extension('yamlversion', ['x.c'], libraries=['yaml'])])\n",
    "x.c": r"""
#include <Python.h>
#include <yaml.h>
static PyObject *version(PyObject *self, PyObject *unused) { return PyUnicode_FromString(yaml_get_version_string()); }
static PyMethodDef methods[] = {{"version", version, METH_NOARGS, 0}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "yamlversion", 0, -1, methods};
PyMODINIT_FUNC PyInit_yamlversion(void) { return PyModule_Create(&module); }
""",
}
TESTED = "libyaml answers from"
TEST = f"python -c \"import sys, yamlversion; print('{TESTED}', sys.version_info[:2], yamlversion.version())\""
# Without Alpine's mirrors: the packages of a directory, and its key beside Alpine's.
LOCAL_PACKAGES = f"""
cp -r /etc/apk/keys /tmp/keys && cp {MIRROR}/keys/*.rsa.pub /tmp/keys/ && echo {MIRROR}/v3.13/main >/tmp/repositories &&
apk add --no-network --keys-dir /tmp/keys --repositories-file /tmp/repositories yaml-dev
"""


@pytest.fixture(scope="module")
def cibuildwheel() -> Path:
    """The command in an environment of its own, which stays for the next run."""
    locked = REQUIREMENTS.read_bytes()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    place = cache_directory() / "tests" / f"cibuildwheel-{version}-{hashlib.sha256(locked).hexdigest()[:12]}"
    ready = place / "ready"
    if not ready.exists():
        venv.create(place, with_pip=True, clear=True)
        pip = [
            str(place / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--require-hashes",
            "--only-binary=:all:",
        ]
        subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
        ready.touch()
    return place / "bin" / "cibuildwheel"


def environment(images: Mapping[str, str], arch: str, directory: Path, offline: Path | None) -> dict[str, str]:
    """What a company sets that has its own index, certificates and packages, and takes our images."""
    (directory / "ca.pem").write_bytes(ca_bundle(None, os.environ))
    volumes = [f"--volume={directory / 'ca.pem'}:{BUNDLE}:ro"]
    if offline is not None:
        volumes.append(f"--volume={(offline / 'apk').resolve()}:{MIRROR}:ro")
    inside = dict(index_settings(with_credentials=True)) | dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE"), BUNDLE)
    pythons = [f"cp{python.replace('.', '')}" for python in PYTHONS]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CIBW_")}
    return {
        **kept,
        "CIBW_PLATFORM": "linux",
        "CIBW_BUILD": " ".join(f"{python}-musllinux_{arch}" for python in pythons),
        "CIBW_ARCHS": arch,
        f"CIBW_MUSLLINUX_{arch.upper()}_IMAGE": images[f"musllinux_1_2_{arch}"],
        "CIBW_CONTAINER_ENGINE": f"docker; create_args: {' '.join(volumes)}; disable_host_mount: true",
        "CIBW_ENVIRONMENT": " ".join(f'{name}="{value}"' for name, value in inside.items()),
        "CIBW_BEFORE_ALL": LOCAL_PACKAGES.strip() if offline is not None else "apk add yaml-dev",
        "CIBW_TEST_COMMAND": TEST,
        "CIBW_CACHE_PATH": str(directory / "cache"),
    }


@pytest.mark.parametrize("arch", ARCHS)
def test_a_project_in_c(
    arch: str, cibuildwheel: Path, images: Mapping[str, str], tool: Tool, tmp_path: Path, offline: Path | None
) -> None:
    project, output = tmp_path / "project", tmp_path / "out"
    project.mkdir()
    for name, text in FILES.items():
        (project / name).write_text(text)
    done = subprocess.run(
        [cibuildwheel, "--output-dir", output, "."],
        cwd=project,
        env=environment(images, arch, tmp_path, offline),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    tags = [f"cp{python.replace('.', '')}" for python in PYTHONS]
    wheels = sorted(output.iterdir())
    assert [wheel.name for wheel in wheels] == sorted(
        f"yamlversion-1.0-{tag}-{tag}-musllinux_1_2_{arch}.whl" for tag in tags
    )
    # In a fresh environment, where only the graft has libyaml; our auditwheel said so.
    assert done.stdout.count(f"\n{TESTED}") == len(tags), done.stdout
    assert done.stdout.count("Grafted /usr/lib/libyaml") == len(tags), done.stdout
    for wheel in wheels:
        shown = tool("audit", "show", "--json", wheel)
        assert shown.status == 0, shown.everything
        (verdict,) = json.loads(shown.out)
        assert (verdict["conforms"], verdict["policy"], verdict["arch"]) == (True, "musllinux_1_2", arch)
        with zipfile.ZipFile(wheel) as archive:
            (graft,) = [name for name in archive.namelist() if name.startswith("yamlversion.libs/")]
        assert "libyaml" in graft
