"""Which images are meant: policies and architectures by name, as far as the lock has their packages."""

from __future__ import annotations

from collections.abc import Sequence

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError, near_miss
from musllinux_build.images.lock import Lock
from musllinux_build.policy import Policy, known_policies


def chosen_targets(
    lock: Lock, policies: Sequence[str], archs: Sequence[str], images: Sequence[str] = ()
) -> list[tuple[Policy, Arch]]:
    """What the lock has packages for, as far as it is asked for; ``images`` are tags such as musllinux_1_2_s390x.

    An image that cannot be made of them is chosen by its own name only, or its policy and architecture.

    Raises:
        UsageError: a name is not known, an image of these names is not in the lock, or nothing is left.
    """
    there = [(row.policy, row.arch) for row in lock.apks]
    unmade = {(row.policy, row.arch) for row in lock.apks if row.unmade}
    tags = [policy.platform_tag(arch) for policy, arch in there]
    for words, known in ((images, tags), (policies, _policies()), (archs, _archs())):
        for word in words:
            if word not in known:
                raise _unknown(word, known)
    chosen = [
        (policy, arch)
        for (policy, arch), tag in zip(there, tags, strict=True)
        if (not policies or policy.value in policies)
        and (not archs or arch.value in archs)
        and (not images or tag in images)
        and ((policy, arch) not in unmade or bool(images) or (bool(policies) and bool(archs)))
    ]
    if not chosen:
        raise UsageError("the lock has no packages for what is asked", resolution=f"It has {', '.join(tags)}.")
    return chosen


def _policies() -> list[str]:
    return [policy.value for policy in known_policies()]


def _archs() -> list[str]:
    return [arch.value for arch in Arch]


def _unknown(word: str, known: Sequence[str]) -> UsageError:
    """A name of another kind is no misspelling: the option for it is said."""
    for kind, option, names in (("a policy", "--policy", _policies()), ("an architecture", "--arch", _archs())):
        if word in names:
            return UsageError(f"{word!r} is {kind}", resolution=f"Write {option} {word}.")
    return UsageError(f"{word!r} is not known", resolution=near_miss(word, known))
