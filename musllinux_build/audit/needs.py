"""Undefined symbols against what provides them: the wheel's own closure, CPython, and each musl release.

musl's lookup takes the first definition in global order and ignores versions; a weak reference may stay undefined, a
strong one that nobody defines stops the load (find_sym and do_relocs in ldso/dynlink.c).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from musllinux_build.elf.closure import Closure, is_reserved
from musllinux_build.policies.load import SymbolTable
from musllinux_build.policy import MuslVersion

PYTHON_API = re.compile(r"_?Py")
GLIBC_ONLY = re.compile(
    r"__\w+_chk|__cxa_thread_atexit_impl|fcntl64|backtrace(?:_symbols(?:_fd)?)?|__strtok_r|gnu_get_libc_\w+|fts_\w+"
    r"|pthread_attr_setaffinity_np|_?obstack_\w+|argp_\w+|__libc_single_threaded|__isoc23_\w+|mallinfo2?|mallopt"
    r"|__register_atfork|__sched_cpu(?:count|alloc|free)|strtoll_l|qecvt\w*|rpmatch|canonicalize_file_name|error(?:_at_line)?"
    r"|__rawmemchr|rawmemchr|__getauxval|register_printf_\w+|arc4random\w*|close_range|strfromd|__fdelt_chk|malloc_info"
)
"""Names that glibc and not musl has, as far as they turn up in wheels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Where the symbols of the loaded objects come from.

    ``from_musl`` maps (path, symbol) of those that no object of the load defines to the musl release; ``unprovided``
    are (path, symbol) that nothing defines, ``undecided`` those of loads that lack a library which may define them.
    """

    from_musl: Mapping[tuple[str, str], MuslVersion]
    unprovided: frozenset[tuple[str, str]]
    undecided: frozenset[tuple[str, str]]


def find_needs(table: SymbolTable, closure: Closure) -> Needs:
    """Every symbol of every load, with what provides it."""
    old = table.provided_at(table.oldest)
    asked = {path: facts.undefined - old for path, facts in closure.objects.items()}
    from_musl: dict[tuple[str, str], MuslVersion] = {}
    unprovided: set[tuple[str, str]] = set()
    undecided: set[tuple[str, str]] = set()
    for root, loaded in closure.loads.items():
        in_python = not closure.objects[root].is_program
        # A program that needs no libc runs without it: musl puts itself in the list of libraries when it is asked for.
        has_libc = in_python or any(is_reserved(name) for path in loaded for name in closure.objects[path].needed)
        names = asked if has_libc else {path: closure.objects[path].undefined for path in loaded}
        wanted = frozenset().union(*(names[path] for path in loaded))
        for path in loaded:
            wanted -= closure.objects[path].exports
        if not wanted:
            continue
        lacking = bool(closure.missing_for(root))
        for path in loaded:
            for symbol in names[path] & wanted:
                if has_libc and symbol in table.since:
                    from_musl[path, symbol] = table.since[symbol]
                elif not (in_python and PYTHON_API.match(symbol)):
                    (undecided if lacking and not GLIBC_ONLY.fullmatch(symbol) else unprovided).add((path, symbol))
    return Needs(from_musl=from_musl, unprovided=frozenset(unprovided), undecided=frozenset(undecided))
