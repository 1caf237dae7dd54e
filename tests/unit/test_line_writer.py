"""Lines written by a thread: in whole pieces, in order, and never waited for but for a moment in the end."""

import asyncio
import os
import select
import threading
import time
from collections.abc import Iterator

import pytest

from mintmark.line_writer import BACKLOG, LAST_WORDS, LineWriter, WriterThread, pieces

ROOM = select.PIPE_BUF
ENOUGH = LAST_WORDS * 10  # seconds, for what takes LAST_WORDS at most


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Its ends: to read, to write."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def left_out(count: int) -> str:
    return f"{count} left out"


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([10, 20], [30], id="together"),
        pytest.param([ROOM - 10, 10], [ROOM], id="just fitting"),
        pytest.param([ROOM - 10, 11], [ROOM - 10, 11], id="a byte too much"),
        pytest.param([10, ROOM + 5, 7], [10, ROOM + 5, 7], id="a longer one alone"),
        pytest.param([100] * 100, [4000, 4000, 2000] if ROOM == 4096 else [500] * 20, id="many"),
    ],
)
def test_pieces_are_whole_lines_that_a_pipe_takes_at_once(lengths: list[int], expected: list[int]) -> None:
    text = b"".join(b"x" * (length - 1) + b"\n" for length in lengths)
    found = list(pieces(text))

    assert expected == [len(piece) for piece in found]
    assert text == b"".join(found)


def test_text_without_an_end_of_its_last_line_is_written_too() -> None:
    assert [b"one\n", b"x" * ROOM] == list(pieces(b"one\n" + b"x" * ROOM))


def test_all_is_written_in_order_before_it_ends(pipe: tuple[int, int]) -> None:
    thread = WriterThread(pipe[1], left_out)
    thread.write(["one", "two"])
    thread.write(["three \udcff"])
    thread.close()

    assert b"one\ntwo\nthree \\udcff\n" == os.read(pipe[0], 100)


@pytest.mark.parametrize("blocking", [True, False])
def test_nobody_who_does_not_read_is_waited_for_and_it_is_said_what_is_missing(
    pipe: tuple[int, int], *, blocking: bool
) -> None:
    os.set_blocking(pipe[1], blocking)
    thread, begin, line = WriterThread(pipe[1], left_out), time.monotonic(), "x" * (ROOM - 1)
    for _ in range(2 * BACKLOG):
        thread.write([line])
    thread.drain()
    assert time.monotonic() - begin < ENOUGH

    text = bytearray()

    def read() -> None:
        while not text.endswith(b"last\n"):
            text.extend(os.read(pipe[0], 65536))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    thread.drain()
    thread.write(["last"])
    thread.close()
    reader.join(ENOUGH)

    lines = text.decode().splitlines()
    missing = 2 * BACKLOG - lines.count(line)
    assert missing > 0
    assert missing == sum(int(each.removesuffix(" left out")) for each in lines if each not in (line, "last"))


def test_lines_of_a_turn_that_is_not_over_are_written_at_the_close(pipe: tuple[int, int]) -> None:
    async def log() -> None:
        lines = LineWriter(pipe[1], left_out)
        lines.write("one")
        lines.write("two")
        lines.close()

    asyncio.run(log())

    assert b"one\ntwo\n" == os.read(pipe[0], 100)


def test_a_reader_that_is_gone_is_no_failure() -> None:
    read, write = os.pipe()
    os.close(read)
    thread = WriterThread(write, left_out)
    thread.write(["one"])
    thread.close()
    os.close(write)
