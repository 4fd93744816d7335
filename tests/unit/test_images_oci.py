"""Layers and layouts: the same files are the same bytes, and nothing of a build shows."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musllinux_build.errors import ImageError
from musllinux_build.images.layers import apply_layers, write_layer
from musllinux_build.images.oci import Layout, index_document, load_archive, write_image

CLOCK = 1_700_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A member of a layer; ``link`` a symbolic, ``hard`` a hard link's target."""

    name: str
    data: bytes | None = None
    link: str = ""
    hard: str = ""
    kind: bytes = b""


def layer(*items: Item, mtime: int = 0) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for item in items:
            info = tarfile.TarInfo(item.name)
            info.mtime, info.uname = mtime, f"user{mtime}"
            info.type = item.kind or (
                tarfile.SYMTYPE if item.link else tarfile.LNKTYPE if item.hard else tarfile.REGTYPE
            )
            info.linkname = item.link or item.hard
            if item.data is None and info.isreg():
                info.type = tarfile.DIRTYPE
            info.size = len(item.data or b"") if info.isreg() else 0
            archive.addfile(info, io.BytesIO(item.data or b""))
    return stream.getvalue()


def opened(layers: Sequence[bytes]) -> list[tarfile.TarFile]:
    return [tarfile.open(fileobj=io.BytesIO(one), mode="r:") for one in layers]


def flattened(tmp_path: Path, *layers: bytes) -> dict[str, tarfile.TarInfo]:
    archives = opened(layers)
    write_layer(apply_layers(archives), archives, tmp_path / "layer.gz", CLOCK)
    with tarfile.open(tmp_path / "layer.gz") as archive:
        return {info.name: info for info in archive}


def test_later_layers_win_and_whiteouts_remove(tmp_path: Path) -> None:
    below = layer(Item(name="a", data=b"old"), Item(name="gone", data=b""), Item(name="d"), Item(name="d/x", data=b"1"))
    above = layer(Item(name="a", data=b"new!"), Item(name=".wh.gone", data=b""), Item(name="d/.wh..wh..opq", data=b""))
    found = flattened(tmp_path, below, above)
    assert list(found) == ["a", "d"]
    assert found["a"].size == 4


def test_a_file_in_place_of_a_directory_takes_what_was_in_it(tmp_path: Path) -> None:
    found = flattened(tmp_path, layer(Item(name="d"), Item(name="d/x", data=b"1")), layer(Item(name="d", link="e")))
    assert list(found) == ["d"]


def test_what_tells_of_a_build_is_left_out(tmp_path: Path) -> None:
    noise = [Item(name=name, data=b"x") for name in ("tmp/x", "var/log/apk.log", ".dockerenv", "run/pid")]
    found = flattened(tmp_path, layer(Item(name="tmp"), Item(name="etc/passwd", data=b"r"), *noise))
    assert list(found) == ["etc/passwd", "tmp"]
    assert {info.mtime for info in found.values()} == {CLOCK}
    assert {info.uname for info in found.values()} == {""}


def test_hard_links_lead_to_the_first_of_their_names(tmp_path: Path) -> None:
    found = flattened(
        tmp_path, layer(Item(name="z", data=b"shared"), Item(name="a", hard="z"), Item(name="m", hard="z"))
    )
    assert (found["a"].isreg(), found["a"].size) == (True, 6)
    assert (found["m"].linkname, found["z"].linkname) == ("a", "a")


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([Item(name="../x", data=b"")], "leaves the image"),
        ([Item(name="dev0", kind=tarfile.CHRTYPE)], "neither a file"),
        ([Item(name="pipe", kind=tarfile.FIFOTYPE)], "neither a file"),
    ],
)
def test_odd_members_are_refused(items: list[Item], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        apply_layers(opened([layer(*items)]))


names = st.text(alphabet="abc", min_size=1, max_size=3)


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(names, st.binary(max_size=20), min_size=1), st.randoms(use_true_random=False), st.integers(0, 9))
def test_order_and_time_of_the_input_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], shuffle: random.Random, mtime: int
) -> None:
    folder = tmp_path_factory.mktemp("layers")
    digests = set()
    for when in (0, mtime):
        items = [Item(name=name, data=data) for name, data in files.items()]
        shuffle.shuffle(items)
        archives = opened([layer(*items, mtime=when)])
        digests.add(write_layer(apply_layers(archives), archives, folder / "layer.gz", CLOCK))
    assert len(digests) == 1


def saved(path: Path, layers: Sequence[bytes], config: Mapping[str, Any], *, packed: bool = False) -> Path:
    """What ``docker save`` writes of one image."""
    members = {f"{number}/layer.tar": gzip.compress(one) if packed else one for number, one in enumerate(layers)}
    listed = [{"Config": "config.json", "RepoTags": ["x:latest"], "Layers": list(members)}]
    members |= {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(listed).encode()}
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


CONFIG = {
    "architecture": "arm",
    "variant": "v7",
    "os": "linux",
    "created": "2026-01-01T00:00:00Z",
    "docker_version": "20.10",
    "config": {
        "Env": ["A=1"],
        "Hostname": "f00",
        "Entrypoint": ["manylinux-entrypoint"],
        "Labels": {"b": "1", "a": "2"},
    },
    "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "/bin/sh -c secret"}],
}


@pytest.mark.parametrize("packed", [False, True])
def test_a_layout_says_nothing_of_the_engine_that_built_it(tmp_path: Path, packed: bool) -> None:
    layout = Layout(root=tmp_path / "layout")
    archive = saved(tmp_path / "saved.tar", [layer(Item(name="a", data=b"1"))], CONFIG, packed=packed)
    manifest = write_image(archive, layout, CLOCK, tmp_path)
    assert manifest.platform == {"architecture": "arm", "os": "linux", "variant": "v7"}
    document = layout.read_json(manifest.digest)
    config = layout.read_json(document["config"]["digest"])
    assert (config["variant"], config["config"]["Env"]) == ("v7", ["A=1"])
    assert "Hostname" not in config["config"]
    assert "secret" not in json.dumps(config)
    content = layout.blob(document["layers"][0]["digest"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() in document["layers"][0]["digest"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(gzip.decompress(content)).hexdigest()}"]
    other = Layout(root=tmp_path / "other")
    again = saved(tmp_path / "again.tar", [layer(Item(name="a", data=b"1"), mtime=77)], {**CONFIG, "created": "later"})
    assert write_image(again, other, CLOCK, tmp_path) == manifest


def test_what_is_loaded_back_is_the_blobs_of_the_layout(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path / "layout")
    archive = saved(tmp_path / "saved.tar", [layer(Item(name="a", data=b"1"))], CONFIG)
    manifest = write_image(archive, layout, CLOCK, tmp_path)
    stream = io.BytesIO(b"".join(load_archive(layout, manifest, "name:tag")))
    with tarfile.open(fileobj=stream) as loaded:
        listed = json.loads(loaded.extractfile("manifest.json").read())  # type: ignore[union-attr] # it is a file
        config = loaded.extractfile(listed[0]["Config"]).read()  # type: ignore[union-attr] # it is a file
    assert listed[0]["RepoTags"] == ["name:tag"]
    assert listed[0]["Config"].endswith(hashlib.sha256(config).hexdigest())


def test_a_changed_blob_is_told(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path)
    found = layout.add_json({"a": 1}, "text")
    layout.blob(found.digest).write_bytes(b"{}")
    with pytest.raises(ImageError, match="not what its name says"):
        layout.read_json(found.digest)


def test_an_index_does_not_depend_on_the_order_of_its_images(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path)
    one = layout.add_json({"a": 1}, "m", platform={"os": "linux", "architecture": "amd64"})
    two = layout.add_json({"a": 2}, "m", platform={"os": "linux", "architecture": "arm", "variant": "v7"})
    assert index_document([one, two], {}) == index_document([two, one], {})


@pytest.mark.parametrize("content", [b"", b"no tar at all", layer(Item(name="manifest.json", data=b"[]"))])
def test_what_is_no_saved_image_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "saved.tar"
    path.write_bytes(content)
    with pytest.raises(ImageError):
        write_image(path, Layout(root=tmp_path / "layout"), CLOCK, tmp_path)
