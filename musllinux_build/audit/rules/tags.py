"""Rules about the tags of the file name and of WHEEL."""

from __future__ import annotations

from collections.abc import Iterator

from musllinux_build.arch import Arch
from musllinux_build.audit.catalogue import finding
from musllinux_build.audit.subject import Subject
from musllinux_build.audit.verdict import Finding
from musllinux_build.tags import MusllinuxTag

WHEEL_FILE = "WHEEL"
REPAIR = "Run musllinux-build audit repair, which writes them anew"


def platforms(subject: Subject) -> Iterator[Finding]:
    """The platform tags are of one architecture, and of one at all."""
    name = subject.name
    named = {arch.value for arch in Arch for platform in name.platforms if platform.endswith(f"_{arch.value}")}
    named |= {tag.arch for tag in map(MusllinuxTag.parse, name.platforms) if tag}
    if len(named) > 1:
        yield finding(
            "tag-of-two-architectures",
            file=str(name),
            message=f"promises {' and '.join(sorted(named))}; its objects are of one of them at most",
            evidence=".".join(name.platforms),
            remedy="Build a wheel for each architecture",
        )
    if "any" in name.platforms and not subject.may_graft:
        yield finding(
            "tag-any-with-objects",
            file=str(name),
            message="promises any platform and has compiled code",
            evidence="any",
            remedy=REPAIR,
        )


def wheel_file(subject: Subject) -> Iterator[Finding]:
    """File name and WHEEL agree, and a wheel with objects is not called pure."""
    if subject.wheel_tags != subject.name.expanded:
        yield finding(
            "tags-disagree",
            file=WHEEL_FILE,
            message=f"has the tags {', '.join(subject.wheel_tags[:3]) or 'none'}; the file name says otherwise",
            evidence=", ".join(subject.wheel_tags),
            remedy=REPAIR,
        )
    if subject.root_is_purelib:
        yield finding(
            "purelib-with-objects",
            file=WHEEL_FILE,
            message="says Root-Is-Purelib: true and the wheel has ELF objects",
            evidence="Root-Is-Purelib: true",
            remedy=REPAIR,
        )
