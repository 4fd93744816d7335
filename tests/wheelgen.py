"""Wheels from a dict of files, sound unless a test asks for something else."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelSpec:
    """A wheel to be built. ``extra`` members are not listed in RECORD; ``record`` replaces it altogether."""

    files: Mapping[str, bytes]
    distribution: str = "demo"
    version: str = "1.0"
    tag: str = "cp313-cp313-linux_x86_64"
    purelib: str = "false"
    wheel_file: str | None = None
    metadata: str = ""
    record: str | None = None
    extra: Mapping[str, bytes] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)
    compression: int = zipfile.ZIP_DEFLATED

    @property
    def filename(self) -> str:
        return f"{self.distribution}-{self.version}-{self.tag}.whl"

    @property
    def dist_info(self) -> str:
        return f"{self.distribution}-{self.version}.dist-info"


def digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def build_wheel(spec: WheelSpec) -> bytes:
    """The bytes of ``spec``."""
    wheel_file = spec.wheel_file
    if wheel_file is None:
        tags = "".join(
            f"Tag: {'-'.join(parts)}\n" for parts in product(*(part.split(".") for part in spec.tag.split("-")))
        )
        wheel_file = f"Wheel-Version: 1.0\nGenerator: test 1\nRoot-Is-Purelib: {spec.purelib}\n{tags}"
    files = {
        **spec.files,
        f"{spec.dist_info}/METADATA": f"Metadata-Version: 2.1\nName: {spec.distribution}\n{spec.metadata}".encode(),
        f"{spec.dist_info}/WHEEL": wheel_file.encode(),
    }
    record = spec.record
    if record is None:
        rows = [f"{name},sha256={digest(content)},{len(content)}" for name, content in files.items()]
        record = "\n".join([*rows, f"{spec.dist_info}/RECORD,,"]) + "\n"
    whole = {**files, **spec.extra, f"{spec.dist_info}/RECORD": record.encode()}
    return build_zip(whole, spec.compression, spec.modes)


def build_zip(
    files: Mapping[str, bytes],
    compression: int = zipfile.ZIP_DEFLATED,
    modes: Mapping[str, int] = MappingProxyType({}),
) -> bytes:
    """A plain zip archive; ``modes`` are permissions of members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            info.external_attr = modes.get(name, 0) << 16
            archive.writestr(info, content, compress_type=compression)
    return out.getvalue()
