import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musllinux_build.arch import Arch
from musllinux_build.errors import WheelError
from musllinux_build.policy import MuslVersion, Policy
from musllinux_build.tags import WheelName, letter_floor, named_arch, named_policy, retag

TAG = st.sampled_from(["cp313", "cp311", "py3", "abi3", "none", "cp313t"])
PLATFORM = st.sampled_from(["linux_x86_64", "musllinux_1_1_x86_64", "musllinux_1_2_x86_64", "any"])
NAME = st.from_regex(r"[A-Za-z][A-Za-z0-9._]{0,10}", fullmatch=True)
VERSION = st.sampled_from(["1.0", "2024.1.post1", "1.0_local.1", "1.0+cu12", "0.1.dev3"])


@settings(max_examples=40, deadline=None)
@given(
    NAME,
    VERSION,
    st.sampled_from(["", "1", "2foo"]),
    st.sets(TAG, min_size=1),
    st.sets(TAG, min_size=1),
    st.sets(PLATFORM, min_size=1),
)
def test_parse_is_the_inverse_of_format(
    name: str, version: str, build: str, pythons: set[str], abis: set[str], platforms: set[str]
) -> None:
    wheel = WheelName(
        distribution=name,
        version=version,
        build=build,
        pythons=tuple(sorted(pythons)),
        abis=tuple(sorted(abis)),
        platforms=tuple(sorted(platforms)),
    )
    assert WheelName.parse(str(wheel)) == wheel


@pytest.mark.parametrize(
    "filename",
    [
        "demo.whl",
        "demo-1.0-py3-none.whl",
        "demo-1.0-1-2-py3-none-any-x-y.whl",
        "demo-one-py3-none-any.whl",
        "demo-1.0-py3-none-any.zip",
        "demo-1.0-py3-no ne-any.whl",
        "demo-1.0-py3-none-a/b.whl",
        "-1.0-py3-none-any.whl",
        "d" * 600 + "-1.0-py3-none-any.whl",
    ],
)
def test_other_names_are_refused(filename: str) -> None:
    with pytest.raises(WheelError, match="not the file name of a wheel"):
        WheelName.parse(filename)


def test_tags_are_expanded_and_sorted() -> None:
    name = WheelName.parse("Foo.Bar-1.0-1a-py3.py2-none-musllinux_1_2_x86_64.linux_x86_64.whl")
    assert name.build == "1a"
    assert name.expanded == (
        "py2-none-linux_x86_64",
        "py2-none-musllinux_1_2_x86_64",
        "py3-none-linux_x86_64",
        "py3-none-musllinux_1_2_x86_64",
    )
    assert name.same_project("foo_bar-1.0")
    assert not name.same_project("foo_bar-1.1")
    assert not name.same_project("foo_bar")


def test_a_variant_label_is_kept_apart_from_the_platform() -> None:
    name = WheelName.parse("demo-1.0-cp313-cp313-musllinux_1_2_x86_64-x8664v3.whl")
    assert (name.platforms, name.variant) == (("musllinux_1_2_x86_64",), "x8664v3")


@pytest.mark.parametrize("arch", list(Arch))
def test_architecture_and_policy_of_a_name(arch: Arch) -> None:
    plain = WheelName.parse(f"demo-1.0-cp313-cp313-linux_{arch.value}.whl")
    assert (named_arch(plain), named_policy(plain)) == (arch, None)
    tagged = retag(plain, Policy.MUSLLINUX_1_1, arch)
    assert (named_arch(tagged), named_policy(tagged)) == (arch, Policy.MUSLLINUX_1_1)
    assert tagged.platforms == (f"musllinux_1_1_{arch.value}",)
    assert retag(tagged, Policy.MUSLLINUX_1_1, arch) == tagged


def test_names_that_say_nothing_or_two_things() -> None:
    assert named_arch(WheelName.parse("demo-1.0-py3-none-any.whl")) is None
    assert named_arch(WheelName.parse("demo-1.0-py3-none-linux_x86_64.linux_i686.whl")) is None
    assert WheelName.parse("demo-1.0-py3-none-any.whl").is_pure
    assert letter_floor(Policy.MUSLLINUX_1_2) == MuslVersion(1, 2, 0)


def test_a_later_series_stays_true_and_is_kept() -> None:
    name = WheelName.parse("d-1-cp313-cp313-musllinux_1_1_x86_64.musllinux_1_2_x86_64.whl")
    assert retag(name, Policy.MUSLLINUX_1_1, Arch.X86_64) == name
    assert retag(name, Policy.MUSLLINUX_1_2, Arch.X86_64).platforms == ("musllinux_1_2_x86_64",)
