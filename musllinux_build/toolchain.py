"""The native compiler of build containers: what it consists of, its data image and the volume containers mount.

The compiler is clang and lld from the ``ziglang`` wheel, native to the engine, against the container's own sysroot:
only the compiler escapes emulation, everything else of the container stays as Alpine made it. The per-architecture
flags are one table here (and no data file beside it) because its key is :class:`Arch`: a missing row is a type error.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.builds.volumes import DataVolume
from musllinux_build.errors import FetchError
from musllinux_build.ports import LABEL, BuildSpec, Engine, Progress
from musllinux_build.shipped import shipped
from musllinux_build.tarstream import Content, directory_entry, file_entry, tar_stream

TOOLCHAIN_MOUNT = "/opt/musllinux-build/toolchain"
"""Where build containers see the toolchain, read-only."""

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What an image without PATH gets from the engine (OCI runtime convention)."""

SOURCES = ("Dockerfile", "launcher.c", "place.c", "applet.c")
PROGRAMS = ("launcher", "place", "applet")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRow:
    """An architecture as the host of the compiler.

    ``zig_target`` is what its launcher is compiled for, ``wheel_platforms`` the platform tags of its ziglang wheel.
    """

    zig_target: str
    wheel_platforms: tuple[str, ...]


ENGINES: dict[Arch, EngineRow] = {
    Arch.X86_64: EngineRow(
        zig_target="x86_64-linux-musl", wheel_platforms=("manylinux_2_12_x86_64", "musllinux_1_1_x86_64")
    ),
    Arch.AARCH64: EngineRow(
        zig_target="aarch64-linux-musl", wheel_platforms=("manylinux_2_17_aarch64", "musllinux_1_1_aarch64")
    ),
    Arch.I686: EngineRow(zig_target="x86-linux-musl", wheel_platforms=("manylinux_2_12_i686", "musllinux_1_1_i686")),
    Arch.PPC64LE: EngineRow(
        zig_target="powerpc64le-linux-musl", wheel_platforms=("manylinux_2_17_ppc64le", "musllinux_1_1_ppc64le")
    ),
    Arch.S390X: EngineRow(
        zig_target="s390x-linux-musl", wheel_platforms=("manylinux_2_17_s390x", "musllinux_1_1_s390x")
    ),
    Arch.ARMV7L: EngineRow(
        zig_target="arm-linux-musleabihf", wheel_platforms=("manylinux_2_17_armv7l", "musllinux_1_1_armv7l")
    ),
}

TARGETS: dict[Arch, tuple[str, ...]] = {
    # The baselines of Alpine's gcc, not clang's: a wheel must run on every processor that Alpine runs on.
    Arch.X86_64: ("-march=x86-64", "-mtune=generic"),
    # Outline atomics follow the libgcc that is found (9.3.1 and later), as in gcc.
    Arch.AARCH64: ("-march=armv8-a",),
    Arch.I686: ("-march=pentium-m", "-mtune=generic"),
    Arch.PPC64LE: ("-mcpu=power8",),
    Arch.S390X: ("-march=z10",),
    # clang's armv7 has NEON, Alpine's has not; Thumb is its gcc's --with-mode.
    Arch.ARMV7L: ("-march=armv7-a", "-mfpu=vfpv3-d16", "-mfloat-abi=hard", "-mthumb"),
}

COMMON: tuple[str, ...] = (
    # <CFGDIR> is clang's word for the directory of the file, so that the toolchain works wherever it lies.
    "-resource-dir=<CFGDIR>/../../lib",
    # No wheel says where its compiler lay: its own headers are named in debugging information.
    "-ffile-prefix-map=<CFGDIR>/../../lib=/usr/lib/clang",
    "-B<CFGDIR>/bin",
    "-fuse-ld=lld",
    "--rtlib=libgcc",
    "--unwindlib=libgcc",
    "--stdlib=libstdc++",
    # As Alpine's gcc is patched (PIE is clang's default too; the linker's defaults are in launcher.c). Left out:
    # _FORTIFY_SOURCE, which does nothing on musl without the fortify-headers package.
    "-fstack-protector-strong",
    # What is an error in clang and a warning in the gcc of these Alpines: old sources must build as they did.
    "-Wno-error=implicit-function-declaration",
    "-Wno-error=implicit-int",
    "-Wno-error=int-conversion",
    "-Wno-error=incompatible-pointer-types",
    "-Wno-error=incompatible-function-pointer-types",
    "-Wno-error=return-mismatch",
    "-Wno-unused-command-line-argument",
)

TOOLS = ("cc", "gcc", "clang", "c++", "g++", "clang++", "cpp", "ar", "gcc-ar", "ranlib", "gcc-ranlib", "ld", "ld.lld")
PREFIXED = ("cc", "gcc", "c++", "g++", "cpp", "ar", "gcc-ar", "ranlib", "gcc-ranlib", "ld")
"""The tools that also answer to ``<triple>-<name>``, as autoconf looks for them."""

# `zig cc` links one static program for Linux with musl: no other libc, no libc++, no sanitizer.
_ZIG_LIBRARY = re.compile(
    r"lib/(?:include/|compiler_rt|compiler/|std/|c/|c\.zig|zig\.h|ubsan_rt\.zig|libc/musl/"
    r"|libc/include/(?:generic-musl|[^/]+-linux-(?:any|musl[^/]*))/)"
)


def path_with_toolchain(arch: Arch, image_path: str) -> str:
    """The value of PATH in which the native compiler for ``arch`` comes first."""
    return f"{TOOLCHAIN_MOUNT}/targets/{arch.value}/bin:{image_path or DEFAULT_PATH}"


def container_env(arch: Arch, image_path: str = DEFAULT_PATH) -> dict[str, str]:
    """All that a build container's environment needs: PATH, and neither CC nor flags.

    Build systems keep what they record (``CC=gcc``), so nothing in the wheel knows of this compiler.
    """
    return {"PATH": path_with_toolchain(arch, image_path)}


def target_names(arch: Arch) -> tuple[str, ...]:
    """The file names in ``targets/<arch>/bin``."""
    return (*TOOLS, *(f"{arch.row.triple}-{tool}" for tool in PREFIXED))


def clang_cfg(arch: Arch) -> str:
    """The text of ``targets/<arch>/clang.cfg``."""
    return "\n".join((f"--target={arch.row.triple}", *TARGETS[arch], *COMMON, ""))


def small_files(engine_arch: Arch) -> dict[str, bytes]:
    """Path in the build context → content, for all of it that does not come from the wheel."""
    target = ENGINES[engine_arch].zig_target
    arguments = "-target {target} -static -Os -s -o /src/{program} /src/{program}.c\n"
    names = [f"targets/{arch.value}/bin/{name}\n" for arch in Arch for name in target_names(arch)]
    sources = shipped("toolchains")
    files = {"src/names": "".join(names).encode()}
    for name in SOURCES:
        files[name if name == "Dockerfile" else f"src/{name}"] = (sources / name).read_bytes()
    for program in PROGRAMS:
        files[f"src/{program}.args"] = arguments.format(target=target, program=program).encode()
    for arch in Arch:
        files[f"files/targets/{arch.value}/clang.cfg"] = clang_cfg(arch).encode()
    return files


def toolchain_key(engine_arch: Arch, wheel_sha256: str) -> str:
    """64 hexadecimal digits that change with anything the toolchain is made from."""
    digest = hashlib.sha256(f"{engine_arch.value}\n{wheel_sha256}\n{_ZIG_LIBRARY.pattern}\n".encode())
    for path, content in sorted(small_files(engine_arch).items()):
        digest.update(f"{path} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def toolchain_image_tag(engine_arch: Arch, wheel_sha256: str) -> str:
    """``musllinux-build/toolchain:<engine architecture>-<first 16 digits of the key>``."""
    return f"musllinux-build/toolchain:{engine_arch.value}-{toolchain_key(engine_arch, wheel_sha256)[:16]}"


def toolchain_volume_name(image_tag: str) -> str:
    """``musllinux-build-toolchain-<first 16 digits of the key>``."""
    return f"musllinux-build-toolchain-{image_tag.rpartition('-')[2]}"


def wheel_members(wheel: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Path in the build context → member of a ziglang wheel.

    Raises:
        FetchError: it has no zig executable or no headers of clang.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    for member in wheel.infolist():
        inside = member.filename.removeprefix("ziglang/")
        if member.is_dir() or inside == member.filename:
            continue
        if inside == "zig" or _ZIG_LIBRARY.match(inside):
            found[f"zig/{inside}"] = member
        if inside.startswith("lib/include/"):
            found[f"files/{inside}"] = member
    if "zig/zig" not in found or "files/lib/include/stdarg.h" not in found:
        raise FetchError(
            f"{wheel.filename} is no ziglang wheel that this version knows",
            resolution="Use the ziglang wheel that dockerfiles/lock.toml names.",
        )
    return found


def context_tar(engine_arch: Arch, wheel_path: Path) -> Iterator[bytes]:
    """The build context as an uncompressed tar: sorted, no times, no owners, the same bytes for the same inputs."""
    with zipfile.ZipFile(wheel_path) as wheel:
        yield from tar_stream(_context_entries(small_files(engine_arch), wheel))


def _context_entries(small: Mapping[str, bytes], wheel: zipfile.ZipFile) -> Iterator[tuple[tarfile.TarInfo, Content]]:
    members = wheel_members(wheel)
    paths = sorted({*small, *members})
    for directory in sorted({str(parent) for path in paths for parent in Path(path).parents} - {"."}):
        yield directory_entry(directory), b""
    for path in paths:
        if path in small:
            yield file_entry(path, len(small[path])), small[path]
        else:
            with wheel.open(members[path]) as stream:
                yield file_entry(path, members[path].file_size, 0o755 if path == "zig/zig" else 0o644), stream


def ensure_toolchain_image(engine: Engine, engine_arch: Arch, wheel_path: Path, progress: Progress) -> str:
    """The tag of the data image for ``engine_arch``, built from a verified wheel if the engine has none.

    Raises:
        ImageError: a step of the build failed.
        FetchError: the wheel is not what it should be.
    """
    with wheel_path.open("rb") as stream:
        tag = toolchain_image_tag(engine_arch, hashlib.file_digest(stream, "sha256").hexdigest())
    if engine.image(tag) is not None:
        return tag
    spec = BuildSpec(
        context=context_tar(engine_arch, wheel_path),
        tag=tag,
        platform=engine_arch.oci_platform,
        labels={LABEL: "toolchain"},
        network="none",
    )
    with progress.step(f"native compiler for {engine_arch.value} engines (once per engine)"):
        engine.build(spec, progress.detail)
    return tag


def toolchain_volume(image_tag: str, platform: str) -> DataVolume:
    """The volume with the whole toolchain of a data image, on an engine of ``platform``."""
    return DataVolume(
        what="toolchain",
        name=toolchain_volume_name(image_tag),
        image=image_tag,
        platform=platform,
        mount=TOOLCHAIN_MOUNT,
        command=(f"{TOOLCHAIN_MOUNT}/zig", "version"),
        expected=expected_paths(),
    )


def expected_paths() -> Sequence[str]:
    """Paths below the mount that a filled volume has, some in each directory that an engine copies."""
    targets = (path for arch in Arch for path in (f"targets/{arch.value}/bin/cc", f"targets/{arch.value}/clang.cfg"))
    return ("zig", "applet", "lib/include/stdarg.h", *targets)
