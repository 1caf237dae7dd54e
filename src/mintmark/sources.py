"""Where time and chance come from, so that tests can step and count them.

Only the crypto library has chance of its own, for keys and serial numbers.
"""

import os
import time
from collections.abc import Callable
from random import Random

from msgspec import Struct


class Sources(Struct, frozen=True):
    """What a service may not make up by itself.

    Attributes:
        now: milliseconds since 1970-01-01 00:00 UTC.
        random: so many bytes fit for keys and token ids.
    """

    now: Callable[[], int]
    random: Callable[[int], bytes]


def _now() -> int:
    return time.time_ns() // 1_000_000


def system() -> Sources:
    """The machine's clock and the kernel's random generator."""
    return Sources(now=_now, random=os.urandom)


def quick_random(seed: bytes) -> Callable[[int], bytes]:
    """Random bytes without a system call, for names only: who sees some can tell the next."""
    return Random(seed).randbytes  # noqa: S311  no secret is made of them
