"""The apk database and the document of what was grafted."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musllinux_build.apkdb import NO_DATABASE, ApkDatabase, parse_installed, read_database
from musllinux_build.audit.sbom import Bundled, Source, sbom_json
from musllinux_build.tags import WheelName

WHEEL = WheelName.parse("Demo_Pkg-1.0_local.1-cp313-cp313-musllinux_1_2_x86_64.whl")
ROOT = "pkg:pypi/demo-pkg@1.0%2Blocal.1?file_name=Demo_Pkg-1.0_local.1-cp313-cp313-musllinux_1_2_x86_64.whl"
OS_RELEASE = b"NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID='3.13.12'\n"
YAML = b"the library libyaml"


def q1(content: bytes) -> str:
    return "Q1" + base64.b64encode(hashlib.sha1(content).digest()).decode()


INSTALLED = f"""C:Q1mGDXWUFVE+6oFGyj8OMl5cZrkkU=
P:yaml
V:0.2.5-r0
A:x86_64
S:1
T:YAML: a parser
L:MIT
o:yaml
D:so:libc.musl-x86_64.so.1
p:so:libyaml-0.so.2=2.0.9
F:usr
F:usr/lib
R:libyaml-0.so.2
a:0:0:777
Z:Q17yJ3JFNypA4mxhJJr0ou6CzsJVI=
R:libyaml-0.so.2.0.9
a:0:0:755
Z:{q1(YAML)}

P:libstdc++
V:10.2.1_pre1-r3
A:x86_64
L:GPL-2.0-or-later LGPL-2.1-or-later
o:gcc
F:lib
R:libstdc++.so.6.0.28
Z:{q1(b"as installed")}
""".encode()


def database(installed: bytes = INSTALLED, os_release: bytes | None = OS_RELEASE) -> ApkDatabase:
    files = {"/lib/apk/db/installed": installed, "/etc/os-release": os_release}
    return read_database(files.get)


def bundled(member: str, path: str, content: bytes, *needs: str) -> Bundled:
    return Bundled(
        member=member,
        sha256=hashlib.sha256(content + b"edited").hexdigest(),
        soname=path.rsplit("/", 1)[-1],
        source=Source.of(path, content),
        needs=needs,
    )


LIBRARIES = [
    bundled("d.libs/libz.so", "/home/user/secret/libz.so.1", b"z"),
    bundled("d.libs/libyaml.so", "/usr/lib/libyaml-0.so.2.0.9", YAML, "d.libs/libz.so", "d.libs/libstdc++.so"),
    bundled("d.libs/libstdc++.so", "/usr/lib/libstdc++.so.6.0.28", b"another one"),
]


def document(libraries: list[Bundled], base: ApkDatabase) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(sbom_json(WHEEL, libraries, base, epoch=315532800))
    return found


def component(of: str, within: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(row for row in within["components"] if row["bom-ref"] == of)
    return found


def properties(of: Mapping[str, Any]) -> Mapping[str, str]:
    return {row["name"].removeprefix("musllinux-build:"): row["value"] for row in of["properties"]}


def test_a_database_says_whose_a_file_is() -> None:
    base = database()
    assert (base.distribution, base.branch) == ("alpine", "3.13")
    owned = base.owner("/usr/lib/libyaml-0.so.2.0.9")
    assert owned
    assert (owned.package.name, owned.package.version, owned.package.license) == ("yaml", "0.2.5-r0", "MIT")
    assert owned.sha1 == hashlib.sha1(YAML).hexdigest()
    # /lib and /usr/lib were merged, whichever the database knows.
    assert base.owner("/lib/libyaml-0.so.2") == base.owner("/usr/lib/libyaml-0.so.2")
    merged = base.owner("/usr/lib/libstdc++.so.6.0.28")
    assert merged
    assert merged.package.origin == "gcc"
    assert base.owner("/usr/lib/libz.so.1") is None
    assert base.owner("libyaml-0.so.2") is None


def test_the_database_of_a_newer_apk_is_found() -> None:
    files = {"/usr/lib/apk/db/installed": INSTALLED, "/usr/lib/os-release": b"ID=alpine\nVERSION_ID=3.23_alpha1\n"}
    base = read_database(files.get)
    assert base.owner("/usr/lib/libyaml-0.so.2")
    assert base.branch == "3.23_alpha1"
    assert read_database(lambda path: None) == NO_DATABASE


@pytest.mark.parametrize(
    "line",
    [
        b"P:../../etc",
        b"P:",
        b"P:a b",
        b"P:\x1b[31m",
        b"P:" + b"a" * 500,
        b"V:",
        b"V:; rm",
        b"Q:",
        b"P",
        b"\xff\xfe:\xff",
    ],
)
def test_a_package_of_no_sound_name_or_version_owns_nothing(line: bytes) -> None:
    base = database(line + b"\n" + INSTALLED.replace(b"P:yaml", b"x:").replace(b"V:0.2.5-r0", b"x:"))
    assert base.owner("/usr/lib/libyaml-0.so.2.0.9") is None
    assert base.owner("/lib/libstdc++.so.6.0.28")


def test_a_later_block_does_not_take_files_over() -> None:
    thief = b"\n\nP:thief\nV:9\nF:usr/lib\nR:libyaml-0.so.2.0.9\nZ:" + q1(b"x").encode() + b"\n"
    owned = database(INSTALLED + thief).owner("/usr/lib/libyaml-0.so.2.0.9")
    assert owned
    assert (owned.package.name, owned.sha1) == ("yaml", hashlib.sha1(YAML).hexdigest())


@given(
    st.lists(
        st.sampled_from([b"P:a\n", b"V:1\n", b"F:lib\n", b"R:x\n", b"Z:Q1\n", b"Z:Q1AAAA\n", b"\n", b"\xff", b":"])
    )
)
def test_any_database_is_read(parts: list[bytes]) -> None:
    for path, owned in parse_installed(b"".join(parts)).items():
        assert path.startswith("/")
        assert owned.package.name


def test_every_library_is_a_component() -> None:
    found = document(LIBRARIES, database())
    yaml = component("d.libs/libyaml.so", found)
    assert yaml["purl"] == "pkg:apk/alpine/yaml@0.2.5-r0?arch=x86_64&distro=alpine-3.13"
    assert yaml["licenses"] == [{"expression": "MIT", "acknowledgement": "declared"}]
    assert yaml["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(YAML + b"edited").hexdigest()}]
    assert yaml["pedigree"]["ancestors"][0]["hashes"][0]["content"] == hashlib.sha256(YAML).hexdigest()
    assert properties(yaml) == {
        "path": "d.libs/libyaml.so",
        "soname": "libyaml-0.so.2.0.9",
        "source": "/usr/lib/libyaml-0.so.2.0.9",
    }
    stdcxx = component("d.libs/libstdc++.so", found)
    assert stdcxx["purl"] == "pkg:apk/alpine/libstdc%2B%2B@10.2.1_pre1-r3?arch=x86_64&distro=alpine-3.13"
    assert stdcxx["licenses"][0]["license"]["name"] == "GPL-2.0-or-later LGPL-2.1-or-later"
    assert properties(stdcxx)["differs-from-package"] == "true"


def test_a_library_that_no_package_owns_is_a_component_and_tells_no_path() -> None:
    content = sbom_json(WHEEL, LIBRARIES, database(), epoch=315532800)
    libz = component("d.libs/libz.so", json.loads(content))
    assert libz["name"] == "libz"
    assert "purl" not in libz
    assert properties(libz)["unowned"] == "true"
    assert b"secret" not in content


def test_the_wheel_is_the_root_of_a_graph_that_reaches_all() -> None:
    found = document(LIBRARIES, database())
    assert found["metadata"]["component"]["purl"] == ROOT
    rows = {row["ref"]: row.get("dependsOn", []) for row in found["dependencies"]}
    assert rows[ROOT] == ["d.libs/libyaml.so"]
    assert rows["d.libs/libyaml.so"] == ["d.libs/libstdc++.so", "d.libs/libz.so"]
    assert found["metadata"]["timestamp"] == "1980-01-01T00:00:00Z"


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20), st.randoms(use_true_random=False))
def test_all_are_reached_and_the_order_does_not_matter(edges: list[tuple[int, int]], random: Any) -> None:
    libraries = [
        bundled(f"d.libs/{at}.so", f"/lib/{at}.so", b"", *(f"d.libs/{end}.so" for start, end in edges if start == at))
        for at in range(8)
    ]
    first = sbom_json(WHEEL, libraries, NO_DATABASE, epoch=1)
    random.shuffle(libraries)
    assert sbom_json(WHEEL, libraries, NO_DATABASE, epoch=1) == first
    rows = {row["ref"]: row.get("dependsOn", []) for row in json.loads(first)["dependencies"]}
    reached, waiting = set(), [ROOT]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += rows[ref]
    assert reached == rows.keys() == {ROOT, *(library.member for library in libraries)}


def test_the_serial_number_is_that_of_the_content() -> None:
    one, two = document(LIBRARIES, database()), document(LIBRARIES[:2], database())
    assert one["serialNumber"] != two["serialNumber"]
    assert one["serialNumber"] == document(LIBRARIES[::-1], database())["serialNumber"]


def test_names_that_are_no_text_are_shown() -> None:
    library = bundled("d.libs/x.so", "/lib/x\udcff\x1b.so", b"")
    content = sbom_json(WHEEL, [library], NO_DATABASE, epoch=1)
    assert b"\x1b" not in content
    assert component("d.libs/x.so", json.loads(content))["name"] == "x\\xff\x1b"
