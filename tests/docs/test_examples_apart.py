"""The same for pages whose examples change the server for others: each has one of its own."""

from pathlib import Path

import pytest

from docs.examples import APART, follow
from docs.markdown import ROOT
from running import running_server


@pytest.mark.long
@pytest.mark.parametrize("page", APART, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_of_a_page_do_what_it_says(page: Path, tmp_path: Path) -> None:
    with running_server("--ephemeral", "--workers", "2") as server:
        follow(page, tmp_path, server.environ)
