import random
import zlib
from importlib.util import find_spec

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musllinux_build.wheel.codec import BLOCK, BadStreamError, Codec, Zlib, find_codec, in_turn

CODECS: list[Codec] = [Zlib(), find_codec()]
LARGE = b"".join(
    random.Random(7).choices([b"libyaml", b"musl", b"\0\0\0\0", b"wheel-", bytes(range(99))], k=BLOCK // 5)
)


def inflated(codec: Codec, packed: bytes, size: int) -> bytes:
    out = bytearray(size)
    codec.inflate(packed, out, size)
    return bytes(out)


def test_libdeflate_is_used_where_its_package_is() -> None:
    assert find_codec().name == ("libdeflate" if find_spec("deflate") else "zlib")


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
@settings(max_examples=30, deadline=None)
@given(content=st.binary(max_size=80), times=st.sampled_from([1, 30, 3000]), level=st.integers(1, 9))
def test_what_is_packed_is_unpacked_by_each_and_by_zlib(codec: Codec, content: bytes, times: int, level: int) -> None:
    content *= times
    packed = codec.deflate(content, level, in_turn)
    if packed is None:
        # libdeflate does not try the smallest contents.
        assert len(content) < 100 or len(zlib.compress(content, level)) > len(content) * 0.9
        return
    assert len(packed) < len(content)
    assert zlib.decompress(packed, -15) == content
    for other in CODECS:
        assert inflated(other, bytes(packed), len(content)) == content


def test_the_blocks_of_a_large_content_may_be_packed_in_any_order() -> None:
    codec = Zlib()
    backwards = codec.deflate(LARGE, 6, lambda pack, count: [pack(index) for index in reversed(range(count))][::-1])
    packed = codec.deflate(LARGE, 6, in_turn)
    assert packed == backwards
    assert packed is not None
    assert zlib.decompress(packed, -15) == LARGE
    assert len(packed) < len(zlib.compress(LARGE, 6)) * 1.01


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_a_stream_is_whole_and_nothing_else(codec: Codec) -> None:
    content = LARGE[: 3 << 17]
    packed = zlib.compress(content)[2:-4]
    assert inflated(codec, packed, len(content)) == content
    for wrong, size in (
        (packed + b"x", len(content)),
        (packed[:-1], len(content)),
        (packed, len(content) + 1),
        (packed, len(content) - 1),
        (b"", len(content)),
        (b"\xff" * 50, len(content)),
    ):
        with pytest.raises(BadStreamError):
            inflated(codec, wrong, size)
    assert inflated(codec, b"\x03\0", 0) == b""
    with pytest.raises(BadStreamError):
        inflated(codec, b"\x03\0x", 0)
