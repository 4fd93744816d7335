"""What an edit mends in an object, and how its facts read afterwards."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from musllinux_build.audit.subject import Inventory, Subject
from musllinux_build.elf.closure import Outcome, expand
from musllinux_build.elf.facts import ElfFacts, Hazard
from musllinux_build.wheel.layout import is_in_site, is_of_wheel


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend:
    """What is done to one object beside its names. ``strip`` drops what loading never reads."""

    expand_relr: bool = False
    clear_exec_stack: bool = False
    strip: bool = False

    def __bool__(self) -> bool:
        return self.expand_relr or self.clear_exec_stack or self.strip

    @property
    def mended(self) -> frozenset[Hazard]:
        """The hazards an object has no more."""
        found = {Hazard.RELR: self.expand_relr, Hazard.EXECUTABLE_STACK: self.clear_exec_stack}
        return frozenset(hazard for hazard, done in found.items() if done)


NOTHING: Final = Mend()


def mend_of(subject: Subject, facts: ElfFacts, *, clear_exec_stack: bool, strip: bool) -> Mend:
    """What an edit mends in the object with ``facts``."""
    return Mend(
        expand_relr=Hazard.RELR in facts.hazards and subject.floor < subject.table.relr_floor,
        clear_exec_stack=clear_exec_stack and Hazard.EXECUTABLE_STACK in facts.hazards,
        strip=strip,
    )


def kept_entries(subject: Subject, path: str) -> tuple[str, ...]:
    """The entries of an object's search path that stay: those below ``$ORIGIN`` that end inside the wheel.

    An object that needs an excluded library keeps every entry that musl reads: one of them may lead there.
    """
    text = subject.closure.objects[path].search_path if path in subject.closure.objects else None
    keeps_all = any(
        edge.requester == path and edge.outcome in {Outcome.EXCLUDED, Outcome.WHITELISTED}
        for edge in subject.closure.edges
    )
    inside = is_in_site if is_in_site(path) else is_of_wheel
    kept = []
    for entry in re.split(r"[:\n]", text or ""):
        places = expand(entry, path) if entry else None
        if places and (keeps_all or (entry.startswith("$") and inside(f"{posixpath.normpath(places[0])}/"))):
            kept.append(entry)
    return tuple(dict.fromkeys(kept))


def readable(inventory: Inventory) -> Inventory:
    """``inventory`` with search paths as musl reads them once entries are gone that make it discard the whole list."""

    def read(facts: ElfFacts, path: str) -> ElfFacts:
        text = facts.search_path
        if not text or expand(text, path) is not None:
            return facts
        entries = [entry for entry in re.split(r"[:\n]", text) if entry and expand(entry, path) is not None]
        return replace(facts, rpath=None, runpath=":".join(entries) or None)

    return replace(inventory, objects={path: read(facts, path) for path, facts in inventory.objects.items()})


def after(subject: Subject, mends: Mapping[str, Mend], search_paths: Mapping[str, str | None]) -> Subject:
    """``subject`` as it will be: the objects (by installed or opened path) mended and with their new search paths."""

    def mended(objects: Mapping[str, ElfFacts]) -> dict[str, ElfFacts]:
        return {path: _mended(facts, path) for path, facts in objects.items()}

    def _mended(facts: ElfFacts, path: str) -> ElfFacts:
        facts = replace(facts, hazards=facts.hazards - mends.get(path, NOTHING).mended)
        return replace(facts, rpath=None, runpath=search_paths[path]) if path in search_paths else facts

    inventory = replace(subject.inventory, objects=mended(subject.inventory.objects))
    return replace(
        subject, inventory=inventory, closure=replace(subject.closure, objects=mended(subject.closure.objects))
    )
