"""`mintmark` whose signatures take longer, so that its capacity is small and known: `python -m bench.slowed serve`.

The variable SIGNING_MS says by how many milliseconds; the worker does nothing else meanwhile.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from mintmark import cli, jose

DELAY = int(os.environ.get("SIGNING_MS", "10")) / 1000


def slowed(sign: Callable[[Any, bytes], str]) -> Callable[[Any, bytes], str]:
    """The same signature, later."""

    def sign_late(signer: Any, claims: bytes) -> str:
        time.sleep(DELAY)
        return sign(signer, claims)

    return sign_late


for kind in (jose._Es256Signer, jose._Rs256Signer):  # noqa: SLF001  there is no other place that all signatures pass
    setattr(kind, "sign", slowed(kind.sign))  # noqa: B010  a type checker would object to the assignment, and rightly
cli.main(sys.argv[1:])
