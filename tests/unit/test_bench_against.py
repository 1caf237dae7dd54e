import subprocess
from pathlib import Path
from subprocess import PIPE

import pytest

from bench import against
from bench.against import Pair, table
from bench.environment import CHECKOUT
from bench.server import Place
from unit.bench_samples import a_load


def a_pair(here: int, there: int, operation: str = "create") -> Pair:
    return Pair(operation, 16, a_load(here), a_load(there), 0.0002, 0.0003)


def test_a_row_has_the_median_ratio_within_the_rounds_and_where_half_of_them_lie() -> None:
    measured = [a_pair(1000, 1000), a_pair(2200, 2000), a_pair(3600, 3000), a_pair(500, 400, "get")]

    head, create, get = table(measured)

    assert len(head) == len(create)
    assert ("create", "16", "2,200", "2,000", "1.10", "1.05-1.15", "200", "300") == create
    assert ("get", "16", "500", "400", "1.25", "1.25-1.25", "200", "300") == get


def test_the_other_server_runs_the_code_of_the_other_checkout(tmp_path: Path) -> None:
    (tmp_path / "src" / "mintmark").mkdir(parents=True)
    (tmp_path / "src" / "mintmark" / "__init__.py").write_text("print('the other one')")

    command = against.start(tmp_path, Place(tmp_path, 1, 2))

    python = [command.arguments[0], "-c", "import mintmark"]
    assert (
        "the other one\n" == subprocess.run(python, env=command.environment, check=True, stdout=PIPE, text=True).stdout
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["{}"], "no checkout of Mintmark"), ([str(CHECKOUT), "--operations", "create,fly"], "unknown: fly")],
)
def test_what_cannot_be_compared_is_refused(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == against.main([argument.format(tmp_path) for argument in arguments])
    assert reason in capsys.readouterr().err
