"""Rules about DT_RPATH and DT_RUNPATH."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from musllinux_build.audit.catalogue import finding
from musllinux_build.audit.subject import Subject
from musllinux_build.audit.verdict import Finding
from musllinux_build.elf.closure import expand, split_path
from musllinux_build.elf.facts import ElfFacts
from musllinux_build.wheel.layout import is_in_site


def search_paths(subject: Subject) -> Iterator[Finding]:
    """Search paths stay inside what is installed, and musl reads them."""
    for path, facts in subject.inventory.objects.items():
        text = facts.search_path
        if not text:
            continue
        directories = expand(text, path)
        if directories is None:
            message = f"has the search path {text!r}: musl discards all of it for a $ token other than $ORIGIN"
            yield _about(facts, "search-path-token", message)
            continue
        written = split_path(text)
        absolute = [entry for entry in written if entry.startswith("/")]
        if absolute:
            yield _about(facts, "search-path-absolute", f"searches {', '.join(absolute[:3])} wherever it is installed")
        pairs = zip(written, directories, strict=True)
        leaving = [entry for entry, place in pairs if not entry.startswith("/") and not _stays(place)]
        if leaving:
            yield _about(facts, "search-path-escapes", f"searches outside the wheel: {', '.join(leaving[:3])}")


def _stays(directory: str) -> bool:
    # A relative directory would depend on the process's working directory.
    return is_in_site(f"{posixpath.normpath(directory)}/")


def _about(facts: ElfFacts, rule: str, message: str) -> Finding:
    return finding(
        rule,
        file=facts.path,
        message=message,
        evidence=facts.search_path or "",
        remedy="Link it with -rpath $ORIGIN/... or none",
    )
