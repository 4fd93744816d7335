"""The cross-built packages, one row each, named as in Alpine."""

from __future__ import annotations

import re

from musllinux_build.arch import Arch
from tests.lab.packages import LDFLAGS, BuildRow, Part, Workbench

OPENSSL_TARGETS = {
    Arch.X86_64: "linux-x86_64",
    Arch.AARCH64: "linux-aarch64",
    Arch.I686: "linux-elf",
    Arch.PPC64LE: "linux-ppc64le",
    Arch.S390X: "linux64-s390x",
    Arch.ARMV7L: "linux-armv4",
}


def build_zlib(bench: Workbench) -> None:
    """The headers; the library is the stock root's."""
    bench.run("./configure", "--prefix=/usr")
    for name in ("zlib.h", "zconf.h"):
        bench.put(name, f"usr/include/{name}")
    bench.put("zlib.pc", "usr/lib/pkgconfig/zlib.pc")
    bench.link("usr/lib/libz.so", "../../lib/libz.so.1")


def build_openssl(bench: Workbench) -> None:
    """The headers; the libraries are the stock root's."""
    bench.run("perl", "Configure", OPENSSL_TARGETS[bench.arch], "--prefix=/usr", "no-asm", "no-tests")
    bench.run("make", "build_generated")
    for path in sorted((bench.source / "include" / "openssl").glob("*.h")):
        bench.put(f"include/openssl/{path.name}", f"usr/include/openssl/{path.name}")
    # Upstream's rule for these files builds the libraries first.
    version = bench.source.name.removeprefix("openssl-")
    for name, other in (("crypto", ""), ("ssl", "libcrypto")):
        text = f"Name: lib{name}\nDescription: OpenSSL\nVersion: {version}\nRequires.private: {other}\nLibs: -l{name}\n"
        bench.write(f"usr/lib/pkgconfig/lib{name}.pc", text)
        bench.link(f"usr/lib/lib{name}.so", f"../../lib/lib{name}.so.1.1")
    text = f"Name: OpenSSL\nDescription: OpenSSL\nVersion: {version}\nRequires: libssl libcrypto\n"
    bench.write("usr/lib/pkgconfig/openssl.pc", text)


def build_libyaml(bench: Workbench) -> None:
    bench.run("autoreconf", "-fi")
    bench.configure("--disable-static")
    bench.make()


def build_libffi(bench: Workbench) -> None:
    bench.run("autoreconf", "-fi")
    # Otherwise it configures itself in a directory of the triple's name.
    places = ("--disable-builddir", "--disable-multi-os-directory")
    bench.configure("--disable-static", "--disable-docs", "--with-pic", *places)
    bench.make()


def build_bash(bench: Workbench) -> None:
    # What configure would run a program for; true of musl on Linux.
    known = (
        "bash_cv_getcwd_malloc=yes",
        "bash_cv_job_control_missing=present",
        "bash_cv_sys_named_pipes=present",
        "bash_cv_unusable_rtsigs=no",
        "bash_cv_func_sigsetjmp=present",
        "bash_cv_func_strcoll_broken=no",
        "bash_cv_func_ctype_nonascii=no",
        "bash_cv_func_strtoimax=yes",
        "bash_cv_must_reinstall_sighandlers=no",
        "bash_cv_dup2_broken=no",
        "bash_cv_pgrp_pipe=no",
        "bash_cv_wcontinued_broken=no",
        "bash_cv_wexitstatus_offset=8",
        "bash_cv_printf_a_format=yes",
        "bash_cv_ulimit_maxfds=yes",
        "bash_cv_getenv_redef=yes",
        "ac_cv_rl_lib_readline_version=8.2",
    )
    # bash's own allocator needs glibc's hooks; the bundled readline and termcap need no other package.
    options = ("--bindir=/bin", "--without-bash-malloc", "--without-curses", "--disable-nls", "--enable-readline")
    # The bundled termcap is C of a time before prototypes.
    bench.configure(*options, *known, f"CFLAGS={bench.cflags} -Wno-implicit-function-declaration")
    bench.make()


def build_make(bench: Workbench) -> None:
    # Debian's tarball is without the manual, which configure and make still ask for.
    manual = bench.source / "doc" / "Makefile.in"
    if not manual.exists():
        manual.parent.mkdir(exist_ok=True)
        manual.write_text("all install:\n")
        (manual.parent / "make.1").touch()
    bench.configure("--without-guile", "--disable-nls")
    bench.make()


def build_git(bench: Workbench) -> None:
    without = ("CURL", "EXPAT", "GETTEXT", "OPENSSL", "PERL", "PYTHON", "TCLTK", "INSTALL_HARDLINKS")
    words = (
        *(f"NO_{name}=1" for name in without),
        # musl's regcomp has no REG_STARTEND, its iconv writes no mark.
        "NO_REGEX=1",
        "ICONV_OMITS_BOM=1",
        "INSTALL_SYMLINKS=1",
        "SKIP_DASHED_BUILT_INS=1",
        "TEST_PROGRAMS=",
        "UNIT_TEST_PROGS=",
        "CLAR_TEST_PROG=",
        "CC=cc",
        "AR=ar",
        f"CFLAGS={bench.cflags.replace('-O2', '-O1')}",
        f"LDFLAGS={LDFLAGS}",
        "prefix=/usr",
        "gitexecdir=/usr/libexec/git-core",
        "sysconfdir=/etc",
    )
    bench.make(*words)


def build_curl(bench: Workbench) -> None:
    left_out = ("libpsl", "libidn2", "nghttp2", "brotli", "zstd", "librtmp", "libssh2")
    protocols = ("dict", "gopher", "imap", "ipfs", "ldap", "mqtt", "pop3", "rtsp", "smb", "smtp", "telnet", "tftp")
    bench.configure(
        "--disable-shared",
        "--with-openssl",
        "--with-zlib",
        "--with-ca-bundle=/etc/ssl/certs/ca-certificates.crt",
        *(f"--disable-{name}" for name in (*protocols, "manual", "docs", "ntlm", "websockets")),
        *(f"--without-{name}" for name in left_out),
    )
    bench.make()


def build_gnu(bench: Workbench) -> None:
    bench.configure("--disable-nls")
    bench.make("MAKEINFO=true")


def build_tar(bench: Workbench) -> None:
    bench.configure("--bindir=/bin", "--disable-nls", "--without-selinux", "--disable-acl", "--without-xattrs")
    bench.make("MAKEINFO=true")


def build_pkgconf(bench: Workbench) -> None:
    path = "/usr/lib/pkgconfig:/usr/share/pkgconfig"
    system = ("--with-system-libdir=/lib:/usr/lib", "--with-system-includedir=/usr/include")
    bench.configure("--disable-shared", f"--with-pkg-config-dir={path}", *system)
    bench.make()
    bench.link("usr/bin/pkg-config", "pkgconf")


def build_file(bench: Workbench) -> None:
    # The magic is compiled by the machine's own file, which has to be of the same version.
    left_out = ("zlib", "bzlib", "xzlib", "zstdlib", "lzlib", "libseccomp")
    bench.configure("--disable-shared", *(f"--disable-{name}" for name in left_out))
    bench.make()


def build_unzip(bench: Workbench) -> None:
    objects: tuple[str, ...] = (
        "crc32",
        "crypt",
        "envargs",
        "explode",
        "extract",
        "fileio",
        "globals",
        "inflate",
        "list",
        "match",
    )
    objects += ("process", "ttyio", "ubz2err", "unreduce", "unshrink", "unzip", "zipinfo")
    sources = [*(f"{name}.c" for name in objects), "unix/unix.c"]
    # C of a time before prototypes; large files and UTF-8 as every distribution has them.
    defines = "UNIX NO_LCHMOD HAVE_DIRENT_H HAVE_TERMIOS_H LARGE_FILE_SUPPORT UNICODE_SUPPORT UTF8_MAYBE_NATIVE"
    flags = ["-std=gnu89", *bench.cflags.split(), *(f"-D{name}" for name in defines.split()), LDFLAGS]
    bench.run("cc", *flags, "-D_FILE_OFFSET_BITS=64", "-DUNICODE_WCHAR", "-I.", "-Iunix", *sources, "-o", "made")
    bench.put("made", "usr/bin/unzip")
    (bench.stage / "usr/bin/unzip").chmod(0o755)


def build_libtool(bench: Workbench) -> None:
    # Only libtoolize is installed, which writes down where the tools of the root are.
    tools = {"SED": "/bin/sed", "GREP": "/bin/grep", "EGREP": "/bin/grep -E", "FGREP": "/bin/grep -F"}
    known = (f"ac_cv_path_{name}={path}" for name, path in tools.items())
    bench.configure("--disable-ltdl-install", "--disable-shared", "M4=/usr/bin/m4", *known)
    bench.make("MAKEINFO=true")


def build_bison(bench: Workbench) -> None:
    # Debian's tarball is without the manual and its figures, which make still asks for.
    stubs = [f"doc/figs/example{end}.{kind}" for end in ("", "-reduce", "-shift") for kind in ("txt", "gv")]
    for path in (bench.source / name for name in ("doc/bison.texi", *stubs)):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    bench.configure("--disable-nls", "M4=/usr/bin/m4")
    for name in ("doc/bison.info", "examples/extracted.stamp"):
        (bench.source / name).touch()
    bench.make("MAKEINFO=true")


def build_expat(bench: Workbench) -> None:
    inside = bench.at("expat")
    inside.run("autoreconf", "-fi")
    inside.configure(
        "--disable-static", "--without-docbook", "--without-xmlwf", "--without-tests", "--without-examples"
    )
    inside.make()


def build_sqlite(bench: Workbench) -> None:
    """The amalgamation, which Debian's tarball has to make first."""
    bench.run("/bin/sh", "-c", "CC=/usr/bin/gcc ./configure --disable-readline && make sqlite3.c CC=/usr/bin/gcc")
    version = (bench.source / "VERSION").read_text().strip()
    library = f"libsqlite3.so.{version}"
    options = (
        "-DSQLITE_ENABLE_FTS5 -DSQLITE_ENABLE_RTREE -DSQLITE_ENABLE_COLUMN_METADATA -DSQLITE_ENABLE_MATH_FUNCTIONS"
    )
    flags = [*bench.cflags.split(), *options.split(), "-fPIC", "-shared", LDFLAGS, "-Wl,-soname,libsqlite3.so.0"]
    bench.run("cc", *flags, "sqlite3.c", "-o", library)
    bench.put(library, f"usr/lib/{library}")
    for name in ("libsqlite3.so", "libsqlite3.so.0"):
        bench.link(f"usr/lib/{name}", library)
    for name in ("sqlite3.h", "sqlite3ext.h"):
        bench.put(name if (bench.source / name).exists() else f"src/{name}", f"usr/include/{name}")
    text = (bench.source / "sqlite3.pc.in").read_text()
    values = {"prefix": "/usr", "exec_prefix": "/usr", "libdir": "/usr/lib", "includedir": "/usr/include"}
    values["RELEASE"] = values["PACKAGE_VERSION"] = version
    text = re.sub(r"@(\w+)@", lambda found: values.get(found[1], ""), text)
    bench.write("usr/lib/pkgconfig/sqlite3.pc", text)


DEVELOPMENT = ("usr/include/*", "usr/lib/*.so", "usr/lib/pkgconfig/*")

BUILDS = (
    BuildRow(
        source="zlib",
        license="Zlib",
        build=build_zlib,
        parts=(
            Part(
                name="zlib-dev",
                description="zlib's headers of this version, for the zlib of the root",
                patterns=DEVELOPMENT,
                depends=("so:libz.so.1",),
            ),
        ),
    ),
    BuildRow(
        source="openssl1.1",
        license="OpenSSL",
        build=build_openssl,
        parts=(
            Part(
                name="openssl-dev",
                description="OpenSSL's headers of this version, for the OpenSSL of the root",
                patterns=DEVELOPMENT,
                depends=("so:libcrypto.so.1.1", "so:libssl.so.1.1"),
            ),
        ),
    ),
    BuildRow(
        source="make",
        license="GPL-3.0-or-later",
        build=build_make,
        parts=(Part(name="make", description="GNU make", patterns=("usr/bin/make", "usr/include/gnumake.h")),),
    ),
    BuildRow(
        source="bash",
        license="GPL-3.0-or-later",
        build=build_bash,
        dropped=("usr/lib/bash/*", "bin/bashbug", "usr/lib/pkgconfig/bash.pc", "usr/include/bash/*"),
        parts=(Part(name="bash", description="The GNU Bourne Again shell", patterns=("bin/bash",)),),
    ),
    BuildRow(
        source="git",
        license="GPL-2.0-only",
        build=build_git,
        needs=("libz.so.1",),
        dropped=("usr/share/git-gui/*", "usr/share/gitk/*", "usr/share/gitweb/*", "usr/share/perl5/*"),
        parts=(
            Part(
                name="git",
                description="Distributed version control, without transport over HTTP",
                patterns=("usr/bin/*", "usr/libexec/git-core/*", "usr/share/git-core/*"),
            ),
        ),
    ),
    BuildRow(
        source="curl",
        license="curl",
        build=build_curl,
        needs=("libz.so.1", "libssl.so.1.1", "libcrypto.so.1.1"),
        dropped=(
            "usr/include/*",
            "usr/lib/libcurl.a",
            "usr/lib/pkgconfig/*",
            "usr/share/aclocal/*",
            "usr/bin/curl-config",
            "usr/bin/wcurl",
        ),
        parts=(Part(name="curl", description="URL retrieval, with the root's OpenSSL", patterns=("usr/bin/curl",)),),
    ),
    BuildRow(
        source="tar",
        license="GPL-3.0-or-later",
        build=build_tar,
        dropped=("usr/libexec/rmt", "usr/sbin/rmt"),
        parts=(Part(name="tar", description="GNU tar", patterns=("bin/tar",)),),
    ),
    BuildRow(
        source="patch",
        license="GPL-3.0-or-later",
        build=build_gnu,
        parts=(Part(name="patch", description="GNU patch", patterns=("usr/bin/patch",)),),
    ),
    BuildRow(
        source="pkgconf",
        license="ISC",
        build=build_pkgconf,
        dropped=("usr/include/*", "usr/lib/*"),
        parts=(
            Part(
                name="pkgconf",
                description="pkg-config",
                patterns=("usr/bin/*", "usr/share/aclocal/*"),
            ),
        ),
    ),
    BuildRow(
        source="file",
        license="BSD-2-Clause",
        build=build_file,
        dropped=("usr/include/*", "usr/lib/*"),
        parts=(
            Part(name="file", description="File type identification", patterns=("usr/bin/file", "usr/share/misc/*")),
        ),
    ),
    BuildRow(
        source="unzip",
        license="Info-ZIP",
        build=build_unzip,
        parts=(Part(name="unzip", description="Extracts zip archives", patterns=("usr/bin/unzip",)),),
    ),
    BuildRow(
        source="m4",
        license="GPL-3.0-or-later",
        build=build_gnu,
        parts=(Part(name="m4", description="GNU macro processor", patterns=("usr/bin/m4",)),),
    ),
    BuildRow(
        source="libtool",
        license="GPL-2.0-or-later",
        build=build_libtool,
        dropped=("usr/bin/libtool", "usr/include/*", "usr/lib/*"),
        parts=(
            Part(
                name="libtool",
                description="libtoolize and what it copies",
                patterns=("usr/bin/libtoolize", "usr/share/aclocal/*", "usr/share/libtool/*"),
                depends=("m4",),
            ),
        ),
    ),
    BuildRow(
        source="bison",
        license="GPL-3.0-or-later",
        build=build_bison,
        parts=(
            Part(
                name="bison",
                description="Parser generator",
                patterns=("usr/bin/*", "usr/lib/liby.a", "usr/share/bison/*", "usr/share/aclocal/*"),
                depends=("m4",),
            ),
        ),
    ),
    BuildRow(
        source="libyaml",
        license="MIT",
        build=build_libyaml,
        parts=(
            Part(name="yaml-dev", description="libyaml (headers)", patterns=DEVELOPMENT, depends=("yaml={version}",)),
            Part(name="yaml", description="YAML parser and emitter", patterns=("usr/lib/*.so.*",)),
        ),
    ),
    BuildRow(
        source="libffi",
        license="MIT",
        build=build_libffi,
        parts=(
            Part(
                name="libffi-dev", description="libffi (headers)", patterns=DEVELOPMENT, depends=("libffi={version}",)
            ),
            Part(name="libffi", description="Foreign function interface", patterns=("usr/lib/*.so.*",)),
        ),
    ),
    BuildRow(
        source="expat",
        license="MIT",
        build=build_expat,
        dropped=("usr/lib/cmake/*",),
        parts=(
            Part(name="expat-dev", description="expat (headers)", patterns=DEVELOPMENT, depends=("expat={version}",)),
            Part(name="expat", description="XML parser", patterns=("usr/lib/*.so.*",)),
        ),
    ),
    BuildRow(
        source="sqlite",
        license="blessing",
        build=build_sqlite,
        parts=(
            Part(
                name="sqlite-dev",
                description="SQLite (headers)",
                patterns=DEVELOPMENT,
                depends=("sqlite-libs={version}",),
            ),
            Part(name="sqlite-libs", description="SQLite's library", patterns=("usr/lib/*.so.*",)),
        ),
    ),
)
"""In the order in which they are built: what a row needs of another comes before it."""
