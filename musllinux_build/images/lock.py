"""Every download an image is made from, with its hash: ``dockerfiles/lock.toml`` ⇄ values.

What nobody has measured is the word ``"unmeasured"`` in the file and None here: a hash is measured or taken from a
publisher, never made up.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.policy import Policy, known_policies

SCHEMA = 1
UNMEASURED = "unmeasured"
MEASURE = "musllinux-build images lock --update --lock lock.toml"
"""The command that writes a measured lock."""
LAST_SECOND = 0xFFFFFFFF
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ADDED = re.compile(r"[A-Za-z0-9][\w+.-]*=[0-9][\w.~]*-r\d+ Q1[A-Za-z0-9+/]{27}=")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+_.-]*(=[0-9][\w.]*-r\d+)?")

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRow:
    """A root file system: Alpine's for one architecture, by digest in a registry or as a hashed archive."""

    release: str
    arch: Arch
    digest: str | None
    filename: str
    urls: tuple[str, ...]
    sha256: str | None
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderRow:
    """The native stage's base on an engine of ``arch``: a registry's image, or an archive offline."""

    arch: Arch
    image: str
    digest: str | None
    filename: str
    sha256: str | None


STAGES = ("a", "b", "rc", "")
"""What a version has behind its numbers before it is a release (PEP 440)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """A source archive; ``filename`` is upstream's name, ``size`` is in bytes."""

    name: str
    version: str
    filename: str
    urls: tuple[str, ...]
    sha256: str
    size: int | None

    @property
    def order(self) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
        """Releases in order; an alpha, a beta and a candidate before what they lead to."""
        release = re.match(r"[\d.]*", self.version)
        assert release is not None  # nothing matches, too
        rest = self.version[release.end() :]
        stage = re.match(r"(a|b|rc)(?=\d)", rest)
        numbers = [tuple(map(int, re.findall(r"\d+", text))) for text in (release[0], rest)]
        return numbers[0], STAGES.index(stage[1] if stage else ""), numbers[1]

    @property
    def minor(self) -> str:
        """``3.13``."""
        return ".".join(self.version.split(".")[:2])

    @property
    def archive(self) -> str:
        """Its name in a source mirror and in the build context: ``cpython-3.11.2.tgz``."""
        found = re.search(r"\.(tar\.\w+|tgz)$", self.filename)
        return f"{self.name}-{self.version}{found[0] if found else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelRow:
    """A wheel, had from the user's own index by name, version and hash. ``arch`` None: for every machine."""

    group: str
    name: str
    version: str
    filename: str
    sha256: str
    arch: Arch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApkRow:
    """Alpine packages as ``/etc/apk/world`` names them, pinned (``bash=5.1.0-r0``) where measured.

    ``sysroot`` is what the compiler links against, ``image`` what every image holds, ``extra`` what the slim variant
    leaves out; musl is the policy's. ``closure`` is all that they add to the stock root, with apk's checksum
    (``bash=5.1.0-r0 Q1...``): the SHA-1 of the signed control segment, which names the SHA-256 of the data.
    ``unmade`` says why no image can be made of them: the mirror that was measured lacks too much.
    """

    policy: Policy
    arch: Arch
    sysroot: tuple[str, ...]
    image: tuple[str, ...]
    extra: tuple[str, ...] = ()
    closure: tuple[str, ...] = ()
    unmade: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """All rows, in the file's order. ``clock`` dates every file of an image (seconds since 1970, UTC)."""

    clock: int = 0
    bases: tuple[BaseRow, ...] = ()
    builders: tuple[BuilderRow, ...] = ()
    sources: tuple[SourceRow, ...] = ()
    wheels: tuple[WheelRow, ...] = ()
    apks: tuple[ApkRow, ...] = ()

    def base(self, release: str, arch: Arch) -> BaseRow:
        """The Alpine root.

        Raises:
            UsageError: the lock has none.
        """
        found = next((row for row in self.bases if (row.release, row.arch) == (release, arch)), None)
        return _present(found, f"an Alpine {release} for {arch.value}")

    def builder(self, arch: Arch) -> BuilderRow:
        """The base of native stages on engines of ``arch``.

        Raises:
            UsageError: the lock has none.
        """
        found = next((row for row in self.builders if row.arch is arch), None)
        return _present(found, f"a builder base for {arch.value} engines")

    def apk(self, policy: Policy, arch: Arch) -> ApkRow:
        """The packages of an image.

        Raises:
            UsageError: the lock has none.
        """
        found = next((row for row in self.apks if (row.policy, row.arch) == (policy, arch)), None)
        return _present(found, f"the packages of {policy.platform_tag(arch)}")

    def newest(self, name: str, accept: Callable[[SourceRow], bool] = lambda _: True) -> SourceRow | None:
        """The newest accepted release of a source."""
        rows = [row for row in self.sources if row.name == name and accept(row)]
        return max(rows, key=lambda row: row.order, default=None)

    def wheel_group(self, group: str, arch: Arch | None = None) -> tuple[WheelRow, ...]:
        """The wheels of a group that serve ``arch``."""
        return tuple(row for row in self.wheels if row.group == group and row.arch in (None, arch))


def _present(row: T | None, what: str) -> T:
    if row is None:
        raise UsageError(f"the lock does not have {what}", resolution="Name another lock, or add it to this one.")
    return row


@dataclass(slots=True, kw_only=True)
class _Table:
    """One table of the file while it is read; every problem is noted with its dotted path."""

    values: Mapping[str, object]
    path: str
    problems: list[str]
    known: set[str] = field(default_factory=set)

    def note(self, key: str, text: str) -> None:
        self.problems.append(f"{self.path}.{key}: {text}")

    def text(self, key: str, *, shape: re.Pattern[str] | None = None, default: str = "") -> str:
        self.known.add(key)
        value = self.values.get(key)
        if not isinstance(value, str) or not value:
            self.note(key, "is missing" if value is None else "is not a text")
            return default
        if shape and not shape.fullmatch(value):
            self.note(key, f"{value!r} is not of the form {shape.pattern}")
        return value

    def measured(self, key: str, shape: re.Pattern[str]) -> str | None:
        if self.values.get(key) == UNMEASURED:
            self.known.add(key)
            return None
        return self.text(key, shape=shape)

    def size(self, key: str) -> int | None:
        self.known.add(key)
        value = self.values.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        if value != UNMEASURED:
            self.note(key, 'is neither a number of bytes nor "unmeasured"')
        return None

    def texts(self, key: str, *, shape: re.Pattern[str] | None = None) -> tuple[str, ...]:
        self.known.add(key)
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.note(key, "is missing" if value is None else "is not a list of texts")
            return ()
        for item in value:
            if shape and not shape.fullmatch(item):
                self.note(key, f"{item!r} is not of the form {shape.pattern}")
        return tuple(value)

    def member(self, key: str, kind: type[E]) -> E:
        text = self.text(key)
        try:
            return kind(text)
        except ValueError:
            if text:
                self.note(key, f"{text!r} is none of {', '.join(str(one.value) for one in kind)}")
            return next(iter(kind))

    def policy(self, key: str) -> Policy:
        known, text = known_policies(), self.text(key)
        found = next((policy for policy in known if policy.value == text), None)
        if text and found is None:
            self.note(key, f"{text!r} is none of {', '.join(policy.value for policy in known)}")
        return found or known[0]

    def close(self) -> None:
        for key in self.values.keys() - self.known:
            self.note(key, "is not known")


def _base(table: _Table) -> BaseRow:
    return BaseRow(
        release=table.text("release"),
        arch=table.member("arch", Arch),
        digest=table.measured("digest", _DIGEST),
        filename=table.text("filename"),
        urls=table.texts("urls"),
        sha256=table.measured("sha256", _SHA256),
        size=table.size("size"),
    )


def _builder(table: _Table) -> BuilderRow:
    return BuilderRow(
        arch=table.member("arch", Arch),
        image=table.text("image"),
        digest=table.measured("digest", _DIGEST),
        filename=table.text("filename"),
        sha256=table.measured("sha256", _SHA256),
    )


def _source(table: _Table) -> SourceRow:
    return SourceRow(
        name=table.text("name"),
        version=table.text("version"),
        filename=table.text("filename"),
        urls=table.texts("urls"),
        sha256=table.text("sha256", shape=_SHA256),
        size=table.size("size"),
    )


def _wheel(table: _Table) -> WheelRow:
    return WheelRow(
        group=table.text("group"),
        name=table.text("name"),
        version=table.text("version"),
        filename=table.text("filename"),
        sha256=table.text("sha256", shape=_SHA256),
        arch=table.member("arch", Arch) if "arch" in table.values else None,
    )


def _apk(table: _Table) -> ApkRow:
    return ApkRow(
        policy=table.policy("policy"),
        arch=table.member("arch", Arch),
        sysroot=table.texts("sysroot", shape=_PACKAGE),
        image=table.texts("image", shape=_PACKAGE),
        extra=table.texts("extra", shape=_PACKAGE) if "extra" in table.values else (),
        closure=table.texts("closure", shape=_ADDED) if "closure" in table.values else (),
        unmade=table.text("unmade") if "unmade" in table.values else "",
    )


def parse_lock(text: str, name: str = "lock") -> Lock:
    """The values in a lock file; ``name`` is how messages call it.

    Raises:
        UsageError: not TOML, or anything in it is wrong; the details list every problem with its dotted path.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name} is not TOML", details=str(error)) from error
    problems: list[str] = []
    if document.pop("schema", None) != SCHEMA:
        problems.append(f"schema: is not {SCHEMA}")
    clock = document.pop("clock", 0)
    if not isinstance(clock, int) or isinstance(clock, bool) or not 0 <= clock <= LAST_SECOND:
        problems.append("clock: is no number of seconds since 1970")

    def rows(key: str, read: Callable[[_Table], T]) -> tuple[T, ...]:
        found = []
        tables = document.pop(key, [])
        if not isinstance(tables, list) or not all(isinstance(values, dict) for values in tables):
            problems.append(f"{key}: is not an array of tables")
            return ()
        for index, values in enumerate(tables):
            table = _Table(values=values, path=f"{key}[{index}]", problems=problems)
            found.append(read(table))
            table.close()
        return tuple(found)

    lock = Lock(
        clock=clock,
        bases=rows("base", _base),
        builders=rows("builder", _builder),
        sources=rows("source", _source),
        wheels=rows("wheel", _wheel),
        apks=rows("apk", _apk),
    )
    problems += [f"{key}: is not known" for key in document]
    problems += _repeated(lock)
    if problems:
        raise UsageError(f"{name} has {len(problems)} problem(s)", details="\n".join(sorted(problems)))
    return lock


def _repeated(lock: Lock) -> list[str]:
    """Rows that say the same thing twice: which one holds would depend on their order."""
    keys: list[tuple[str, ...]] = [
        *(("base", row.release, row.arch.value) for row in lock.bases),
        *(("builder", row.arch.value) for row in lock.builders),
        *(("source", row.name, row.version) for row in lock.sources),
        *(("wheel", row.group, row.name, row.arch.value if row.arch else "") for row in lock.wheels),
        *(("apk", row.policy.value, row.arch.value) for row in lock.apks),
    ]
    return sorted({f"{key[0]}: {' '.join(key[1:])} is there twice" for key in keys if keys.count(key) > 1})


def _value(value: object) -> str:
    if value is None:
        return f'"{UNMEASURED}"'
    if isinstance(value, (Enum, Policy)):
        value = value.value
    if isinstance(value, tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, int):
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def format_lock(lock: Lock) -> str:
    """The file's text; ``parse_lock`` gives the same values back. Comments of a file that was read are not kept."""
    tables: list[tuple[str, Sequence[object]]] = [
        ("base", lock.bases),
        ("builder", lock.builders),
        ("source", lock.sources),
        ("wheel", lock.wheels),
        ("apk", lock.apks),
    ]
    parts = [f"schema = {SCHEMA}\nclock = {lock.clock}\n"]
    for name, rows in tables:
        for row in rows:
            values = {key: getattr(row, key) for key in row.__dataclass_fields__}  # type: ignore[attr-defined] # rows
            lines = [f"{key} = {_value(value)}" for key, value in values.items() if (name, key, value) not in LEFT_OUT]
            parts.append("\n".join((f"[[{name}]]", *lines, "")))
    return "\n".join(parts)


LEFT_OUT = {("wheel", "arch", None), ("apk", "closure", ()), ("apk", "unmade", "")}
"""The values that are left out, because the file has no word for them."""
