"""Which images are meant: policies and architectures by name, as far as the lock has their packages."""

from __future__ import annotations

from collections.abc import Sequence

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError, near_miss
from musllinux_build.images.lock import Lock
from musllinux_build.policy import Policy, known_policies


def chosen_targets(lock: Lock, policies: Sequence[str], archs: Sequence[str]) -> list[tuple[Policy, Arch]]:
    """What the lock has packages for, as far as it is asked for.

    Raises:
        UsageError: a name is not known, or nothing is left.
    """
    for words, known in (
        (policies, [policy.value for policy in known_policies()]),
        (archs, [arch.value for arch in Arch]),
    ):
        for word in words:
            if word not in known:
                raise UsageError(f"{word!r} is not known", resolution=near_miss(word, known))
    there = [(row.policy, row.arch) for row in lock.apks]
    chosen = [
        (policy, arch)
        for policy, arch in there
        if (not policies or policy.value in policies) and (not archs or arch.value in archs)
    ]
    if not chosen:
        known_tags = ", ".join(policy.platform_tag(arch) for policy, arch in there)
        raise UsageError("the lock has no packages for what is asked", resolution=f"It has {known_tags}.")
    return chosen
