"""The package ca-certificates: Mozilla's certificates as Debian packs them, laid out as in Alpine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from musllinux_build.arch import Arch
from tests.lab.apk import Entry, Kind, Package
from tests.lab.commands import run
from tests.lab.sysroot import Built, read_tree

UPDATE = """#!/bin/sh
# Writes the bundle anew from the certificates that came with the package and those of this machine.
set -e
bundle=/etc/ssl/certs/ca-certificates.crt
for file in /usr/share/ca-certificates/mozilla/*.crt /usr/local/share/ca-certificates/*.crt; do
    if [ -f "$file" ]; then cat "$file"; echo; fi
done >"$bundle.new"
mv "$bundle.new" "$bundle"
"""

CERTIFICATES = "usr/share/ca-certificates/mozilla/"


def make(deb: Path, arch: Arch) -> Built:
    """The package, from Debian's of the same name."""
    with tempfile.TemporaryDirectory() as place:
        run(["dpkg-deb", "--extract", deb, place])
        version = run(["dpkg-deb", "--field", deb, "Version"]).decode().partition("+")[0].strip()
        certificates = [entry for entry in read_tree(Path(place)) if entry.path.startswith(CERTIFICATES)]
    bundle = b"".join(entry.content.rstrip() + b"\n" for entry in certificates)
    package = Package(
        name="ca-certificates",
        version=f"{version}-r0",
        # Alpine's indexes, too, give packages without programs the architecture of the repository.
        arch=arch.row.apk,
        description="Mozilla's certificates of authorities (Debian's ca-certificates)",
        license="MPL-2.0",
        origin="ca-certificates",
        # The stock root's bundle and the link to it (/etc/ssl/cert.pem) are of this one.
        replaces=("ca-certificates-bundle",),
        url="https://www.mozilla.org/",
    )
    entries = (
        *certificates,
        Entry(path="etc/ssl/certs/ca-certificates.crt", kind=Kind.FILE, content=bundle),
        Entry(path="etc/ssl/cert.pem", kind=Kind.LINK, content=b"certs/ca-certificates.crt"),
        Entry(path="usr/sbin/update-ca-certificates", kind=Kind.FILE, mode=0o755, content=UPDATE.encode()),
    )
    return Built(package=package, entries=entries)
