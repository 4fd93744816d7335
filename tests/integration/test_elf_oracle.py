"""ElfFacts against pyelftools on every object of real Alpine roots, all architectures and many releases."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from musllinux_build.arch import Arch
from musllinux_build.elf.attributes import V7
from musllinux_build.elf.facts import ElfFacts, ElfKind
from musllinux_build.elf.reader import read_elf
from tests.oracle import by_oracle, exports_by_oracle

pytestmark = pytest.mark.slow

LAB = Path(os.environ.get("MUSLLINUX_LAB") or Path(__file__).parents[3] / "shared")
ROOTS = [path for release in ("3.12", "3.20") for path in sorted((LAB / "alpine").glob(f"*rootfs-{release}.*.tar.gz"))]


def objects(archive: Path) -> Iterator[tuple[str, bytes, ElfFacts]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.isfile() else None
            content = stream.read() if stream else b""
            facts = read_elf(content, member.name)
            if facts is not None and facts.kind in {ElfKind.SHARED, ElfKind.EXECUTABLE}:
                yield member.name, content, facts


@pytest.mark.skipif(not ROOTS, reason="the lab folder is not there")
@pytest.mark.parametrize("archive", ROOTS, ids=lambda path: path.name.removesuffix(".tar.gz"))
def test_every_object_of_a_root(archive: Path) -> None:
    seen, cpus = 0, set()
    for name, content, facts in objects(archive):
        seen += 1
        theirs = by_oracle(content)
        assert {field: getattr(facts, field) for field in theirs} == theirs, name
        if ELFFile(io.BytesIO(content)).get_section_by_name(".gnu.version_d") is None:
            assert facts.exports == exports_by_oracle(content), name
        if facts.arch is Arch.ARMV7L:
            assert_attributes(content, facts)
            cpus.add(facts.arm.cpu if facts.arm else None)
    assert seen > 5
    assert (V7 in cpus) is ("armv7" in archive.name)


def assert_attributes(content: bytes, facts: ElfFacts) -> None:
    section = ELFFile(io.BytesIO(content)).get_section_by_name(".ARM.attributes")
    assert facts.arm is not None
    if section is None:
        assert facts.arm.cpu is None
        return
    (subsection,) = section.iter_subsections()
    (whole,) = subsection.iter_subsubsections()
    values = {attribute.tag: attribute.value for attribute in whole.iter_attributes()}
    assert facts.arm.cpu == values.get("TAG_CPU_ARCH")
    assert facts.arm.hard_float == (values["TAG_ABI_VFP_ARGS"] == 1 if "TAG_ABI_VFP_ARGS" in values else None)
