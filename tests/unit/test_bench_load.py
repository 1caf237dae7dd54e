import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.load import Load, LoadError, Pair, Rotation, parse, read_answers, script
from bench.measure import fault_of
from bench.scripts import record_answers
from bench.server import Answer, Request
from unit.bench_samples import NO_ERRORS, a_load

WRK = """Running 2s test @ http://127.0.0.1:40123
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.10ms    1.20ms  20.11ms   81.00%
    Req/Sec     5.20k   300.00     5.60k    70.00%
  10520 requests in 2.10s, 8.00MB read
Requests/sec:   5009.52
Transfer/sec:      3.81MB
"""


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


def test_what_measures_one_request_runs_no_lua_under_load() -> None:
    lua = script(Request(1, "POST", "/identities", {}, b"{}"))

    assert "function request" not in lua
    assert "function response" not in lua


def test_requests_in_turn_are_all_in_the_script() -> None:
    lua = script(Rotation(1, "POST", "/first", {}, b"{}", others=[Request(1, "POST", "/second", {"A": "b"}, b"{}")]))

    assert '["path"] = "/first"' in lua
    assert '["path"] = "/second", ["body"] = "{}", ["headers"] = {["A"] = "b"}' in lua


def test_the_second_of_a_pair_is_in_the_script_with_its_placeholders() -> None:
    lua = script(Pair(1, "POST", "/reg", {}, b"{}", then=Request(1, "POST", "/token", {}, b"client_id={client_id}")))

    assert 'wrk.path = "/reg"' in lua
    assert '["path"] = "/token", ["body"] = "client_id={client_id}"' in lua


def test_the_script_that_records_names_the_file() -> None:
    assert 'local NAME = "/tmp/answers"' in record_answers(Path("/tmp/answers"))


def test_recorded_answers_are_read_whatever_is_in_them() -> None:
    written = b"201 4\n{\n1}200 0\n500 7\n201 1\nx"

    assert [(201, b"{\n1}"), (200, b""), (500, b"201 1\nx")] == [
        (answer.status, answer.body) for answer in read_answers(written)
    ]


def test_nothing_recorded_is_no_answer() -> None:
    none: list[Answer] = []

    assert none == read_answers(b"")


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
