"""What is removed from an engine: stages that nobody needs, and nothing that is somebody else's."""

from __future__ import annotations

from musllinux_build.arch import Arch
from musllinux_build.errors import EngineError
from musllinux_build.images.cleaning import remove_stages, stale_stages
from musllinux_build.images.works import STAGE_LABEL, STAGE_REPOSITORY
from musllinux_build.ports import LABEL
from tests.fakes import FakeEngine

STAGE, IMAGE = {LABEL: "stage", STAGE_LABEL: "libraries"}, {LABEL: "image"}


def engine_with_images() -> FakeEngine:
    engine = FakeEngine()
    engine.add_image(f"{STAGE_REPOSITORY}:needed", Arch.X86_64, STAGE)
    engine.add_image(f"{STAGE_REPOSITORY}:old", Arch.X86_64, STAGE)
    engine.add_image(f"{STAGE_REPOSITORY}:image", Arch.X86_64, IMAGE)
    engine.tag(f"{STAGE_REPOSITORY}:image", "r/musllinux_1_2_x86_64:latest")
    engine.add_image(f"{STAGE_REPOSITORY}:old-image", Arch.X86_64, IMAGE)
    engine.add_image(f"{STAGE_REPOSITORY}:not-ours", Arch.X86_64)
    engine.add_image("musllinux-build/base:alpine", Arch.X86_64, {LABEL: "base"})
    return engine


def test_only_stages_that_are_not_needed() -> None:
    engine = engine_with_images()
    stale = stale_stages(engine, {f"{STAGE_REPOSITORY}:needed"})
    assert [info.tags for info in stale] == [(f"{STAGE_REPOSITORY}:old",), (f"{STAGE_REPOSITORY}:old-image",)]
    assert remove_stages(engine, stale) == stale
    assert stale_stages(engine, {f"{STAGE_REPOSITORY}:needed"}) == []
    for name in ("needed", "image", "not-ours"):
        assert engine.image(f"{STAGE_REPOSITORY}:{name}") is not None


class Layered(FakeEngine):
    """An image that another is made from loses its name, and goes after that one (moby, daemon/images/image_delete)."""

    def __init__(self, parent: str, child: str | None) -> None:
        super().__init__()
        self.add_image(parent, Arch.X86_64, STAGE)
        self.parent, self.child = self._images[parent], child
        if child is not None:
            self.add_image(child, Arch.X86_64, STAGE)
        self.tried = 0

    def remove_image(self, ref: str) -> None:
        parent = self.parent[0].id
        child = self.child in self._images if self.child is not None else True
        if ref == parent and child:
            self.tried += 1
            raise EngineError("it has dependent child images")
        if ref == parent:
            self._images.pop("<none>")
            return
        known = self._images.pop(ref)
        if known[0].id == parent:
            self._images["<none>"] = known


def test_what_others_are_made_from_goes_after_them() -> None:
    engine = Layered(f"{STAGE_REPOSITORY}:a", f"{STAGE_REPOSITORY}:b")
    stale = stale_stages(engine, ())
    assert len(remove_stages(engine, stale)) == len(stale) == 2
    assert engine.images(f"{LABEL}=stage") == []


def test_what_stays_in_use_is_left() -> None:
    engine = Layered(f"{STAGE_REPOSITORY}:a", None)
    assert remove_stages(engine, stale_stages(engine, ())) == []
    assert engine.tried
