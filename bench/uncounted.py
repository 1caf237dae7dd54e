"""`mintmark` that counts nothing, to measure what its metrics cost: `python -m bench.uncounted serve`."""

import sys

from mintmark import cli
from mintmark.metrics import Metrics


def count_nothing(*_: object) -> None: ...


setattr(Metrics, "request", count_nothing)  # noqa: B010  a type checker would object to the assignment, and rightly
setattr(Metrics, "batch", count_nothing)  # noqa: B010
cli.main(sys.argv[1:])
