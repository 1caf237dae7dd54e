import click
import pytest

from builders import NOON
from mintmark.cli.client import AdminClient
from mintmark.cli.times import milliseconds, moment, point

HOUR = 3_600_000  # milliseconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("23h", 23 * HOUR),
        ("1h30m", HOUR * 3 // 2),
        ("90s", 90_000),
        ("-5m", -300_000),
        ("2d", 48 * HOUR),
        ("250ms", 250),
        ("1d1h1m1s1ms", 25 * HOUR + 61_001),
        ("-1h30m", -HOUR * 3 // 2),
        ("1.5h", HOUR * 3 // 2),
        ("0s", 0),
        ("0.1s", 100),
        ("1m30s", 90_000),
        ("30s1m", 90_000),
    ],
)
def test_a_length_of_time(text: str, expected: int) -> None:
    assert expected == milliseconds(text)


@pytest.mark.parametrize(
    "text",
    ["", "-", "h", "1", "1.h", "1 h", " 1h", "1h ", "1hour", "h1", "1h-30m", "--1h", "+1h", "1H", "1w", "1,5h", "1hx"],
)
def test_what_is_no_length_of_time_is_named_with_examples(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no length of time such as 23h, 1h30m, 90s or -5m") as refused:
        milliseconds(text)

    assert f"'{text}'" in refused.value.message


@pytest.mark.parametrize("text", ["１h", "1e3s", "9" * 400 + "d", "inf s", "1" * 4000 + "h"])  # noqa: RUF001  a digit
def test_no_number_is_too_odd_to_be_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        milliseconds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T12:00:00Z", NOON),
        ("2026-11-23T12:00:00", NOON),
        ("2026-11-23 12:00", NOON),
        ("2026-11-23T13:00:00+01:00", NOON),
        ("2026-11-23T12:00:00.250Z", NOON + 250),
        ("2026-11-23", NOON - 12 * HOUR),
        ("1970-01-01", 0),
        ("2026-11-23T12:00:00.0000000+00:00", NOON),
    ],
)
def test_a_point_of_time_is_utc_unless_it_says_otherwise(text: str, expected: int) -> None:
    assert expected == point(text)


@pytest.mark.parametrize("text", ["", "noon", "2026-13-01", "2026-02-30", "2h", "12:00", "2026-11-23T25:00"])
def test_what_is_no_point_of_time_is_named_with_examples(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no time such as 2026-11-23 or 2026-11-23T12:00:00Z") as refused:
        point(text)

    assert f"'{text}'" in refused.value.message


class Standing(AdminClient):
    """A server whose clock stands at noon."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def require(self, method: str, path: str, body: object = None) -> dict[str, int]:
        """What it is asked for."""
        assert body is None
        self.asked.append((method, path))
        return {"now": NOON}


@pytest.mark.parametrize(
    ("text", "expected"), [("2h", NOON - 2 * HOUR), ("1h30m", NOON - HOUR * 3 // 2), ("250ms", NOON - 250)]
)
def test_a_moment_may_be_a_length_before_the_server_s_clock(text: str, expected: int) -> None:
    server = Standing()

    assert expected == moment(text, server)
    assert [("GET", "/_mintmark/clock")] == server.asked


@pytest.mark.parametrize(("text", "expected"), [(None, None), ("2026-11-23T12:00:00Z", NOON), ("1970-01-01", 0)])
def test_else_it_is_a_point_and_asks_nobody(text: str | None, expected: int | None) -> None:
    server = Standing()

    assert expected == moment(text, server)
    assert [] == server.asked


@pytest.mark.parametrize("text", ["yesterday", "2 h", "-2h", ""])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        moment(text, Standing())
