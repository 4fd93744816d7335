"""What differs between two layers that should be one: each file by its kind, mode, owner, size, link and content."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

from musllinux_build.images.oci import Layout

MOST = 200
"""So many lines tell what is wrong."""


def listed(layer: Path) -> dict[str, dict[str, object]]:
    """The files of a layer and what is compared of each."""
    found: dict[str, dict[str, object]] = {}
    with tarfile.open(layer) as archive:
        for info in archive:
            stream = archive.extractfile(info) if info.isreg() else None
            found[info.name] = {
                "kind": info.type.decode(),
                "mode": f"{info.mode:o}",
                "owner": f"{info.uid}:{info.gid}",
                "time": info.mtime,
                "size": info.size,
                "link": info.linkname,
                "sha256": hashlib.sha256(stream.read()).hexdigest() if stream is not None else "",
            }
    return found


def differences(one: Path, other: Path) -> list[str]:
    """A line for every file that is in one layer only, or not the same in both."""
    first, second = listed(one), listed(other)
    lines = [f"{name}: only in the first" for name in sorted(first.keys() - second.keys())]
    lines += [f"{name}: only in the second" for name in sorted(second.keys() - first.keys())]
    for name in sorted(first.keys() & second.keys()):
        changed = [key for key, value in first[name].items() if second[name][key] != value]
        if changed:
            lines.append(f"{name}: " + ", ".join(f"{key} {first[name][key]} {second[name][key]}" for key in changed))
    return lines


def image_differences(one: Layout, other: Layout, digests: tuple[str, str]) -> list[str]:
    """What makes two manifests different: fields of the configuration, and the files of the only layer."""
    manifests = [layout.read_json(digest) for layout, digest in zip((one, other), digests, strict=True)]
    configs = [
        layout.read_json(manifest["config"]["digest"]) for layout, manifest in zip((one, other), manifests, strict=True)
    ]
    layers = [
        layout.blob(manifest["layers"][0]["digest"]) for layout, manifest in zip((one, other), manifests, strict=True)
    ]
    fields = [key for key in sorted(configs[0].keys() | configs[1].keys()) if key not in ("rootfs", "history")]
    lines = [
        f"configuration, {key}: {json.dumps(configs[0].get(key))} {json.dumps(configs[1].get(key))}"
        for key in fields
        if configs[0].get(key) != configs[1].get(key)
    ]
    lines += differences(*layers) or (["only how the layer is packed"] if layers[0].name != layers[1].name else [])
    return lines[:MOST]
