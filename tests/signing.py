"""A key that signs packages and indexes as apk wants it, without a program."""

from __future__ import annotations

import base64
import hashlib

from tests.lab import apk

# A key of well-known primes, so that a signature needs no program.
P = 2**384 - 2**128 - 2**96 + 2**32 - 1  # the prime of NIST P-384 (FIPS 186-4, D.1.2.4)
Q = 2**255 - 19  # that of Curve25519 (RFC 7748)
MODULUS, EXPONENT = P * Q, 65537
SIZE = (MODULUS.bit_length() + 7) // 8


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    return bytes([tag, size] if size < 128 else [tag, 0x81, size]) + content


def public_key() -> bytes:
    numbers = [der(2, b"\0" + number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in (MODULUS, EXPONENT)]
    algorithm = der(0x30, der(6, bytes.fromhex("2a864886f70d010101")) + der(5, b""))
    info = der(0x30, algorithm + der(3, b"\0" + der(0x30, b"".join(numbers))))
    return b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(info) + b"-----END PUBLIC KEY-----\n"


def sign(content: bytes) -> bytes:
    digest = bytes.fromhex("3021300906052b0e03021a05000414") + hashlib.sha1(content).digest()
    block = b"\0\1" + bytes([255]) * (SIZE - len(digest) - 3) + b"\0" + digest
    private = pow(EXPONENT, -1, (P - 1) * (Q - 1))
    return pow(int.from_bytes(block, "big"), private, MODULUS).to_bytes(SIZE, "big")


SIGNER = apk.Signer(key_name="lab.rsa.pub", sign=sign)
KEYS = {"lab.rsa.pub": public_key()}


def an_apk(name: str, depends: tuple[str, ...] = ()) -> bytes:
    about = apk.Package(
        name=name, version="1-r0", arch="x86_64", description="", license="MIT", origin=name, depends=depends
    )
    return apk.write_apk(about, [apk.Entry(path=f"usr/{name}", kind=apk.Kind.FILE, content=name.encode())], SIGNER)
