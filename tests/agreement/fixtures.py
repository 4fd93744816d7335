"""Small wheels compiled from C, each with one thing that a loader may or may not take, for any architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.probe import probe_elf
from tests.agreement.loaders import Compiler
from tests.elfgen import Obj, build
from tests.wheelgen import WheelSpec, build_wheel

EXTENSION = "demo/_ext.so"
LIBS = "demo.libs"
HERE_PATH = "-Wl,-rpath,$ORIGIN/../demo.libs"
INIT = "void *PyInit__ext(void) { return 0; }\n"
# Values that are only right when the loader applied relative relocations; a constructor that follows a wrong one dies.
POINTERS = "static int zero; int *volatile table[64] = {[0 ... 63] = &zero};\n"
FOLLOW = "__attribute__((constructor)) static void follow(void) { for (int i = 0; i < 64; i++) *table[i] = 1; }\n"
SYMBOLS = (
    "gettid",
    "reallocarray",
    "pthread_getname_np",
    "qsort_r",
    "statx",
    "preadv2",
    "renameat2",
    "fopen64",
    "open64",
)
OTHERS = ("fcntl64", "__memcpy_chk", "gnu_get_libc_version", "nobody_has_this", "malloc", "__tls_get_addr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One object: what it is compiled from, and the objects before it that it is linked with.

    ``member`` is its place in the wheel; empty for one that only others are linked with. ``file`` is its name then.
    """

    member: str = EXTENSION
    file: str = ""
    code: str = INIT
    flags: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    program: bool = False
    """Made into an executable, with -shared left out."""

    @property
    def name(self) -> str:
        return self.file or Path(self.member).name


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """A wheel of a few objects; ``files`` are members that are none."""

    name: str
    parts: tuple[Part, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    archs: frozenset[Arch] = frozenset(Arch)


def dependency(name: str, code: str = "int answer(void) { return 42; }\n", *, member: str = "", **more: object) -> Part:
    place = member or f"{LIBS}/{name}"
    return Part(member=place, code=code, flags=(f"-Wl,-soname,{name}", *more.pop("flags", ())), **more)  # type: ignore[arg-type,misc] # a table's rows


def user(*links: str, flags: tuple[str, ...] = (HERE_PATH,), code: str = "", member: str = EXTENSION) -> Part:
    asks = "int answer(void);\n" + INIT.replace("return 0", "return (void *)(long)answer()")
    return Part(member=member, code=code or asks, flags=flags, links=links)


def asks_for(symbol: str, *, weak: bool = False) -> str:
    attribute = " __attribute__((weak))" if weak else ""
    return f"extern char {symbol}[]{attribute}; void *volatile wanted = {symbol};\n{INIT}"


def fixtures(arch: Arch) -> tuple[Fixture, ...]:
    """All of them that exist on ``arch``."""
    found = (*_symbols(), *_relocations(), *_libraries(), *_search(), *_programs(arch))
    return tuple(fixture for fixture in found if arch in fixture.archs)


def one(name: str, part: Part, archs: frozenset[Arch] = frozenset(Arch)) -> Fixture:
    return Fixture(name=name, parts=(part,), archs=archs)


def _symbols() -> Iterator[Fixture]:
    for symbol in (*SYMBOLS, *OTHERS, "__time64", "___tls_get_addr"):
        yield one(f"needs-{symbol}", Part(code=asks_for(symbol)))
    yield one("weak-missing", Part(code=asks_for("nobody_has_this", weak=True)))
    yield one("weak-new", Part(code=asks_for("statx", weak=True)))
    yield one("python", Part(code=asks_for("PyErr_Occurred")))
    called = "int nobody_has_this(void); int later(void) { return nobody_has_this(); }\n"
    yield one("missing-in-a-function", Part(code=called + INIT))
    yield one("tls-of-nobody", Part(code="extern __thread int nobodys; int get(void) { return nobodys; }\n" + INIT))
    yield one(
        "exports-musl-names", Part(code="long strlcpy(void) { return 0; }\nlong fpurge(void) { return 0; }\n" + INIT)
    )
    # lld writes a DT_HASH of 32-bit words on s390x, where the ABI and musl have 64-bit ones.
    for style, archs in (("sysv", frozenset(Arch) - {Arch.S390X}), ("gnu", frozenset(Arch))):
        flag = f"-Wl,--hash-style={style}"
        yield one(f"hash-{style}", Part(flags=(flag,)), archs)
        found = (dependency("libdep.so.1", flags=(flag,)), user("libdep.so.1"))
        yield Fixture(name=f"lookup-in-{style}", parts=found, archs=archs)
    hidden = 'int old(void) { return 1; }\n__asm__(".symver old, answer@OLD");\n'
    yield Fixture(
        name="definition-hidden-by-version",
        parts=(
            Part(
                member="",
                file="libdep.so.1",
                code="int answer(void) { return 1; }\n",
                flags=("-Wl,-soname,libdep.so.1",),
            ),
            dependency("libdep.so.1", hidden, flags=("-Wl,--version-script=old.map",)),
            Part(code=user().code, flags=(HERE_PATH,), links=("libdep.so.1",)),
        ),
    )


def _relocations() -> Iterator[Fixture]:
    packed = "-Wl,--pack-dyn-relocs=relr"
    yield one("relative", Part(code=POINTERS + FOLLOW + INIT))
    yield one("relr", Part(code=POINTERS + FOLLOW + INIT, flags=(packed,)))
    yield one("relr-unused", Part(code=POINTERS + INIT, flags=(packed,)))
    yield Fixture(
        name="relr-in-dependency",
        parts=(
            dependency("libdep.so.1", POINTERS + FOLLOW + "int answer(void) { return 42; }\n", flags=(packed,)),
            user("libdep.so.1"),
        ),
    )
    own = "static __thread int mine = 3; int *get(void) { return &mine; }\n" + INIT
    yield one("tls-initial-exec", Part(code=own, flags=("-ftls-model=initial-exec",)))
    yield one("tls-general", Part(code=own.replace("static ", ""), flags=("-ftls-model=global-dynamic",)))
    yield one("tls-local-dynamic", Part(code=own, flags=("-ftls-model=local-dynamic",)))
    x86 = frozenset({Arch.X86_64, Arch.I686})
    yield one("tls-descriptors", Part(code=own.replace("static ", ""), flags=("-mtls-dialect=gnu2",)), x86)
    theirs = "extern __thread int shared; int *get(void) { return &shared; }\n" + INIT
    for model in ("initial-exec", "global-dynamic"):
        yield Fixture(
            name=f"tls-of-dependency-{model}",
            parts=(
                dependency("libdep.so.1", "__thread int shared = 5;\n"),
                user("libdep.so.1", code=theirs, flags=(HERE_PATH, f"-ftls-model={model}")),
            ),
        )
    # clang refuses the attribute on musl; the symbol's type says the same.
    resolver = "static int real(void) { return 1; }\n__attribute__((used)) static void *choose(void) { return real; }\n"
    kind = '__asm__(".type chosen,%gnu_indirect_function\\n.set chosen,choose");\n'
    exported = resolver + kind.replace('("', '(".globl chosen\\n') + "int chosen(void);\n"
    yield one("ifunc-unused", Part(code=exported + INIT))
    yield one("ifunc-used", Part(code=exported + "int use(void) { return chosen(); }\n" + INIT))
    hidden = kind.replace('("', '(".globl chosen\\n.hidden chosen\\n')
    local = resolver + hidden + '__attribute__((visibility("hidden"))) int chosen(void);\n'
    yield one("ifunc-local", Part(code=local + "int use(void) { return chosen(); }\n" + INIT))
    yield one("executable-stack", Part(flags=("-Wl,-z,execstack",)))
    text = 'static int zero; __attribute__((section(".text"))) int *volatile const there = &zero;\n' + INIT
    wide = '__asm__(".text\\n.balign 8\\n.8byte PyInit__ext\\n");\n' + INIT
    yield one("text-relocations", Part(code=text, flags=("-Wl,-z,notext",)), frozenset({Arch.I686, Arch.ARMV7L}))
    sixty_four = frozenset(arch for arch in Arch if arch.row.elf.bits == 64)
    yield one("text-relocations", Part(code=wide, flags=("-Wl,-z,notext",)), sixty_four)


def _libraries() -> Iterator[Fixture]:
    dep, path = dependency("libdep.so.1"), HERE_PATH
    yield Fixture(name="library", parts=(dep, user("libdep.so.1")))
    absent = Part(member="", file="libdep.so.1", code=dep.code, flags=dep.flags)
    yield Fixture(name="library-missing", parts=(absent, user("libdep.so.1")))
    yield Fixture(name="library-without-path", parts=(dep, user("libdep.so.1", flags=())))
    zlib = Part(member="", file="libz.so.1", code="int answer(void) { return 1; }\n", flags=("-Wl,-soname,libz.so.1",))
    yield Fixture(name="library-zlib", parts=(zlib, user("libz.so.1", code=INIT, flags=("-Wl,--no-as-needed",))))
    for name in ("libpython3.13.so.1.0", "libresolv.so.2", "libcrypt.so.1", "libgcc_s.so.1"):
        other = Part(member="", file=name, code=dep.code, flags=(f"-Wl,-soname,{name}",))
        yield Fixture(name=f"needs-{name}", parts=(other, user(name, code=INIT, flags=("-Wl,--no-as-needed",))))
    for name in (
        "libc.so.6",
        "libm.so.6",
        "libpthread.so.0",
        "librt.so.1",
        "libdl.so.2",
        "libutil.so.1",
        "libm.x-1.so",
    ):
        other = Part(member="", file=name, code=dep.code, flags=(f"-Wl,-soname,{name}",))
        yield Fixture(name=f"reserved-{name}", parts=(other, user(name, code=INIT, flags=("-Wl,--no-as-needed",))))
        kept = dependency(name)
        yield Fixture(name=f"reserved-and-there-{name}", parts=(kept, user(name)))
    yield Fixture(name="library-with-dash", parts=(dependency("libm-1234.so.6"), user("libm-1234.so.6")))
    versioned = Part(
        member="",
        file="libc.so.6",
        code="int puts(const char *text) { return 0; }\n",
        flags=("-Wl,-soname,libc.so.6", "-Wl,--version-script=glibc.map"),
    )
    uses = 'int puts(const char *); int say(void) { return puts("x"); }\n' + INIT
    yield Fixture(name="glibc-version", parts=(versioned, user("libc.so.6", code=uses, flags=())))
    deep = "int answer(void); int deeper(void) { return answer(); }\n"
    asks = "int deeper(void);\n" + INIT.replace("return 0", "return (void *)(long)deeper()")
    chain = (dep, dependency("libmid.so.1", deep, links=("libdep.so.1",)), user("libmid.so.1", code=asks))
    yield Fixture(name="path-of-the-root-serves-all", parts=chain)
    self_path = dependency("libmid.so.1", deep, links=("libdep.so.1",), flags=("-Wl,-rpath,$ORIGIN",))
    yield Fixture(name="path-of-the-library", parts=(dep, self_path, user("libmid.so.1", code=asks)))
    first = Part(member="", file="libb.so.1", code=dep.code, flags=("-Wl,-soname,libb.so.1",))
    cycle_a = dependency("liba.so.1", "int answer(void); int ask(void) { return answer(); }\n", links=("libb.so.1",))
    cycle_b = dependency("libb.so.1", "int ask(void); int answer(void) { return 42 + !ask; }\n", links=("liba.so.1",))
    yield Fixture(name="cycle", parts=(first, cycle_a, cycle_b, user("libb.so.1", flags=(path, "-Wl,--no-as-needed"))))
    sibling = Part(
        member="demo/_other.so", code="int answer(void) { return 42; }\nvoid *PyInit__other(void) { return 0; }\n"
    )
    yield Fixture(name="symbol-of-a-sibling", parts=(sibling, Part(code=user().code)))


def _search() -> Iterator[Fixture]:
    dep = dependency("libdep.so.1")
    for name, words in {
        "braces": "${ORIGIN}/../demo.libs",
        "lib-token": "$ORIGIN/../demo.libs:/usr/$LIB",
        "platform-token": "$ORIGIN/$PLATFORM:$ORIGIN/../demo.libs",
        "second-entry": "/nowhere:$ORIGIN/../demo.libs",
        "empty-entries": "::$ORIGIN/../demo.libs:",
        "relative": "demo.libs:../demo.libs",
        "through-file": "$ORIGIN/_ext.so:$ORIGIN/../demo.libs",
        "trailing-slash": "$ORIGIN/..//demo.libs/",
        "newline": "/nowhere\n$ORIGIN/../demo.libs",
        "longest": "/" + "x" * 300 + ":$ORIGIN/../demo.libs",
    }.items():
        yield Fixture(name=f"search-{name}", parts=(dep, user("libdep.so.1", flags=(f"-Wl,-rpath,{words}",))))
    old = (HERE_PATH, "-Wl,--disable-new-dtags")
    yield Fixture(name="search-rpath", parts=(dep, user("libdep.so.1", flags=old)))
    two = "-Wl,-rpath,$ORIGIN/first:$ORIGIN/../demo.libs"
    decoys = {"text": b"INPUT(libdep.so.1.0)\n", "empty": b""}
    for name, content in decoys.items():
        found = user("libdep.so.1", flags=(two,))
        yield Fixture(name=f"search-finds-{name}", parts=(dep, found), files={"demo/first/libdep.so.1": content})
    found = user("libdep.so.1", flags=(two,))
    yield Fixture(name="search-finds-directory", parts=(dep, found), files={"demo/first/libdep.so.1/x.txt": b"text"})
    yield Fixture(
        name="one-name-two-files",
        parts=(
            dep,
            dependency("libdep.so.1", "int other(void) { return 1; }\n", member="demo.more/libdep.so.1"),
            Part(
                member="demo/_second.so",
                code="int other(void); void *PyInit__second(void) { return (void *)(long)other(); }\n",
                flags=("-Wl,-rpath,$ORIGIN/../demo.more",),
                links=("libdep.so.1",),
            ),
        ),
    )
    outside = user(
        "libdep.so.1", member="demo-1.0.data/data/lib/_ext.so", flags=("-Wl,-rpath,$ORIGIN/../../demo.libs",)
    )
    yield Fixture(name="search-from-data", parts=(dep, outside))
    inside = user("libdep.so.1", member="demo-1.0.data/platlib/demo/_ext.so")
    yield Fixture(name="search-from-platlib", parts=(dep, inside))


def _programs(arch: Arch) -> Iterator[Fixture]:
    code = "void _exit(int); void _start(void) { _exit(0); }\n"
    musl = f"-Wl,--dynamic-linker=/lib/{arch.row.loader}"
    foreign = "-Wl,--dynamic-linker=/lib64/ld-linux-none.so.2"
    script = "demo-1.0.data/scripts/tool"
    everything = "void _exit(int c) {}\nint nobody_has_this(void) { return 0; }\nint answer(void) { return 0; }\n"
    libc = Part(member="", file="libc.so", code=everything, flags=("-Wl,-soname,libc.so",))
    dep, fuller = dependency("libdep.so.1"), "-Wl,-soname,libdep.so.1"
    asks = "int answer(void);" + code.replace("_exit(0)", "_exit(answer())")
    lacks = "int nobody_has_this(void);" + code.replace("_exit(0)", "_exit(nobody_has_this())")

    def tool(member: str, text: str, *flags: str, links: tuple[str, ...] = ("libc.so",)) -> Part:
        return Part(member=member, code=text, flags=("-pie", "-fPIE", *flags), links=links, program=True)

    yield Fixture(name="program", parts=(libc, tool("demo/bin/tool", code, musl)))
    yield Fixture(name="program-of-glibc", parts=(libc, tool(script, code, foreign)))
    yield Fixture(name="program-lacks-symbol", parts=(libc, tool(script, lacks, musl)))
    yield Fixture(name="program-static", parts=(Part(),), files={script: probe_elf(arch)})
    path = "-Wl,-rpath,$ORIGIN/../../demo.libs"
    for name, member in (("program-finds-library", "demo/bin/tool"), ("program-far-from-library", script)):
        linked = tool(member, asks, musl, path, links=("libdep.so.1", "libc.so"))
        yield Fixture(name=name, parts=(dep, libc, linked))
    # At the link the library has everything; the one that is shipped has not, and nothing asks for libc.
    more = Part(member="", file="libdep.so.1", code=everything, flags=(fuller,))
    bare = tool("demo/bin/tool", asks, musl, path, links=("libdep.so.1",))
    yield Fixture(name="program-without-libc", parts=(more, bare, dep))
    fixed = ("-no-pie", "-fno-pie", musl, "-Wl,--export-dynamic")
    yield Fixture(
        name="fixed-addresses", parts=(libc, Part(code=INIT + code, flags=fixed, links=("libc.so",), program=True))
    )
    both = dependency("libdep.so.1").code + code
    fixed_library = Part(member=f"{LIBS}/libdep.so.1", code=both, flags=fixed, links=("libc.so",), program=True)
    yield Fixture(name="fixed-addresses-needed", parts=(more, user("libdep.so.1"), libc, fixed_library))
    position = tool("demo/_more.so", INIT + code, musl, "-Wl,--export-dynamic")
    yield Fixture(name="program-opened-as-library", parts=(libc, position))
    other = Arch.S390X if arch is not Arch.S390X else Arch.X86_64
    strange = build(Obj(arch=other, exports=("PyInit__more", "answer")))
    yield Fixture(name="library-of-another-machine", parts=(Part(),), files={"demo/_more.so": strange})
    found = user("libdep.so.1", flags=("-Wl,-rpath,$ORIGIN/first:$ORIGIN/../demo.libs",))
    yield Fixture(name="search-finds-another-machine", parts=(dep, found), files={"demo/first/libdep.so.1": strange})


def build_fixture(fixture: Fixture, compiler: Compiler) -> tuple[bytes, str]:
    """The wheel and its file name."""
    directory = compiler.directory / "fixtures" / fixture.name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "old.map").write_text("OLD { global: answer; local: *; };\n")
    (directory / "glibc.map").write_text("GLIBC_2.17 { global: *; };\n")
    files = dict(fixture.files)
    for number, part in enumerate(fixture.parts):
        source = directory / f"{number}.c"
        source.write_text(part.code)
        kind = () if part.program else ("-shared", "-fPIC")
        links = [str(directory / name) for name in part.links]
        flags = [flag.replace("=", f"={directory}/", 1) if "version-script" in flag else flag for flag in part.flags]
        compiler.run(*kind, source, *flags, *links, "-o", directory / part.name)
        if part.member:
            files[part.member] = (directory / part.name).read_bytes()
    spec = WheelSpec(files=files, distribution="demo", tag=f"cp313-cp313-musllinux_1_1_{compiler.arch.value}")
    return build_wheel(spec), spec.filename
