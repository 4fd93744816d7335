"""What ``images build`` tells at its end: a table for people, the same as data."""

from __future__ import annotations

from musllinux_build.arch import Arch
from musllinux_build.cli.image_build import report_json, report_table
from musllinux_build.errors import ImageError
from musllinux_build.images.build import Report
from musllinux_build.images.foundry import Entry, Job, State
from musllinux_build.images.works import Made, Order
from musllinux_build.policy import Policy
from musllinux_build.ports import ImageInfo


def entry(key: str, state: State, seconds: float) -> Entry:
    return Entry(job=Job(key=key, title=f"stage {key}"), state=state, started=1.0, ended=1.0 + seconds)


INFO = ImageInfo(id="sha256:0123456789abcdef", architecture="amd64", variant=None, size=121_400_000)
REPORT = Report(
    images=(
        Made(policy=Policy.MUSLLINUX_1_2, arch=Arch.X86_64, tag="r/x", info=INFO, stages=("b", "l", "i")),
        Made(policy=Policy.MUSLLINUX_1_2, arch=Arch.S390X, tag="r/s390x", error=ImageError("no"), stages=("b", "s")),
        Made(policy=Policy.MUSLLINUX_1_2, arch=Arch.I686, tag="r/i", stages=("b", "t")),
    ),
    stages={
        "b": entry("b", State.REUSED, 0.0),
        "l": entry("l", State.BUILT, 30.04),
        "i": entry("i", State.BUILT, 10.0),
        "s": entry("s", State.FAILED, 5.0),
        "t": entry("t", State.LEFT, 0.0),
    },
    targeted=frozenset("lst"),
    seconds=41.06,
)


def test_the_table() -> None:
    assert report_table(REPORT).splitlines() == [
        "image    id             MB  seconds  stages reused",
        "r/x      0123456789ab  121       40         1 of 3",
        "r/s390x  failed          -        5         1 of 2",
        "r/i      not tried       -        0         1 of 2",
    ]


def test_the_same_as_data() -> None:
    document = report_json(REPORT, Order(jobs=3))
    assert (document["schema"], document["jobs"], document["seconds"]) == (1, 3, 41.1)
    assert document["images"][0] == {
        "image": "r/x",
        "policy": "musllinux_1_2",
        "arch": "x86_64",
        "id": "sha256:0123456789abcdef",
        "size": 121_400_000,
        "seconds": 40.0,
        "target_seconds": 30.0,
        "stages": ["b", "l", "i"],
        "reused": 1,
        "error": None,
    }
    assert [made["error"] for made in document["images"]] == [None, "no", None]
    assert document["stages"][1] == {
        "key": "l",
        "name": "stage l",
        "state": "built",
        "seconds": 30.0,
        "started": 1.0,
        "ended": 31.0,
        "target": True,
    }
