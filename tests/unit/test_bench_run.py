from pathlib import Path

import pytest

from bench import page, results, run
from bench.results import Cell, Run, Sample
from bench.subjects import SUBJECTS
from unit.bench_samples import a_sample


def a_run(*samples: Sample) -> Run:
    return Run("2026-11-23", ["2 cores", "ext4"], 2, list(samples))


def test_a_kept_run_is_read_as_it_was(tmp_path: Path) -> None:
    kept = a_run(a_sample("mintmark"), Sample(Cell("prism", 1, 16), 1, fault="no answer under load"))

    results.save(kept, tmp_path / "new" / "run.json")

    assert kept == results.read(tmp_path / "new" / "run.json")


def test_a_kept_run_is_shown_without_measuring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.json"
    results.save(a_run(a_sample("bare", rate=2000), a_sample("mintmark", rate=1500)), path)

    status = run.main(["--from", str(path)])

    out = capsys.readouterr().out
    assert 0 == status
    assert "1,500-1,500" in out
    assert "200 answers were verified" in out


def test_an_invalid_measurement_shows_in_the_exit_status(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    results.save(a_run(Sample(Cell("prism", 1, 16), 1, fault="no answer under load")), path)

    assert 1 == run.main(["--from", str(path)])


@pytest.mark.parametrize("content", [None, "{}", "not json"])
def test_a_file_that_keeps_no_run_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content)

    assert 2 == run.main(["--from", str(path)])


def test_every_subject_can_create_and_has_a_name_of_its_own() -> None:
    assert len(SUBJECTS) == len({subject.name for subject in SUBJECTS})
    assert all("create" in subject.operations for subject in SUBJECTS)


def test_a_whole_plan_starts_one_process_once_and_others_with_each_number_of_workers() -> None:
    plan = run.plan_of(run.parse([]))

    one, two = ([(subject.name, workers) for subject, workers in together] for together in plan.starts())
    assert ("mintmark", 1) in one
    assert ("mintmark", 2) in two
    assert ("firebase", 1) in one
    assert "firebase" not in dict(two)


def test_a_subject_is_asked_only_what_it_can_do() -> None:
    plan = run.plan_of(run.parse(["--subjects", "bare,careful", "--connections", "16", "--workers", "2"]))

    [together] = plan.starts()
    asked = [(cell.subject, cell.operation) for start in together for cell in plan.cells(*start, 16)]
    assert [("bare", "create"), ("careful", "create"), ("careful", "issue")] == asked


def test_what_is_given_beside_quick_holds() -> None:
    plan = run.plan_of(run.parse(["--quick", "--rounds", "1"]))

    assert ["mintmark", "mintmark-rs256", "bare", "careful"] == [subject.name for subject in plan.subjects]
    assert 1 == plan.rounds


def test_a_quick_run_takes_less_than_three_minutes() -> None:
    assert run.plan_of(run.parse(["--quick"])).estimate() < 180


def test_the_page_is_written_between_its_markers(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"before\n\n{page.BEGIN}\nold\n{page.END}\n\nafter\n")
    samples = [a_sample("bare", rate=2000), a_sample("mintmark", rate=1500), a_sample("mintmark", operation="issue")]

    page.write(a_run(*samples), path)
    once = path.read_text()
    page.write(a_run(*samples), path)

    assert once == path.read_text()
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "old" not in once
    assert "| mintmark | 2 | 1,500 |" in once
    assert once.index("### Create") < once.index("### Issue")
    assert "tokens/s" in once[once.index("### Issue") :]


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("by hand\n")

    with pytest.raises(ValueError, match="marker"):
        page.write(a_run(a_sample("mintmark")), path)
    assert "by hand\n" == path.read_text()


def test_a_part_of_what_the_page_shows_does_not_write_it(capsys: pytest.CaptureFixture[str]) -> None:
    before = page.PAGE.read_bytes()

    run.write(a_run(*(a_sample(subject.name, connections=64) for subject in SUBJECTS)))

    assert before == page.PAGE.read_bytes()
    assert "not measured: issue, workers 1, connections 1, connections 16\n" in capsys.readouterr().err


def test_a_subject_that_was_not_measured_is_named() -> None:
    cells = [(workers, connections) for workers in run.WORKERS for connections in run.CONNECTIONS]
    whole = [
        a_sample(subject.name, workers=workers, connections=connections, operation=operation)
        for subject in SUBJECTS
        for workers, connections in cells
        for operation in run.OPERATIONS
    ]

    assert [] == run.unmeasured(a_run(*whole))
    assert ["bare"] == run.unmeasured(a_run(*(sample for sample in whole if sample.cell.subject != "bare")))


def test_a_column_without_a_figure_is_left_out_even_beside_an_invalid_row() -> None:
    samples = [a_sample("mintmark"), Sample(Cell("careful", 2, 16), 1, fault="no answer under load")]

    measured = page.measured(a_run(*samples))

    head = next(line for line in measured.splitlines() if line.startswith("| subject"))
    assert "of careful" not in head
    assert "of its create" not in head
    assert "| careful | 2 | invalid |" in measured
