"""What every Engine does, asked of the fake and of the real one alike."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.errors import EngineError, ImageError
from musllinux_build.images.oci import Layout, load_archive, write_image
from musllinux_build.ports import LABEL, BuildSpec, ContainerSpec, Engine
from musllinux_build.tarstream import tar_of
from tests.conftest import NEEDED
from tests.fakes import FakeEngine

PLATFORM = Arch.X86_64.oci_platform


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.engine)])
def engine(request: pytest.FixtureRequest, offline: Path | None) -> Engine:
    if request.param == "docker":
        real: Engine = request.getfixturevalue("docker")
        return real
    return FakeEngine()


@pytest.fixture
def base(engine: Engine, offline: Path | None) -> str:
    """A small image with a shell."""
    if isinstance(engine, FakeEngine):
        engine.add_image("stock:fake", Arch.X86_64)
        return "stock:fake"
    from musllinux_build.images.bases import ensure_base
    from musllinux_build.images.supplies import Supplies
    from musllinux_build.policy import Policy
    from tests.fakes import ListProgress

    try:
        supplies = Supplies.chosen(offline=offline)
        return ensure_base(engine, Policy.MUSLLINUX_1_2.row.base, Arch.X86_64, supplies, ListProgress())
    except ImageError as error:
        pytest.fail(f"{NEEDED}\n{error.brief}")


@pytest.fixture
def container(engine: Engine, base: str) -> Iterator[str]:
    name = engine.create(ContainerSpec(image=base, platform=PLATFORM, purpose="contract"))
    yield name
    engine.remove(name)


def contents(chunks: Iterator[bytes] | None) -> dict[str, bytes]:
    assert chunks is not None
    found = {}
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks)), mode="r:") as tar:
        for member in tar:
            if member.isreg():
                stream = tar.extractfile(member)
                assert stream is not None
                found[member.name] = stream.read()
    return found


def test_info_names_version_and_architecture(engine: Engine) -> None:
    info = engine.info()
    assert info.version
    assert info.api >= (1, 41)
    assert info.arch is not None


def test_an_image_that_is_not_there_is_none(engine: Engine) -> None:
    assert engine.image(f"musllinux-build/none:{uuid.uuid4().hex}") is None


def test_an_image_says_what_it_is(engine: Engine, base: str) -> None:
    info = engine.image(base)
    assert info is not None
    assert info.arch is Arch.X86_64
    assert info.id.startswith("sha256:")
    assert engine.image(info.id) == info


def test_pulling_what_no_registry_has_is_an_image_error(engine: Engine) -> None:
    with pytest.raises(ImageError):
        engine.pull("localhost:1/musllinux-build/none:1", PLATFORM)


def test_build_gives_a_labelled_image_of_the_platform(engine: Engine) -> None:
    context = tar_of({"Dockerfile": b"FROM scratch\nCOPY word /word\n", "word": b"hello"})
    tag = f"musllinux-build/contract:{uuid.uuid4().hex}"
    spec = BuildSpec(context=[context], tag=tag, platform="linux/s390x", labels={LABEL: "contract"})
    try:
        info = engine.build(spec, lambda _: None)
        assert info.arch is Arch.S390X
        assert info.labels[LABEL] == "contract"
        assert info.id in engine.images(f"{LABEL}=contract")
    finally:
        engine.remove_image(tag)
    assert engine.image(tag) is None


def test_build_without_a_dockerfile_is_an_engine_error(engine: Engine) -> None:
    with pytest.raises(EngineError):
        engine.build(
            BuildSpec(context=[tar_of({"x": b""})], tag="musllinux-build/contract:x", platform=PLATFORM), print
        )


def test_run_gives_status_and_both_outputs(engine: Engine, container: str) -> None:
    said: list[bytes] = []
    argv = ["/bin/sh", "-c", "echo out; echo err >&2; exit 7"]
    assert engine.run(container, argv, on_output=said.append) == 7
    assert sorted(b"".join(said).split()) == [b"err", b"out"]


def test_run_has_environment_and_directory(engine: Engine, container: str) -> None:
    said: list[bytes] = []
    argv = ["/bin/sh", "-c", "echo $WORD; pwd"]
    assert engine.run(container, argv, env={"WORD": "two words"}, cwd="/tmp", on_output=said.append) == 0
    assert b"".join(said) == b"two words\n/tmp\n"


def test_a_command_that_is_not_there_fails(engine: Engine, container: str) -> None:
    assert engine.run(container, ["no-such-command"]) in (126, 127)


def test_put_get_and_stat_agree(engine: Engine, container: str) -> None:
    engine.run(container, ["mkdir", "-p", "/area/here"])
    engine.put(container, "/area/here", [tar_of({"a/b.txt": b"content", "c": b""}, mode=0o640)])
    assert contents(engine.get(container, "/area/here")) == {"here/a/b.txt": b"content", "here/c": b""}
    assert contents(engine.get(container, "/area/here/a/b.txt")) == {"b.txt": b"content"}
    file = engine.stat(container, "/area/here/a/b.txt")
    assert file is not None
    assert (file.name, file.size, file.mode, file.is_dir, file.is_link) == ("b.txt", 7, 0o640, False, False)
    directory = engine.stat(container, "/area/here/a")
    assert directory is not None
    assert directory.is_dir


def test_a_link_is_seen_and_not_followed(engine: Engine, container: str) -> None:
    engine.run(container, ["mkdir", "-p", "/area"])
    engine.put(container, "/area", [tar_of({"real": b"12345"})])
    engine.run(container, ["ln", "-s", "real", "/area/link"])
    link = engine.stat(container, "/area/link")
    assert link is not None
    assert link.is_link
    assert link.link_target in ("real", "/area/real")


def test_what_is_not_there_is_none(engine: Engine, container: str) -> None:
    assert engine.get(container, "/no/such/path") is None
    assert engine.stat(container, "/no/such/path") is None


def test_a_stopped_container_keeps_its_files(engine: Engine, container: str) -> None:
    engine.run(container, ["mkdir", "-p", "/area"])
    engine.put(container, "/area", [tar_of({"a": b"1"})])
    engine.stop(container)
    assert contents(engine.get(container, "/area/a")) == {"a": b"1"}
    assert engine.stat(container, "/area/a") is not None
    with pytest.raises(EngineError):
        engine.run(container, ["true"])


def test_commit_keeps_files_and_labels(engine: Engine, container: str) -> None:
    tag = f"musllinux-build/contract:{uuid.uuid4().hex}"
    engine.run(container, ["mkdir", "-p", "/kept"])
    engine.put(container, "/kept", [tar_of({"a": b"1"})])
    engine.stop(container)
    try:
        info = engine.commit(container, tag, {LABEL: "kept"})
        assert info.labels[LABEL] == "kept"
        copy = engine.create(ContainerSpec(image=tag, platform=PLATFORM, purpose="contract"))
        try:
            assert contents(engine.get(copy, "/kept/a")) == {"a": b"1"}
        finally:
            engine.remove(copy)
    finally:
        engine.remove_image(tag)


def test_what_is_saved_as_a_layout_is_what_is_loaded_back(engine: Engine, base: str, tmp_path: Path) -> None:
    name = f"musllinux-build/contract:{uuid.uuid4().hex[:8]}"
    saved = tmp_path / "saved.tar"
    with saved.open("wb") as stream:
        stream.writelines(engine.save(base))
    layout = Layout(root=tmp_path / "layout")
    manifest = write_image(saved, layout, 1_700_000_000, tmp_path)
    try:
        engine.load(load_archive(layout, manifest, name))
        found = engine.image(name)
        assert found is not None
        assert found.arch is Arch.X86_64
        assert found.id == layout.read_json(manifest.digest)["config"]["digest"]
    finally:
        engine.remove_image(name)


def test_saving_and_loading_what_is_no_image(engine: Engine) -> None:
    with pytest.raises(ImageError):
        engine.save("musllinux-build/contract:nothing")
    with pytest.raises(ImageError):
        engine.load([tar_of({"x": b""})])


def test_wait_gives_the_status_of_the_command(engine: Engine, base: str) -> None:
    spec = ContainerSpec(image=base, platform=PLATFORM, purpose="contract", command=["/bin/true"], network=False)
    container = engine.create(spec)
    try:
        assert engine.wait(container) == 0
    finally:
        engine.remove(container)


def test_containers_are_found_by_label_and_removed_twice(engine: Engine, base: str) -> None:
    word = uuid.uuid4().hex
    spec = ContainerSpec(image=base, platform=PLATFORM, purpose="contract", labels={"org.musllinux-build.test": word})
    container = engine.create(spec)
    try:
        assert list(engine.containers(f"org.musllinux-build.test={word}")) == [container]
        assert container in engine.containers(f"{LABEL}=contract")
    finally:
        engine.remove(container)
    engine.remove(container)
    assert not engine.containers(f"org.musllinux-build.test={word}")


def test_a_volume_is_made_once_and_removed_twice(engine: Engine) -> None:
    name = f"musllinux-build-contract-{uuid.uuid4().hex}"
    assert engine.volume_labels(name) is None
    try:
        assert engine.volume(name, {LABEL: "contract"})
        assert not engine.volume(name, {})
        assert engine.volume_labels(name) == {LABEL: "contract"}
        assert name in engine.volumes(f"{LABEL}=contract")
        assert name not in engine.volumes(f"{LABEL}=other")
    finally:
        engine.remove_volume(name)
    engine.remove_volume(name)
    assert engine.volume_labels(name) is None
