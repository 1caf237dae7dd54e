"""What counting a request costs: `python -m bench.counting` prints nanoseconds a call, the best of five rounds."""

from collections.abc import Callable
from timeit import repeat

from mintmark.limits import ACS, Limiter, shared_cells
from mintmark.metrics import Metrics, new_snapshots

CALLS, ROUNDS = 200_000, 5
RESOURCE = "6a1f4c0e-8d2b-4b57-9c36-0f5e7d1a2b94"
NOON = 1_795_435_200_000  # 2026-11-23 12:00:00 UTC, in milliseconds
WORKERS = 4


def nanoseconds(call: Callable[[], object], calls: int = CALLS) -> float:
    return min(repeat(call, number=calls, repeat=ROUNDS)) / calls * 1e9


def main() -> None:
    metrics = Metrics(new_snapshots(WORKERS), 0)
    limiter = Limiter({**ACS, "create": 1_000_000}, shared_cells(WORKERS), 0)
    full = Limiter({"create": 1}, shared_cells(WORKERS), 0)
    full.take(RESOURCE, "create", NOON)
    rows = {
        "Metrics.request": nanoseconds(lambda: metrics.request("create", "2026-09-23", 201, RESOURCE, 0.0042)),
        "Metrics.batch": nanoseconds(lambda: metrics.batch(16, 0.0042)),
        "Metrics.publish, unchanged": nanoseconds(metrics.publish, 1000),
        "Limiter.take, allowed": nanoseconds(lambda: limiter.take(RESOURCE, "create", NOON)),
        "Limiter.take, refused": nanoseconds(lambda: full.take(RESOURCE, "create", NOON)),
        "Limiter.take, no limit": nanoseconds(lambda: limiter.take(RESOURCE, "get", NOON)),
        "nothing": nanoseconds(lambda: None),
    }
    for name, cost in rows.items():
        print(f"{name:28} {cost:7.0f} ns")


if __name__ == "__main__":
    main()
