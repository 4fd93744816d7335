"""RECORD, WHEEL, file names and layouts that lie, or cost more than they weigh."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from musllinux_build.audit.subject import take_inventory
from musllinux_build.errors import WheelError
from musllinux_build.tags import WheelName
from musllinux_build.wheel.contents import read_wheel
from musllinux_build.wheel.metadata import WheelFile
from musllinux_build.wheel.record import check_listing, parse_record
from tests.laws.bounds import within
from tests.wheelgen import WheelSpec, build_wheel, digest

INFO = "demo-1.0.dist-info"
A = digest(b"a")


def read(files: Mapping[str, bytes], **parts: str) -> None:
    spec = WheelSpec(files=files, **parts)  # type: ignore[arg-type] # texts only
    take_inventory(read_wheel(build_wheel(spec), spec.filename))


ROWS = {
    "twice": f"a,sha256={A},1\na,sha256={A},1\n",
    "twice, once quoted": f'a,sha256={A},1\n"a",sha256={A},1\n',
    "RECORD twice": f"a,sha256={A},1\n{INFO}/RECORD,,\n{INFO}/RECORD,,\n",
    "md5": "a,md5=DMF1ucDxtqgxw5niaXcmYQ,1\n",
    "sha1": "a,sha1=hvfkN_qlp_zhXR3cuerq6jd2Z7g,1\n",
    "sha224": "a,sha224=q9XtpXxuIH-7xeUBVQjJfJKAwGqiKz-OUeKDAA,1\n",
    "an unknown hash": "a,blake9=aaaa,1\n",
    "no hash": "a,,1\n",
    "no row": "",
    "two fields": "a,sha256=x\n",
    "four fields": f"a,sha256={A},1,\n",
    "another size": f"a,sha256={A},2\n",
    "negative size": f"a,sha256={A},-1\n",
    "size with a plus": f"a,sha256={A},+1\n",
    "size in other digits": f"a,sha256={A},\u0661\n",
    "size of many digits": f"a,sha256={A},{'1' * 5000}\n",
    "hash of another file": f"a,sha256={digest(b'b')},1\n",
    "hash cut short": f"a,sha256={A[:-4]},1\n",
    "hash in hexadecimal": "a,sha256=ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb,1\n",
    "hash in plain base64": f"a,sha256={A.replace('-', '+').replace('_', '/')}/+,1\n",
    "another spelling": f"./a,sha256={A},1\n",
    "absolute": f"/a,sha256={A},1\n",
    "traversal": f"a,sha256={A},1\n../../b,sha256={A},1\n",
    "a file that is not there": f"a,sha256={A},1\nb,sha256={A},1\n",
    "open quotes": f'"a,sha256={A},1\n',
    "quotes inside": f'a"b,sha256={A},1\n',
    "a header": f"path,hash,size\na,sha256={A},1\n",
    "NUL": f"a\0,sha256={A},1\n",
    "byte order mark": f"\ufeffa,sha256={A},1\n",
    "semicolons": f"a;sha256={A};1\n",
    "decomposed": f"a,sha256={A},1\ne\u0301,sha256={A},1\n",
}


def complete(rows: str) -> str:
    spec = WheelSpec(files={})
    wheel_file = f"Wheel-Version: 1.0\nGenerator: test 1\nRoot-Is-Purelib: false\nTag: {spec.tag}\n".encode()
    metadata = b"Metadata-Version: 2.1\nName: demo\n"
    own = f"{INFO}/METADATA,sha256={digest(metadata)},\n{INFO}/WHEEL,sha256={digest(wheel_file)},\n"
    return own + rows


@pytest.mark.parametrize("case", ROWS)
def test_rows_that_do_not_describe_the_file_are_refused(case: str) -> None:
    with pytest.raises(WheelError) as caught:
        read({"a": b"a"}, record=complete(ROWS[case]))
    assert caught.value.resolution


SOUND_ROWS = {
    "plain": f"a,sha256={A},1\n{INFO}/RECORD,,\n",
    "CRLF": f"a,sha256={A},1\r\n{INFO}/RECORD,,\r\n".replace("\n\r", "\n"),
    "quoted": f'"a","sha256={A}","1"\n',
    "padded": f"a,sha256={A}=,1\n",
    "no size": f"a,sha256={A},\n",
    "no end of line": f"a,sha256={A},1",
    "empty lines": f"\n\na,sha256={A},1\n\n",
    "signatures": f"a,sha256={A},1\n{INFO}/RECORD.jws,,\n",
}


@pytest.mark.parametrize("case", SOUND_ROWS)
def test_rows_that_do_are_read(case: str) -> None:
    read({"a": b"a"}, record=complete(SOUND_ROWS[case]))


def test_names_that_csv_must_quote_are_read() -> None:
    name = 'a, "b"'
    record = complete(f'"a, ""b""",sha256={A},1\n')
    read({name: b"a"}, record=record)


def test_rows_without_end_stop_at_the_first_that_is_wrong() -> None:
    text = ",,\n" * 200_000
    with within(1, 16 << 20), pytest.raises(WheelError):
        parse_record(text, INFO, "demo.whl")


def test_rows_of_record_itself_do_not_add_up() -> None:
    text = f"{INFO}/RECORD,,\n" * 100_000
    with within(1, 16 << 20), pytest.raises(WheelError):
        parse_record(text, INFO, "demo.whl")


def test_messages_about_many_files_are_short() -> None:
    with pytest.raises(WheelError) as caught:
        check_listing({}, [f"{number}" + "x" * 4000 for number in range(1000)], INFO, "demo.whl")
    assert len(caught.value.brief) < 2000


def test_a_long_line_of_wheel_costs_no_more_than_its_length() -> None:
    line = "Generator: x" + " " * 200_000 + "x"
    with within(1, 64 << 20):
        assert WheelFile.parse(f"Wheel-Version: 1.0\n{line}\n", "demo.whl").first("Wheel-Version") == "1.0"


WHEEL_LINES = {
    "version 2": "Wheel-Version: 2.0\n",
    "version of other digits": "Wheel-Version: 1.\u0661\n",
    "no version": "Tag: x\n",
    "no field": "Wheel-Version: 1.0\nhello\n",
    "continuation": "Wheel-Version: 1.0\n Tag: x\n",
    "space in the name": "Wheel-Version: 1.0\nRoot Is: x\n",
    "escape": "Wheel-Version: 1.0\nTag: \x1b[2Jx\n",
    "carriage return inside": "Wheel-Version: 1.0\nTag: x\ry\n",
    "next line inside": "Wheel-Version: 1.0\nTag: x\x85y\n",
    "two versions": "Wheel-Version: 1.0\nWheel-Version: 2.0\n",
    "many fields": "Wheel-Version: 1.0\n" + "Tag: x\n" * 200_000,
}


@pytest.mark.parametrize("case", WHEEL_LINES)
def test_wheel_files_that_are_none_are_refused(case: str) -> None:
    with within(1, 64 << 20), pytest.raises(WheelError):
        WheelFile.parse(WHEEL_LINES[case], "demo.whl")


def test_a_wheel_file_of_windows_is_read() -> None:
    assert WheelFile.parse("Wheel-Version: 1.0\r\nTag: a-b-c\r\n\r\n", "demo.whl").tags == ("a-b-c",)


FILENAMES = {
    "explosion": f"d-1.0-{'.'.join(f'a{n}' for n in range(40))}-{'.'.join(f'b{n}' for n in range(40))}"
    f"-{'.'.join(f'c{n}' for n in range(40))}.whl",
    "escape": "d\x1b[31m-1.0-py3-none-any.whl",
    "C1": "d\x9b31m-1.0-py3-none-any.whl",
    "newline": "d\n-1.0-py3-none-any.whl",
    "bell": "d\x07-1.0-py3-none-any.whl",
    "NUL": "d\0-1.0-py3-none-any.whl",
    "override": "d\u202e-1.0-py3-none-any.whl",
    "workflow command": "::error::d-1.0-py3-none-any.whl",
    "surrogate": "d\udcff-1.0-py3-none-any.whl",
    "parent": "..-1.0-py3-none-any.whl",
    "escape in a build": "d-1.0-1\x1b-py3-none-any.whl",
    "escape in a variant": "d-1.0-py3-none-any-x\x1b.whl",
    "a tag that sorts to a build number": "d-1.0-cp31.0-cp313-cp313-any.whl",
    "empty tags": "d-1.0-py3..py2-none-any.whl",
    "long": "d" * 600 + "-1.0-py3-none-any.whl",
    "slow version": "d-" + "1.0" + "." * 200 + "-py3-none-any.whl",
}


@pytest.mark.parametrize("case", FILENAMES)
def test_file_names_that_mislead_are_refused(case: str) -> None:
    with within(1, 8 << 20), pytest.raises(WheelError) as caught:
        WheelName.parse(FILENAMES[case])
    assert caught.value.brief.isprintable()
    assert not caught.value.brief.lstrip().startswith("::")


@pytest.mark.parametrize(
    "filename",
    [
        "Foo.Bar-1.0-py3-none-any.whl",
        "foo_bar-1!2.0+local.1-1build-cp313-cp313-musllinux_1_2_x86_64.whl",
        "foo-2024.1.post1.dev3-cp315-abi3.abi3t-manylinux_2_17_x86_64.musllinux_1_2_x86_64-variant_1.whl",
        "ñandú-1.0-py3-none-any.whl",
    ],
)
def test_unusual_file_names_are_read(filename: str) -> None:
    assert str(WheelName.parse(filename)) == filename


LAYOUTS: dict[str, dict[str, bytes]] = {
    "RECORD from .data": {f"demo-1.0.data/platlib/{INFO}/RECORD": b"x"},
    "METADATA from .data": {f"demo-1.0.data/purelib/{INFO}/METADATA": b"x"},
    "a new file of .dist-info from .data": {f"demo-1.0.data/purelib/{INFO}/direct_url.json": b"x"},
    "one place twice": {"demo/x": b"1", "demo-1.0.data/platlib/demo/x": b"2"},
    "one place twice, both from .data": {"demo-1.0.data/purelib/x": b"1", "demo-1.0.data/platlib/x": b"2"},
    "a file where a directory is": {"demo/x": b"1", "demo-1.0.data/platlib/demo": b"2"},
    "another .data": {"other-1.0.data/platlib/x": b"1"},
    "another .dist-info": {"other-1.0.dist-info/METADATA": b"1"},
    "another .dist-info from .data": {"demo-1.0.data/platlib/other-1.0.dist-info/METADATA": b"1"},
    "a .dist-info that is a file": {"other-1.0.dist-info": b"1"},
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_layouts_that_installers_unpack_differently_are_refused(case: str) -> None:
    with pytest.raises(WheelError) as caught:
        read(LAYOUTS[case])
    assert caught.value.resolution


def test_many_files_cost_what_they_weigh() -> None:
    files = {f"demo/{number}": b"" for number in range(1000)}
    with within(1, 32 << 20):
        read(files)
