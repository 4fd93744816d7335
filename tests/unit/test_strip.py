import io

import pytest
from elftools.elf.elffile import ELFFile

from musllinux_build.arch import Arch
from musllinux_build.elf.reader import read_elf
from musllinux_build.elf.strip import strip_elf
from tests.elfgen import Obj, build
from tests.sections import with_sections


@pytest.mark.parametrize("arch", list(Arch))
def test_only_what_is_not_loaded_goes(arch: Arch) -> None:
    plain = build(Obj(arch=arch, soname="liba.so", exports=["a"], undefined=["malloc"]))
    content = with_sections(plain, arch, {".dynsym": True, ".symtab": False, ".debug_info": False})
    stripped = strip_elf(content)
    assert len(stripped) < len(content)
    assert read_elf(stripped, "x") == read_elf(content, "x")
    sections = [section.name for section in ELFFile(io.BytesIO(stripped)).iter_sections()]
    assert sections == ["", ".dynsym", ".shstrtab"]
    assert strip_elf(stripped) is stripped


def test_what_cannot_be_understood_is_left_alone() -> None:
    whole = build(Obj())
    for content in (b"", b"\x7fELF", b"text" * 99, whole[:60], whole[:100], whole):
        assert strip_elf(content) is content
