"""What clients rely on in a musllinux image, one row each; nothing here touches an engine.

The identifiers of most rows are those under which the reference images' habits are known among their users: E is the
environment, C the image's configuration, F the file system, X the commands on PATH, B behaviour. M are musl's own rows
and A the audit of every ELF object. ``MUST``: a known client breaks without it. ``SHOULD``: people use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from musllinux_build.arch import Arch
from musllinux_build.policy import Policy
from musllinux_build.ports import ImageInfo
from musllinux_build.python import PythonTag


class Level(Enum):
    """How much a row matters."""

    MUST = "must"
    SHOULD = "should"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an image is held to; ``pythons`` are the interpreters that have to be there."""

    policy: Policy
    arch: Arch
    pythons: tuple[PythonTag, ...] = ()

    @property
    def environment(self) -> Mapping[str, str]:
        """What the scripts of the table may use as variables."""
        row = self.policy.row
        return {
            "POLICY": self.policy.value,
            "ARCH": self.arch.value,
            "MUSL_FLOOR": str(row.floor),
            "LOADER": self.arch.row.loader,
            "MULTIARCH": self.arch.row.multiarch,
        }


ConfigCheck = Callable[[ImageInfo, Wanted], str | None]
"""What is wrong with an image's configuration, None when nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One promise: ``config`` looks at the configuration, ``script`` is run by ``/bin/sh`` in a container.

    A script passes with exit status 0; the last line it writes is the evidence either way. One ``for_each_python`` has
    ``$TAG`` and ``$PYTHON`` and is run once for each of them.
    """

    id: str
    level: Level
    claim: str
    config: ConfigCheck | None = None
    script: str = ""
    for_each_python: bool = False


def _env(id_: str, level: Level, name: str, value: Callable[[Wanted], str]) -> Row:
    def check(image: ImageInfo, wanted: Wanted) -> str | None:
        found, right = image.env.get(name), value(wanted)
        return None if found == right else f"{name} is {found!r}, not {right!r}"

    return Row(id=id_, level=level, claim=f"the environment has {name}", config=check)


def _path(image: ImageInfo, _: Wanted) -> str | None:
    directories = image.env.get("PATH", "").split(":")
    usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return None if ":".join(directories).endswith(usual) else f"PATH is {image.env.get('PATH')!r}"


UNSET = ("CFLAGS", "CXXFLAGS", "LDFLAGS", "CC", "CXX", "SOURCE_DATE_EPOCH", "MAKEFLAGS")


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


MUST, SHOULD = Level.MUST, Level.SHOULD

CONFIGURATION = (
    _env("E1", MUST, "AUDITWHEEL_POLICY", lambda wanted: wanted.policy.value),
    _env("E2", MUST, "AUDITWHEEL_ARCH", lambda wanted: wanted.arch.value),
    _env("E3", MUST, "AUDITWHEEL_PLAT", lambda wanted: wanted.policy.platform_tag(wanted.arch)),
    _env("E4", SHOULD, "LC_ALL", lambda _: "en_US.UTF-8"),
    _env("E4.lang", SHOULD, "LANG", lambda _: "en_US.UTF-8"),
    Row(id="E6", level=MUST, claim="PATH ends with the usual directories, /usr/local first", config=_path),
    _env("E7", MUST, "PKG_CONFIG_PATH", lambda _: "/usr/local/lib/pkgconfig"),
    Row(id="E10", level=MUST, claim="no compiler flags, PIP_* or clock in the environment", config=_unset),
    Row(id="C1", level=MUST, claim="ENTRYPOINT manylinux-entrypoint, CMD /bin/bash", config=_entrypoint),
    Row(id="C4", level=MUST, claim="the platform, with its variant, is exactly the architecture's", config=_platform),
    Row(id="C5", level=SHOULD, claim="root, no working directory, ports, volumes or health check", config=_plain),
    Row(id="C5.oci", level=SHOULD, claim="OCI labels say what it is and where it comes from", config=_labels),
    Row(id="C5.own", level=SHOULD, claim="labels name policy, musl, Alpine, interpreters and lock", config=_own_labels),
)

MUSL = (
    Row(
        id="M1",
        level=MUST,
        claim="the package database and the loader name one musl",
        script="""
            package=$(sed -n '/^P:musl$/,/^$/s/^V://p' /lib/apk/db/installed)
            loader=$("/lib/$LOADER" 2>&1 | sed -n 's/^Version //p')
            echo "package $package, loader $loader"
            [ -n "$loader" ] && [ "${package%-r*}" = "$loader" ]""",
    ),
    Row(
        id="M2",
        level=MUST,
        claim="musl is not newer than the floor that the policy promises",
        script="""
            loader=$("/lib/$LOADER" 2>&1 | sed -n 's/^Version //p')
            echo "musl $loader, promised $MUSL_FLOOR"
            lowest=$(printf '%s\\n' "${loader%%_*}" "$MUSL_FLOOR" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1)
            [ -n "$loader" ] && [ "$lowest" = "${loader%%_*}" ]""",
    ),
    Row(
        id="M3",
        level=SHOULD,
        claim="musl is held: no apk add moves it",
        script="grep '^musl=' /etc/apk/world || { echo 'no musl=... in /etc/apk/world'; exit 1; }",
    ),
)

FILES = (
    Row(
        id="E8",
        level=MUST,
        claim="SSL_CERT_FILE is a bundle of certificates",
        script="""
            echo "SSL_CERT_FILE is ${SSL_CERT_FILE:-not set}"
            grep -q 'BEGIN CERTIFICATE' "${SSL_CERT_FILE:-/nonexistent}" """,
    ),
    Row(
        id="C3",
        level=MUST,
        claim="uname -m through the entrypoint is the architecture's",
        script="""
            found=$(manylinux-entrypoint uname -m); echo "uname -m says $found"
            case "$ARCH $found" in
            "armv7l armv8l") exit 0 ;;
            *) [ "$ARCH" = "$found" ] ;;
            esac""",
    ),
    Row(
        id="C6",
        level=SHOULD,
        claim="root's shell is /bin/bash",
        script="grep '^root:' /etc/passwd; grep -q '^root:.*:/bin/bash$' /etc/passwd",
    ),
    Row(
        id="F3",
        level=MUST,
        claim="/opt/python/cp39-cp39/bin/python is there, whatever is built",
        script='/opt/python/cp39-cp39/bin/python -c "import sys; print(sys.version)"',
    ),
    Row(
        id="F6",
        level=MUST,
        claim="there is no libpython to link with",
        script="""
            found=$(find /opt /usr -name 'libpython*.so*' -o -name 'libpython*.a' 2>/dev/null | head -n 3)
            echo "${found:-none}"; [ -z "$found" ]""",
    ),
    Row(
        id="F9",
        level=MUST,
        claim="apk works, with the distribution's repositories configured",
        script="apk info -e musl >/dev/null && grep -v '^#' /etc/apk/repositories | head -n 1 | grep .",
    ),
    Row(
        id="F12",
        level=MUST,
        claim="the places that clients use are free",
        script="""
            for place in /constraints.txt /project /output /tmp/cibuildwheel /host; do
                [ ! -e "$place" ] || { echo "$place is there"; exit 1; }
            done""",
    ),
)

HEADERS = {
    "zlib": "zlib.h",
    "expat": "expat.h",
    "sqlite3": "sqlite3.h",
    "glib": "glib-2.0/glib.h",
    "x11": "X11/Xlib.h",
    "xext": "X11/extensions/Xext.h",
    "xrender": "X11/extensions/Xrender.h",
    "ice": "X11/ICE/ICElib.h",
    "sm": "X11/SM/SMlib.h",
    "gl": "GL/gl.h",
}
"""F8: the development files that the reference images guarantee."""

COMMANDS: Mapping[str, Level] = {
    **dict.fromkeys(("auditwheel", "patchelf", "bash", "sh", "env", "which", "mktemp", "linux32", "cat", "mv"), MUST),
    **dict.fromkeys(("gcc", "g++", "cc", "c++", "ld", "make", "curl", "git", "pkg-config", "tar", "patch"), MUST),
    **dict.fromkeys(("manylinux-interpreters", "manylinux-entrypoint"), MUST),
    **dict.fromkeys(("gfortran", "autoconf", "automake", "libtoolize", "bison", "file", "unzip", "gpg"), SHOULD),
    **dict.fromkeys(("git-lfs", "pipx", "cmake", "swig", "abi3audit", "uv", "musllinux-build", "yasm"), SHOULD),
}
"""X3 to X6: commands on PATH, as files."""

ONLY_ON: Mapping[str, str] = {"yasm": Arch.X86_64.value}
"""Commands of one architecture."""

# manylinux-interpreters, X1 and X2.
INTERPRETERS = (
    Row(id="X1.help", level=MUST, claim="manylinux-interpreters --help", script="manylinux-interpreters --help"),
    Row(
        id="X1.list",
        level=MUST,
        claim="manylinux-interpreters list prints a tag a line",
        script="""
            listed=$(manylinux-interpreters list -i | sort); there=$(cd /opt/python && ls -d cp* | sort)
            echo $listed; [ -n "$listed" ] && [ "$listed" = "$there" ]""",
    ),
    Row(
        id="X1.ensure",
        level=MUST,
        claim="manylinux-interpreters ensure accepts what is installed",
        script="cd /opt/python && for tag in cp*; do manylinux-interpreters ensure $tag || exit 1; done",
    ),
    Row(
        id="X2",
        level=SHOULD,
        claim="manylinux-interpreters list --format json",
        script="manylinux-interpreters list --format json | grep install_path",
    ),
)

BEHAVIOUR = (
    Row(
        id="X6.tar",
        level=MUST,
        claim="tar is GNU's and knows --no-same-owner",
        script="tar --version | head -n 1 | grep GNU && tar --no-same-owner -cf /dev/null /etc/passwd 2>/dev/null",
    ),
    Row(
        id="X6.git",
        level=SHOULD,
        claim="git works in a tree of another owner's",
        script="""
            mkdir /tmp/tree && cd /tmp/tree && git init -q . && chown 1000 . .git
            git status --short && git --version""",
    ),
    Row(
        id="B4",
        level=MUST,
        claim="the C compiler makes a program that runs",
        script="""
            cd "$(mktemp -d)" && printf '#include <stdio.h>\\nint main(void) { return puts("built") < 0; }\\n' >a.c
            gcc -O2 -o a a.c && ./a""",
    ),
    Row(
        id="B5",
        level=MUST,
        claim="the C++ compiler makes a program that throws, catches and runs",
        script="""
            cd "$(mktemp -d)" && cat >a.cc <<'END'
            #include <iostream>
            #include <stdexcept>
            #include <string>
            int main() { try { throw std::runtime_error("caught"); } catch (const std::exception &e) {
                std::cout << std::string(e.what()) << std::endl; return 0; } }
            END
            g++ -O2 -o a a.cc && ./a""".replace("\n            ", "\n"),
    ),
)

PYTHONS = (
    Row(
        id="F1",
        level=MUST,
        claim="/opt/python/<tag> is a link into /opt/_internal",
        script="readlink /opt/python/$TAG | grep '^/opt/_internal/cpython-'",
        for_each_python=True,
    ),
    Row(
        id="F2",
        level=MUST,
        claim="python, python3 and pip are in its bin",
        script="""
            for name in python python3 pip; do
                [ -x /opt/python/$TAG/bin/$name ] || { echo "no $name"; exit 1; }
            done
            /opt/python/$TAG/bin/pip --version""",
        for_each_python=True,
    ),
    Row(
        id="F4",
        level=MUST,
        claim="/usr/local/bin has a wrapper, not a link, that starts it",
        script="""
            short=$($PYTHON -c 'import sys, sysconfig
print("%d.%d" % sys.version_info[:2] + ("t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""))')
            [ ! -L /usr/local/bin/cpython$short ] && [ "$(readlink /usr/local/bin/python$short)" = cpython$short ] &&
                python$short --version""",
        for_each_python=True,
    ),
    Row(
        id="B3",
        level=MUST,
        claim="what clients ask of it holds: sysconfig, suffix, modules, TLS, threads",
        for_each_python=True,
    ),
    Row(
        id="B1",
        level=MUST,
        claim="it compiles an extension, which gets the right suffix and imports",
        for_each_python=True,
    ),
)

AUDIT = {
    "A1": "every ELF object is of the image's architecture",
    "A2": "every ELF object finds its libraries and symbols",
    "A3": "no ELF object needs more than the image's musl",
    "A4": "interpreters need nothing but libc or what their own search path names",
}


def rows() -> Iterator[Row]:
    """The table, in the order it is shown in."""
    yield from CONFIGURATION
    yield from MUSL
    yield from FILES
    for name, header in HEADERS.items():
        script = f"cd /usr/include && ls {header} ../local/include/{header} | grep . || {{ echo 'not there'; exit 1; }}"
        yield Row(id=f"F8.{name}", level=SHOULD, claim=f"development files: {header}", script=script)
    for command, level in COMMANDS.items():
        script = (
            f'where=$(command -v {command}) && [ -x "$where" ] && echo "$where" || {{ echo "not on PATH"; exit 1; }}'
        )
        if command in ONLY_ON:
            script = f'[ "$ARCH" = {ONLY_ON[command]} ] || {{ echo "not on $ARCH"; exit 0; }}; {script}'
        yield Row(id=f"X5.{command}", level=level, claim=f"{command} is on PATH", script=script)
    yield from INTERPRETERS
    yield from BEHAVIOUR
    yield from PYTHONS
    for id_, claim in AUDIT.items():
        yield Row(id=id_, level=MUST, claim=claim)
