"""A repository's configuration without what is of one machine or secret (git-config(1), "Syntax").

Build backends come from an index and run with a network beside the copy of ``.git`` that version finders read. What CI
systems write into the configuration to fetch (``http.*.extraheader``, tokens in URLs) is none of their business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

KEPT = {
    b"core": {
        *(b"repositoryformatversion", b"filemode", b"symlinks", b"ignorecase", b"precomposeunicode"),
        *(b"autocrlf", b"eol", b"safecrlf", b"sparsecheckout", b"sparsecheckoutcone", b"quotepath", b"abbrev"),
    },
    b"extensions": {
        *(b"objectformat", b"compatobjectformat", b"refstorage", b"partialclone", b"preciousobjects"),
        *(b"worktreeconfig", b"relativeworktrees"),
    },
    b"remote": {b"url", b"fetch", b"tagopt", b"promisor", b"partialclonefilter"},
    b"branch": {b"remote", b"merge"},
    b"submodule": {b"url", b"active"},
}
"""Variables by section: what says how the repository is to be read, and where it is from."""
_SECTION = re.compile(rb'[ \t]*\[[ \t]*([A-Za-z0-9.-]+)(?:[ \t]+"(?:[^"\\\n]|\\.)*")?[ \t]*\]')
_VARIABLE = re.compile(rb"[ \t]*([A-Za-z][A-Za-z0-9-]*)[ \t]*(?:=|$)")
_USER = re.compile(rb"(?<=://)[^/\s]*@")


def shared_config(content: bytes, *, submodule: bool = False) -> bytes:
    """What of the file ``.git/config`` goes to a build, its lines as they are but for user names and passwords in URLs.

    A ``submodule`` is found by its ``core.worktree``; of the repository itself that says where it lay, and is left out.
    """
    section = b""
    kept: list[bytes] = []
    for line in _logical_lines(content):
        opened, named = _SECTION.match(line), _VARIABLE.match(line.rstrip())
        if opened:
            section = opened[1].lower().partition(b".")[0]
            # A variable may stand behind it on the line; nobody writes that, and it is left out.
            kept += [_USER.sub(b"", opened[0]) + b"\n"] if section in KEPT else []
        elif line.lstrip().startswith(b"["):
            section = b""
        elif named and section in KEPT:
            name = named[1].lower()
            if name in KEPT[section] or (submodule and (section, name) == (b"core", b"worktree")):
                kept.append(_USER.sub(b"", line))
    return b"".join(kept)


def _logical_lines(content: bytes) -> Iterator[bytes]:
    """Lines, those that a backslash continues joined with what follows."""
    line = b""
    for part in content.splitlines(keepends=True):
        text = part.rstrip(b"\r\n")
        if (len(text) - len(text.rstrip(b"\\"))) % 2:
            line += text[:-1]
        else:
            yield line + part
            line = b""
    if line:
        yield line
