"""Measurements with defaults, for the tests of the benchmark."""

from bench.load import Load
from bench.results import Cell, Sample

NO_ERRORS = {"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0}


def a_load(rate: int = 1000, p50: float = 2.0, p99: float = 9.0) -> Load:
    return Load(requests=rate * 2, seconds=2.0, bytes=rate * 2 * 900, p50_ms=p50, p99_ms=p99, errors=NO_ERRORS)


def a_sample(
    subject: str,
    number: int = 1,
    rate: int = 1000,
    *,
    workers: int = 2,
    connections: int = 16,
    operation: str = "create",
    cpu: float = 1.0,
    memory: int = 50_000_000,
) -> Sample:
    return Sample(Cell(subject, workers, connections, operation), number, a_load(rate), cpu, memory, verified=100)
