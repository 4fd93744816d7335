from elftools.elf import enums

from musllinux_build.elf import numbers


def test_the_numbers_are_those_of_the_gabi() -> None:
    assert len(numbers.TAG) > 20
    assert {name: enums.ENUM_D_TAG_COMMON[name] for name in numbers.TAG} == numbers.TAG
    assert {name: enums.ENUM_P_TYPE_BASE[name] for name in numbers.SEGMENT} == numbers.SEGMENT
    assert enums.ENUM_DT_FLAGS["DF_TEXTREL"] == numbers.DF_TEXTREL
    assert enums.ENUM_DT_FLAGS["DF_STATIC_TLS"] == numbers.DF_STATIC_TLS
    assert enums.ENUM_E_MACHINE["EM_ARM"] == numbers.EM_ARM
