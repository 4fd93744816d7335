"""Text of strangers (names in wheels, objects and roots) as a terminal, a log and a JSON reader may see it."""

from __future__ import annotations

import re
from collections.abc import Mapping

COMMAND = re.compile(r"^\s*::|##\[")
"""What GitHub's runner takes for a command to itself: at the start of a line, and in its older form anywhere."""


def plain_line(text: str) -> str:
    """``text`` in one line without control characters, invisible ones or commands: they are shown in hexadecimal."""
    if text.isascii() and text.isprintable() and ":" not in text and "#" not in text:
        return text
    shown = "".join(character if character.isprintable() else _escaped(character) for character in text)
    return COMMAND.sub(lambda found: found[0].replace(":", "\\x3a", 1).replace("##", "\\x23#", 1), shown)


def plain_json(value: object) -> object:
    """``value`` with texts that every JSON reader takes: bytes that were no UTF-8 are shown in hexadecimal."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {plain_json(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    return value


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: a byte that was no UTF-8
        code -= 0xDC00
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
