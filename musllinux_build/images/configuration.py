"""The rows of the contract that an image's configuration keeps or breaks; no container is started for them."""

from __future__ import annotations

from collections.abc import Callable

from musllinux_build.images.promise import Level, Row, Wanted
from musllinux_build.ports import ImageInfo

MUST, SHOULD = Level.MUST, Level.SHOULD


def _env(id_: str, level: Level, name: str, value: Callable[[Wanted], str]) -> Row:
    def check(image: ImageInfo, wanted: Wanted) -> str | None:
        found, right = image.env.get(name), value(wanted)
        return None if found == right else f"{name} is {found!r}, not {right!r}"

    return Row(id=id_, level=level, claim=f"the environment has {name}", config=check)


def _path(image: ImageInfo, _: Wanted) -> str | None:
    directories = image.env.get("PATH", "").split(":")
    usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return None if ":".join(directories).endswith(usual) else f"PATH is {image.env.get('PATH')!r}"


UNSET = ("CFLAGS", "CXXFLAGS", "LDFLAGS", "CC", "CXX", "SOURCE_DATE_EPOCH", "MAKEFLAGS", "_PYTHON_HOST_PLATFORM")


def _unset(image: ImageInfo, _: Wanted) -> str | None:
    there = [name for name in image.env if name in UNSET or (name.startswith("PIP_") and name != "PIP_CERT")]
    return f"{', '.join(sorted(there))} would reach every build" if there else None


def _platform(image: ImageInfo, wanted: Wanted) -> str | None:
    row = wanted.arch.row
    found = (image.architecture, image.variant or None)
    # An engine may add the variant that an architecture's generation has by itself (v8 of arm64).
    right = found[0] == row.oci_architecture and (found[1] == row.oci_variant or row.oci_variant is None)
    return None if right else f"it says {'/'.join(filter(None, found))}, clients ask for {wanted.arch.oci_platform}"


def _entrypoint(image: ImageInfo, _: Wanted) -> str | None:
    right = image.entrypoint == ("manylinux-entrypoint",) and image.command == ("/bin/bash",)
    return None if right else f"ENTRYPOINT is {list(image.entrypoint)}, CMD {list(image.command)}"


def _plain(image: ImageInfo, _: Wanted) -> str | None:
    odd = []
    if image.user not in ("", "root", "0"):
        odd.append(f"USER {image.user}")
    if image.workdir not in ("", "/"):
        odd.append(f"WORKDIR {image.workdir}")
    odd += image.declared
    return ", ".join(odd) or None


OCI_LABELS = ("title", "description", "source", "licenses", "version", "revision", "base.name")


def _labels(image: ImageInfo, _: Wanted) -> str | None:
    missing = [name for name in OCI_LABELS if f"org.opencontainers.image.{name}" not in image.labels]
    return f"no org.opencontainers.image.{', '.join(missing)}" if missing else None


OUR_LABELS = ("policy", "arch", "musl", "alpine", "pythons", "lock")


def _own_labels(image: ImageInfo, wanted: Wanted) -> str | None:
    missing = [name for name in OUR_LABELS if f"org.musllinux-build.{name}" not in image.labels]
    if missing:
        return f"no org.musllinux-build.{', '.join(missing)}"
    said = (image.labels["org.musllinux-build.policy"], image.labels["org.musllinux-build.arch"])
    return None if said == (wanted.policy.value, wanted.arch.value) else f"they say {' '.join(said)}"


CONFIGURATION = (
    _env("E1", MUST, "AUDITWHEEL_POLICY", lambda wanted: wanted.policy.value),
    _env("E2", MUST, "AUDITWHEEL_ARCH", lambda wanted: wanted.arch.value),
    _env("E3", MUST, "AUDITWHEEL_PLAT", lambda wanted: wanted.policy.platform_tag(wanted.arch)),
    _env("E4", SHOULD, "LC_ALL", lambda _: "en_US.UTF-8"),
    _env("E4.lang", SHOULD, "LANG", lambda _: "en_US.UTF-8"),
    _env("E5", SHOULD, "LD_LIBRARY_PATH", lambda _: ""),
    _env("E5.devtoolset", SHOULD, "DEVTOOLSET_ROOTPATH", lambda _: ""),
    Row(id="E6", level=MUST, claim="PATH ends with the usual directories, /usr/local first", config=_path),
    _env("E7", MUST, "PKG_CONFIG_PATH", lambda _: "/usr/local/lib/pkgconfig"),
    _env("E9", SHOULD, "PIPX_DISABLE_SHARED_LIBS_AUTO_UPGRADE", lambda _: "1"),
    Row(id="E10", level=MUST, claim="no compiler flags, PIP_* or clock in the environment", config=_unset),
    Row(id="C1", level=MUST, claim="ENTRYPOINT manylinux-entrypoint, CMD /bin/bash", config=_entrypoint),
    _env("C6.shell", SHOULD, "SHELL", lambda _: "/bin/bash"),
    Row(id="C4", level=MUST, claim="the platform, with its variant, is exactly the architecture's", config=_platform),
    Row(id="C5", level=SHOULD, claim="root, no working directory, ports, volumes or health check", config=_plain),
    Row(id="C5.oci", level=SHOULD, claim="OCI labels say what it is and where it comes from", config=_labels),
    Row(id="C5.own", level=SHOULD, claim="labels name policy, musl, Alpine, interpreters and lock", config=_own_labels),
)
