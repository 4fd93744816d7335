"""Mutations of bytes that know where numbers are, so that most inputs get past the first check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

EDGES = (0, 1, 2, 3, 4, 7, 8, 15, 16, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000)
WIDE = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A number in a seed; ``size`` in bytes."""

    at: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """Bytes and where their numbers are."""

    name: str
    content: bytes
    order: Literal["little", "big"] = "little"
    spots: Sequence[Spot] = ()


def mutate(seed: Seed, others: Sequence[Seed], random: Random) -> bytes:
    """``seed`` with one to six changes."""
    content = bytearray(seed.content)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4, 6))):
        random.choice(CHANGES)(content, seed, others, random)
    return bytes(content)


def _number(content: bytearray, seed: Seed, others: Sequence[Seed], random: Random) -> None:
    if not seed.spots:
        _flip(content, seed, others, random)
        return
    spot = random.choice(seed.spots)
    if spot.at + spot.size > len(content):
        return
    old = int.from_bytes(content[spot.at : spot.at + spot.size], seed.order)
    kind = random.randrange(6)
    if kind == 0:
        new = random.choice(EDGES)
    elif kind == 1:
        new = random.choice(WIDE)
    elif kind == 2:
        new = old + random.choice((-8, -4, -2, -1, 1, 2, 4, 8, 16, 24))
    elif kind == 3:
        new = len(content) + random.randrange(-16, 2)
    elif kind == 4:
        other = random.choice(seed.spots)
        new = int.from_bytes(content[other.at : other.at + other.size], seed.order)
    else:
        new = random.randrange(len(content) + 1)
    content[spot.at : spot.at + spot.size] = (new & ((1 << 8 * spot.size) - 1)).to_bytes(spot.size, seed.order)


def _flip(content: bytearray, seed: Seed, others: Sequence[Seed], random: Random) -> None:
    if content:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def _byte(content: bytearray, seed: Seed, others: Sequence[Seed], random: Random) -> None:
    if content:
        content[random.randrange(len(content))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))


def _cut(content: bytearray, seed: Seed, others: Sequence[Seed], random: Random) -> None:
    if random.random() < 0.3:
        del content[random.randrange(len(content) + 1) :]
    else:
        at = random.randrange(len(content) + 1)
        del content[at : at + random.randrange(1, 64)]


def _insert(content: bytearray, seed: Seed, others: Sequence[Seed], random: Random) -> None:
    at = random.randrange(len(content) + 1)
    content[at:at] = random.choice((bytes(random.randrange(1, 64)), random.randbytes(random.randrange(1, 16))))


def _repeat(content: bytearray, seed: Seed, others: Sequence[Seed], random: Random) -> None:
    at, size = random.randrange(len(content) + 1), random.randrange(1, 64)
    part = bytes(content[at : at + size])
    to = random.randrange(len(content) + 1)
    content[to : to + (len(part) if random.random() < 0.7 else 0)] = part


def _splice(content: bytearray, seed: Seed, others: Sequence[Seed], random: Random) -> None:
    other = random.choice(others).content
    at = random.randrange(len(other) + 1)
    part = other[at : at + random.randrange(1, 200)]
    to = random.randrange(len(content) + 1) if random.random() < 0.5 else min(at, len(content))
    content[to : to + len(part)] = part


def _fill(content: bytearray, seed: Seed, others: Sequence[Seed], random: Random) -> None:
    at = random.randrange(len(content) + 1)
    size = min(random.randrange(1, 100), len(content) - at)
    content[at : at + size] = bytes([random.choice((0, 0xFF, 1, 0x41))]) * size


Change = Callable[[bytearray, Seed, Sequence[Seed], Random], None]
CHANGES: tuple[Change, ...] = (*(_number,) * 8, _flip, _flip, _byte, _byte, _cut, _insert, _repeat, _splice, _fill)
