"""Which libraries of a root are one library: the same bytes, and the same libraries behind the same names."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def merge_equal(needs: Mapping[str, Mapping[str, str]], digest: Callable[[str], str]) -> Mapping[str, str]:
    """Every key of ``needs`` (library to name to library) to the first of those that are the same library.

    Two keys are told apart when their bytes differ, or when one name leads them to libraries that are told apart; what
    nothing tells apart is one, also within cycles (the coarsest stable partition).
    """
    classes = {key: digest(key) for key in needs}
    count = len(set(classes.values()))
    while True:
        refined: dict[object, str] = {}
        following = {}
        for key in sorted(needs):
            sight = (classes[key], tuple(sorted((name, classes[other]) for name, other in needs[key].items())))
            following[key] = refined.setdefault(sight, key)
        if len(refined) == count:
            return following
        classes, count = following, len(refined)
