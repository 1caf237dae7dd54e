import json
from collections.abc import Callable

import pytest

from bench.load import Load, LoadError, parse, script
from bench.measure import fault_of
from bench.report import Cell, Sample, aligned, faults, markdown, table
from bench.server import Request

NO_ERRORS = {"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0}
WRK = """Running 2s test @ http://127.0.0.1:40123
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.10ms    1.20ms  20.11ms   81.00%
    Req/Sec     5.20k   300.00     5.60k    70.00%
  10520 requests in 2.10s, 8.00MB read
Requests/sec:   5009.52
Transfer/sec:      3.81MB
"""


def a_load(rate: int = 1000, p50: float = 2.0, p99: float = 9.0) -> Load:
    return Load(requests=rate * 2, seconds=2.0, bytes=rate * 2 * 900, p50_ms=p50, p99_ms=p99, errors=NO_ERRORS)


def a_sample(subject: str, number: int, rate: int, cpu: float = 1.0, resident: int = 50_000_000) -> Sample:
    return Sample(Cell(subject, 2, 16), number, a_load(rate), cpu, resident)


def test_the_numbers_are_read_from_the_last_line_that_wrk_prints() -> None:
    errors = NO_ERRORS | {"status": 7, "read": 1}
    numbers = {"requests": 10520, "microseconds": 2_100_000, "bytes": 8_388_608, "p50": 2950, "p99": 12_345}

    load = parse(WRK + json.dumps(numbers | {"errors": errors}) + "\n")

    assert Load(10520, 2.1, 8_388_608, 2.95, 12.345, errors) == load
    assert load.rate == pytest.approx(5009.52, abs=0.01)


@pytest.mark.parametrize("output", ["", WRK, WRK + "{}", WRK + "[]", WRK + '{"requests": 1'])
def test_output_without_the_numbers_is_an_error(output: str) -> None:
    with pytest.raises(LoadError):
        parse(output)


def test_the_script_escapes_what_lua_would_read_otherwise() -> None:
    lua = script(Request(1, "POST", "/identities", {"X-Odd": 'a"b\\c'}, b'{"a":\n"\xc3\xa9"}'))

    assert 'wrk.headers["X-Odd"] = "a\\034b\\092c"' in lua
    assert 'wrk.body = "{\\034a\\034:\\010\\034\\195\\169\\034}"' in lua


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda load: load, ""),
        (lambda load: {**load, "errors": NO_ERRORS | {"status": 3}}, "errors under load: 3 status"),
        (
            lambda load: {**load, "errors": NO_ERRORS | {"read": 1, "timeout": 2}},
            "errors under load: 1 read, 2 timeout",
        ),
        (lambda load: {**load, "requests": 0, "bytes": 0}, "no answer under load"),
        (lambda load: {**load, "bytes": 100}, "answers under load are shorter than the checked one of 800 bytes"),
    ],
    ids=["valid", "statuses", "sockets", "silence", "short answers"],
)
def test_a_load_counts_only_without_faults(
    spoil: Callable[[dict[str, object]], dict[str, object]], reason: str
) -> None:
    assert reason == fault_of(Load(**spoil(vars(a_load()))), 800)  # type: ignore[arg-type]


def test_a_row_has_medians_spread_and_ratios_within_the_round() -> None:
    samples = [
        a_sample("bare", 1, 2000), a_sample("mintmark", 1, 1500, cpu=1.5, resident=61_000_000),
        a_sample("bare", 2, 1000), a_sample("mintmark", 2, 900, cpu=0.9, resident=63_000_000),
        a_sample("bare", 3, 4000), a_sample("mintmark", 3, 2000, cpu=2.0, resident=62_000_000),
    ]  # fmt: skip

    bare, mintmark = table(samples)[1:]

    assert mintmark == ("mintmark", "2", "16", "1,500", "900-2,000", "2.00", "9.00", "500", "62", "0.75", "-")
    assert bare == ("bare", "2", "16", "2,000", "1,000-4,000", "2.00", "9.00", "250", "50", "1.00", "-")


def test_one_invalid_round_makes_the_row_invalid_and_is_told() -> None:
    cell = Cell("mintmark", 2, 16)
    samples = [a_sample("mintmark", 1, 1500), Sample(cell, 2, a_load(9000), fault="errors under load: 3 status")]

    assert table(samples)[1][:4] == ("mintmark", "2", "16", "invalid")
    assert "9,000" not in aligned(table(samples))
    assert faults(samples) == ["invalid: mintmark, workers 2, connections 16, round 2: errors under load: 3 status"]


def test_an_invalid_base_round_is_left_out_of_the_ratios() -> None:
    samples = [
        a_sample("bare", 1, 2000), a_sample("mintmark", 1, 1000),
        Sample(Cell("bare", 2, 16), 2, fault="no answer under load"), a_sample("mintmark", 2, 1000),
    ]  # fmt: skip

    assert table(samples)[2][-2:] == ("0.50", "-")


def test_the_table_is_aligned_for_a_terminal_and_piped_for_markdown() -> None:
    rows = [("name", "rate"), ("a", "1"), ("longer", "1,000")]

    assert aligned(rows) == "name     rate\na           1\nlonger  1,000"
    assert markdown(rows) == "| name | rate |\n| --- | ---: |\n| a | 1 |\n| longer | 1,000 |"
