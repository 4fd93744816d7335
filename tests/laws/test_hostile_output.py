"""Names of strangers on a terminal, in a log of GitHub's and in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from musllinux_build.cli.audit import audit
from musllinux_build.cli.main import show_error
from musllinux_build.errors import WheelError
from musllinux_build.plaintext import plain_json, plain_line
from tests.unit.auditing import extension, module_name, put_wheel

NASTY = "\x1b[2J\x9b31m\x07\r\n::error::x ##[group]\u202e\u200b\udcff\x00"


@settings(max_examples=40)
@given(st.text(st.characters(exclude_categories=[]), max_size=60))
def test_a_line_is_one_line_and_no_command(text: str) -> None:
    shown = plain_line(text)
    assert shown.isprintable()
    assert not shown.lstrip().startswith("::")
    assert "##[" not in shown
    assert shown.encode() or not text


@settings(max_examples=40)
@given(st.text(st.characters(categories=["L", "N", "Zs"], codec="ascii"), max_size=60))
def test_plain_text_stays(text: str) -> None:
    assert plain_line(text) == text
    assert plain_json({"a": [text, 1, None, True]}) == {"a": [text, 1, None, True]}


@settings(max_examples=40)
@given(st.recursive(st.text(st.characters(exclude_categories=[])) | st.integers(), st.lists, max_leaves=8))
def test_json_is_unicode(value: object) -> None:
    assert json.loads(json.dumps(plain_json(value), ensure_ascii=False).encode()) is not None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a::b", "a::b"),
        ("::error::x", "\\x3a:error::x"),
        ("   ::x", "   \\x3a:x"),
        ("a\udcffb", "a\\xffb"),
        ("é → ü", "é → ü"),
        ("\u202e", "\\u202e"),
        ("a ##[error]", "a \\x23#[error]"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert plain_line(text) == shown


@pytest.mark.parametrize("as_json", [False, True])
def test_names_in_an_object_reach_the_terminal_plain(tmp_path: Path, as_json: bool) -> None:
    names = [f"lib{NASTY.replace(chr(0), '')}.so", "::error::lib.so " * 8 + "::set-output name=a::b"]
    module = extension(needed=names, undefined=["\x1b]0;x\x07"], runpath=f"/{NASTY.replace(chr(0), '')}:$X")
    path = put_wheel(tmp_path, {module_name(): module}, tag="cp313-cp313-musllinux_1_2_x86_64")
    result = CliRunner().invoke(audit, ["show", str(path), *(["--json"] if as_json else [])])
    assert result.exit_code == 1
    for line in result.output.splitlines():
        assert line.isprintable()
        assert not line.lstrip().startswith("::")
    if as_json:
        # A strict reader takes it: no half of a surrogate pair.
        json.dumps(json.loads(result.output), ensure_ascii=False).encode()


def test_names_in_errors_reach_the_terminal_plain(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(WheelError(NASTY, details=f"{NASTY}\n{NASTY}", resolution=NASTY))
    for line in capsys.readouterr().err.splitlines():
        assert line.replace("\x1b[31m\x1b[1merror: \x1b[0m", "").isprintable()
        assert not line.lstrip().startswith("::")
