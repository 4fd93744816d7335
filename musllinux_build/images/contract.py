"""What clients rely on in a musllinux image, one row each; nothing here touches an engine.

The identifiers of most rows are those under which the reference images' habits are known among their users: E is the
environment, C the image's configuration, F the file system, X the commands on PATH, B behaviour. M are musl's own rows
and A the audit of every ELF object. ``MUST``: a known client breaks without it. ``SHOULD``: people use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from musllinux_build.arch import Arch
from musllinux_build.images.configuration import CONFIGURATION
from musllinux_build.images.promise import Level, Row

MUST, SHOULD = Level.MUST, Level.SHOULD

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

ONLY_ON: Mapping[str, tuple[Arch, ...]] = {
    "yasm": (Arch.X86_64,),
    # Its publisher has no wheels for the other two on musl.
    "uv": (Arch.X86_64, Arch.I686, Arch.AARCH64, Arch.ARMV7L),
}
"""Commands of some architectures."""

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
        id="X4",
        level=SHOULD,
        claim="the tools that are there start",
        script="""
            started=""
            for command in pipx cmake swig abi3audit uv musllinux-build; do
                command -v $command >/dev/null || continue
                case $command in swig) option=-version ;; *) option=--version ;; esac
                said=$($command $option 2>&1) || { echo "$command: $said"; exit 1; }
                started="$started $command"
            done
            echo "$started"; [ -n "$started" ]""",
    ),
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
        id="B2",
        level=MUST,
        claim="a wheel for linux is repaired to one for the image's policy, by auditwheel's default",
        script="""
            for python in /opt/python/cp3*/bin/python; do :; done
            "$python" -B /tmp/interpreter_check.py wheel""",
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
            head -n 1 /opt/python/$TAG/bin/pip""",
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
            names = "|".join(arch.value for arch in ONLY_ON[command])
            script = f'case $ARCH in {names}) ;; *) echo "not on $ARCH"; exit 0 ;; esac; {script}'
        yield Row(id=f"X5.{command}", level=level, claim=f"{command} is on PATH", script=script)
    yield from INTERPRETERS
    yield from BEHAVIOUR
    yield from PYTHONS
    for id_, claim in AUDIT.items():
        yield Row(id=id_, level=MUST, claim=claim)
