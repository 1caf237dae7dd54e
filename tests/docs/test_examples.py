"""Every example in README and docs is run, and does what the page says."""

from pathlib import Path

import pytest

from docs.examples import BLOCKS, SHARING, follow, is_left_alone, matches
from docs.markdown import ROOT, Block
from running import RunningServer

LEAST_REASON = 10  # characters


LONG = {"use-in-tests.md", "sign-in-without-keys.md", "connect-an-sdk.md", "back-up.md"}


def takes_long(page: Path) -> bool:
    return page.name in LONG or "mintmark serve --" in page.read_text()


PAGES = [
    pytest.param(page, id=str(page.relative_to(ROOT)), marks=[pytest.mark.long] if takes_long(page) else [])
    for page in SHARING
]


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_do_what_it_says(page: Path, server: RunningServer, tmp_path: Path) -> None:
    follow(page, tmp_path, server.environ)


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if is_left_alone(block)], ids=lambda block: f"{block.place} {block.note}"
)
def test_an_example_that_is_not_run_says_why(block: Block) -> None:
    assert len(block.noted("not run")) >= LEAST_REASON


def test_most_examples_are_run() -> None:
    left_alone = sum(is_left_alone(block) for block in BLOCKS)

    assert left_alone < len(BLOCKS) / 2


@pytest.mark.parametrize(
    ("expected", "printed", "fits"),
    [
        ("ready  …\n", "ready  http://localhost:1\n", True),
        ("a ... c", "a b\nb c", True),
        ("a", "a \n", True),
        ("a", "b", False),
        ("a.c", "abc", False),
        ("", "anything", False),
    ],
)
def test_what_a_page_shows_is_compared_with_what_comes(expected: str, printed: str, fits: bool) -> None:  # noqa: FBT001
    assert matches(expected, printed) is fits
