from bench.report import aligned, comparison, faults, markdown, ratios, table
from bench.results import Cell, Sample
from unit.bench_samples import a_load, a_sample


def test_a_row_has_medians_spread_and_ratios_within_the_round() -> None:
    samples = [
        a_sample("bare", 1, 2000), a_sample("mintmark", 1, 1500, cpu=1.5, memory=61_000_000),
        a_sample("bare", 2, 1000), a_sample("mintmark", 2, 900, cpu=0.9, memory=63_000_000),
        a_sample("bare", 3, 4000), a_sample("mintmark", 3, 2000, cpu=2.0, memory=62_000_000),
    ]  # fmt: skip

    bare, mintmark = table(samples)[1:]

    start = ("mintmark", "create", "2", "16", "1,500", "900-2,000", "2.00", "9.00", "500", "62")
    assert mintmark == (*start, "0.75 (0.50-0.90)", "-", "-")
    assert bare == ("bare", "create", "2", "16", "2,000", "1,000-4,000", "2.00", "9.00", "250", "50", "1.00", "-", "-")


def test_a_ratio_is_to_the_same_operation() -> None:
    samples = [
        a_sample("careful", rate=1000), a_sample("careful", rate=500, operation="issue"),
        a_sample("mintmark", rate=3000), a_sample("mintmark", rate=2000, operation="issue"),
    ]  # fmt: skip

    assert [row[-2] for row in table(samples)[1:]] == ["1.00", "1.00", "3.00", "4.00"]


def test_an_issue_is_held_against_the_create_of_the_same_subject_workers_and_connections() -> None:
    samples = [
        a_sample("mintmark", rate=2000), a_sample("mintmark", rate=1800, operation="issue"),
        a_sample("mintmark", rate=9, connections=64), a_sample("careful", rate=9),
    ]  # fmt: skip

    assert [row[-1] for row in table(samples)[1:]] == ["-", "0.90", "-", "-"]
    assert [row[-1] for row in table(samples, "issue", 16)[1:]] == ["0.90"]


def test_rows_stand_as_they_were_measured() -> None:
    samples = [a_sample("mintmark"), a_sample("bare"), a_sample("mintmark", 2), a_sample("bare", 2)]

    assert [row[0] for row in table(samples)] == ["subject", "mintmark", "bare"]


def test_one_invalid_round_makes_the_row_invalid_and_is_told() -> None:
    cell = Cell("mintmark", 2, 16)
    samples = [a_sample("mintmark", 1, 1500), Sample(cell, 2, a_load(9000), fault="errors under load: 3 status")]

    told = "invalid: mintmark, create, workers 2, connections 16, round 2: errors under load: 3 status"
    assert table(samples)[1][:5] == ("mintmark", "create", "2", "16", "invalid")
    assert "9,000" not in aligned(table(samples))
    assert faults(samples) == [told]


def test_an_invalid_round_of_either_is_left_out_of_the_ratios() -> None:
    bare, mintmark = Cell("bare", 2, 16), Cell("mintmark", 2, 16)
    samples = [
        a_sample("bare", 1, 2000), a_sample("mintmark", 1, 1000),
        Sample(bare, 2, fault="no answer under load"), a_sample("mintmark", 2, 1000),
        a_sample("bare", 3, 2000), Sample(mintmark, 3, a_load(10), fault="errors under load: 3 status"),
    ]  # fmt: skip

    assert [0.5] == ratios(mintmark, bare, samples)


def test_one_process_is_compared_with_mintmark_at_every_number_of_workers() -> None:
    samples = [
        a_sample("mintmark", rate=3000, workers=1, connections=64),
        a_sample("mintmark", rate=6000, workers=2, connections=64),
        a_sample("mintmark", rate=1, workers=2, connections=1),
        a_sample("prism", rate=1500, workers=1, connections=64),
        a_sample("careful", rate=2000, workers=1, connections=64),
        a_sample("careful", rate=1000, workers=2, connections=64),
    ]

    head, *rows = comparison(samples)

    assert ("beside", "operation", "mintmark, 1 worker", "mintmark, 2 workers") == head[:4]
    assert [
        ("prism", "create", "2.00", "4.00", "-", "-"),
        ("careful", "create", "1.50", "6.00", "-", "-"),
    ] == rows  # fmt: skip


def test_without_mintmark_nothing_is_compared() -> None:
    assert 1 == len(comparison([a_sample("bare"), a_sample("careful")]))


def test_the_table_is_aligned_for_a_terminal_and_piped_for_markdown() -> None:
    rows = [("name", "rate"), ("a", "1"), ("longer", "1,000")]

    assert aligned(rows) == "name     rate\na           1\nlonger  1,000"
    assert markdown(rows) == "| name | rate |\n| --- | ---: |\n| a | 1 |\n| longer | 1,000 |"
