"""DEFLATE (RFC 1951) by libdeflate where the package ``deflate`` brings it, else by zlib.

libdeflate packs and unpacks about three times faster. It is called through its C interface, which the package's
extension exports, because the package's own functions hold the interpreter's lock and do not say where a stream ends.
The two pack the same content to different bytes; each packs it to the same bytes every time and everywhere.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import zlib
from collections.abc import Callable
from importlib.machinery import PathFinder
from mmap import mmap
from typing import Final, Protocol

Buffer = bytes | bytearray | memoryview | mmap
SMALL: Final = 1 << 15
"""Below this many bytes it costs more to give up the interpreter's lock than to keep it."""
BLOCK: Final = 1 << 20
"""zlib packs large contents in blocks of this many bytes, so that all cores can work on one."""
WINDOW: Final = 1 << 15


class BadStreamError(ValueError):
    """Not one complete DEFLATE stream of the stated size."""


class Codec(Protocol):
    """One implementation of DEFLATE."""

    @property
    def name(self) -> str:
        """``libdeflate`` or ``zlib``."""

    def inflate(self, packed: Buffer, out: mmap | bytearray, size: int) -> None:
        """Put the ``size`` bytes that the stream ``packed`` holds into ``out``.

        Raises:
            BadStreamError: it is no stream, does not hold exactly so many, or has bytes after its end.
        """

    def crc32(self, content: memoryview) -> int:
        """The checksum that zip archives have (RFC 1952, section 8)."""

    def deflate(self, content: Buffer, level: int, spread: Spread) -> Buffer | None:
        """``content`` packed at ``level`` (1 to 9), None when that is no shorter."""


Spread = Callable[[Callable[[int], bytes], int], list[bytes]]
"""``spread(function, count)``: the results for 0 to count - 1, in order, on as many cores as there are."""


def in_turn(function: Callable[[int], bytes], count: int) -> list[bytes]:
    """The Spread of one core."""
    return [function(index) for index in range(count)]


class Zlib:
    """Codec over the standard library."""

    name = "zlib"

    def inflate(self, packed: Buffer, out: mmap | bytearray, size: int) -> None:
        """As the protocol says; in pieces, so that no second copy of a large content is made."""
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        position = 0
        try:
            with memoryview(packed) as view, memoryview(out) as target:
                for start in range(0, len(view), SMALL):
                    piece: bytes | memoryview = view[start : start + SMALL]
                    more = True
                    while more:
                        limit = min(BLOCK, size - position + 1)
                        chunk = inflater.decompress(piece, limit)
                        if position + len(chunk) > size or inflater.unused_data:
                            raise BadStreamError("it is too long or has bytes after its end")
                        target[position : position + len(chunk)] = chunk
                        position += len(chunk)
                        piece = inflater.unconsumed_tail
                        more = bool(piece) or len(chunk) == limit
        except zlib.error as reason:
            raise BadStreamError(str(reason)) from None
        if not inflater.eof or position != size:
            raise BadStreamError("it is cut short")

    def crc32(self, content: memoryview) -> int:
        """As the protocol says."""
        return zlib.crc32(content)

    def deflate(self, content: Buffer, level: int, spread: Spread) -> Buffer | None:
        """As the protocol says; the blocks of a large content end on a byte and share their windows (RFC 1951, 3.2.4).

        Where the blocks begin depends on the size alone, so the bytes are the same for any number of cores.
        """
        with memoryview(content) as view:
            count = max(1, -(-len(view) // BLOCK))

            def pack(index: int) -> bytes:
                start = index * BLOCK
                window = view[max(0, start - WINDOW) : start]
                packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=bytes(window))
                packed = packer.compress(view[start : start + BLOCK])
                return packed + packer.flush(zlib.Z_FINISH if index == count - 1 else zlib.Z_SYNC_FLUSH)

            packed = b"".join(spread(pack, count))
            return packed if len(packed) < len(view) else None


class Libdeflate:
    """Codec over libdeflate's C interface (libdeflate.h)."""

    name = "libdeflate"

    def __init__(self, path: str) -> None:
        self._free, self._held = _functions(ctypes.CDLL(path)), _functions(ctypes.PyDLL(path))
        self._own = _Own()

    def inflate(self, packed: Buffer, out: mmap | bytearray, size: int) -> None:
        """As the protocol says."""
        if not len(packed):
            raise BadStreamError("it is empty")
        own, functions = self._own, self._free if size > SMALL else self._held
        if own.unpacker is None:
            own.unpacker = _Freed(self._held.alloc_decompressor(), self._held.free_decompressor)
        used, made = ctypes.c_size_t(), ctypes.c_size_t()
        result = functions.decompress(
            own.unpacker.address,
            _pointer(packed),
            len(packed),
            _pointer(out) if len(out) else b"",
            size,
            ctypes.byref(used),
            ctypes.byref(made),
        )
        if result or used.value != len(packed) or made.value != size:
            raise BadStreamError("it is damaged, cut short, too long or has bytes after its end")

    def crc32(self, content: memoryview) -> int:
        """As the protocol says; a fifth of zlib's time, which counts where there is much to check."""
        if content.readonly or len(content) <= SMALL:
            return zlib.crc32(content)
        return self._free.crc32(0, _pointer(content), len(content))

    def deflate(self, content: Buffer, level: int, spread: Spread) -> Buffer | None:  # noqa: ARG002 - one core each
        """As the protocol says. The result of a large content lies in pages of its own, of which few are touched."""
        size = len(content)
        if not size:
            return None
        own, functions = self._own, self._free if size > SMALL else self._held
        if level not in own.packers:
            own.packers[level] = _Freed(self._held.alloc_compressor(level), self._held.free_compressor)
        out = mmap(-1, size) if size > BLOCK else bytearray(size)
        # libdeflate answers 0 when the result does not fit, and only a shorter one is wanted.
        made = functions.compress(own.packers[level].address, _pointer(content), size, _pointer(out), size - 1)
        if not made:
            return None
        return memoryview(out)[:made] if isinstance(out, mmap) else bytes(memoryview(out)[:made])


class _Own(threading.local):
    """Each thread's own working memory in libdeflate, which is not shared between threads."""

    def __init__(self) -> None:
        self.unpacker: _Freed | None = None
        self.packers: dict[int, _Freed] = {}


class _Freed:
    """An object of libdeflate that is freed with this one."""

    def __init__(self, address: int | None, free: Callable[[int], None]) -> None:
        if not address:
            raise MemoryError
        self.address, self._free = address, free

    def __del__(self) -> None:
        self._free(self.address)


class _Functions(Protocol):
    """The functions of libdeflate.h that are used here."""

    alloc_compressor: Callable[[int], int | None]
    free_compressor: Callable[[int], None]
    alloc_decompressor: Callable[[], int | None]
    free_decompressor: Callable[[int], None]
    compress: Callable[..., int]
    decompress: Callable[..., int]
    crc32: Callable[..., int]


class _Table:
    """A _Functions."""

    alloc_compressor: Callable[[int], int | None]
    free_compressor: Callable[[int], None]
    alloc_decompressor: Callable[[], int | None]
    free_decompressor: Callable[[int], None]
    compress: Callable[..., int]
    decompress: Callable[..., int]
    crc32: Callable[..., int]


def _functions(library: ctypes.CDLL) -> _Functions:
    """The functions of ``library``; AttributeError when it does not export one."""
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    table = _Table()
    for name, symbol, arguments, result in (
        ("alloc_compressor", "libdeflate_alloc_compressor", (ctypes.c_int,), pointer),
        ("free_compressor", "libdeflate_free_compressor", (pointer,), None),
        ("alloc_decompressor", "libdeflate_alloc_decompressor", (), pointer),
        ("free_decompressor", "libdeflate_free_decompressor", (pointer,), None),
        ("compress", "libdeflate_deflate_compress", (pointer, pointer, size, pointer, size), size),
        (
            "decompress",
            "libdeflate_deflate_decompress_ex",
            (pointer, pointer, size, pointer, size, pointer, pointer),
            ctypes.c_int,
        ),
        ("crc32", "libdeflate_crc32", (ctypes.c_uint32, pointer, size), ctypes.c_uint32),
    ):
        function = getattr(library, symbol)
        function.argtypes, function.restype = arguments, result
        setattr(table, name, function)
    return table


def _pointer(buffer: Buffer) -> object:
    """What ctypes takes as the address of ``buffer``, which must not be empty."""
    if isinstance(buffer, memoryview) and buffer.readonly:
        buffer = bytes(buffer)
    return buffer if isinstance(buffer, bytes) else ctypes.byref(ctypes.c_char.from_buffer(buffer))


@functools.cache
def find_codec() -> Codec:
    """The codec over libdeflate when the package ``deflate`` is there and exports it, else zlib."""
    package = PathFinder.find_spec("deflate")
    inner = PathFinder.find_spec("deflate._deflate", package.submodule_search_locations) if package else None
    if inner is None or not inner.origin:
        return Zlib()
    try:
        return Libdeflate(inner.origin)
    except (OSError, AttributeError):
        return Zlib()
