"""What ``doctor`` looks at inside an image of ours: the image itself, and what a build there needs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from musllinux_build.adapters.host import ca_bundle
from musllinux_build.adapters.machine import free_bytes
from musllinux_build.adapters.process import run
from musllinux_build.adapters.sysroot import DirectorySysroot
from musllinux_build.apkdb import DATABASES, parse_packages, read_database
from musllinux_build.builds.steps import base_environment
from musllinux_build.cli.inside import pythons_here, trusted
from musllinux_build.doctor import (
    Check,
    check_certificates,
    check_compiler,
    check_index,
    check_interpreters,
    check_own_image,
    check_space,
)
from musllinux_build.python import PythonTag
from musllinux_build.surroundings import OwnImage, own_environment

INDEX_SECONDS = 120


def examine(here: OwnImage, chosen: Path | None) -> Sequence[Check]:
    """All checks, the image first; ``chosen`` is ``--ca-bundle``."""
    environment = base_environment(own_environment(os.environ), trusted(chosen), with_ca=False)
    pythons, place = pythons_here(), tempfile.gettempdir()
    root = DirectorySysroot(Path("/"))
    release = read_database(root.read).release
    installed = next((content for path in DATABASES if (content := root.read(path)) is not None), b"")
    musl = next((package.version for package in parse_packages(installed) if package.name == "musl"), "")
    return [
        check_own_image(here, release, musl),
        check_interpreters(pythons),
        _compiler(environment),
        check_space(free_bytes(place), place),
        check_certificates(ca_bundle(chosen, os.environ), mend="apk add ca-certificates   (or: --ca-bundle FILE)"),
        *([_index(pythons[0], environment)] if pythons else []),
    ]


def _compiler(environment: Mapping[str, str]) -> Check:
    answer = run(["gcc", "--version"], env=environment)
    return check_compiler(answer.stdout.decode(errors="replace") if answer.returncode == 0 else "", answer.explanation)


def _index(python: PythonTag, environment: Mapping[str, str]) -> Check:
    """Ask the index with an interpreter's pip: what a build will do."""
    pip = [f"{python.prefix}/bin/python", "-m", "pip", "--retries", "0", "--timeout", "15"]
    answer = run([*pip, "index", "versions", "pip"], env=environment, timeout=INDEX_SECONDS)
    said = answer.explanation.splitlines()
    return check_index(answer.returncode, said[-1] if said else "no answer", asked="from here")
