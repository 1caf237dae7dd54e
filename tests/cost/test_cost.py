import pytest

from bench.cost import Cost, CostError, complaints, measure, recorded


@pytest.mark.long
def test_no_operation_costs_more_than_was_recorded() -> None:
    told = complaints(recorded(), measure())

    assert not told, "\n".join(told)


def test_a_cost_within_a_tenth_is_as_recorded() -> None:
    assert [] == complaints(
        {"create": Cost(1, 1.0), "get": Cost(1, 0.5)}, {"create": Cost(9, 1.09), "get": Cost(9, 0.46)}
    )


def test_a_dearer_operation_is_told_with_what_to_do() -> None:
    [told] = complaints({"create": Cost(1, 1.25), "get": Cost(1, 0.5)}, {"create": Cost(9, 1.40), "get": Cost(9, 0.5)})

    assert told == (
        "create was recorded at 1.25 times the instructions of bare's Create and measured at 1.40: 12% more. "
        "Find out why; where the cost is meant, `python -m bench.cost --write` records anew."
    )


def test_a_gain_is_to_be_recorded_too() -> None:
    [told] = complaints({"issue": Cost(1, 1.0)}, {"issue": Cost(9, 0.8)})

    assert told == (
        "issue was recorded at 1.00 times the instructions of bare's Create and measured at 0.80: 20% less. "
        "Well done; `python -m bench.cost --write` records anew, so that the gain is kept."
    )


def test_another_operation_is_to_be_recorded() -> None:
    [told] = complaints({"create": Cost(1, 1.0)}, {"create": Cost(1, 1.0), "get": Cost(1, 0.5)})

    assert told == "Recorded: create; measured: create, get. `python -m bench.cost --write` records anew."


def test_a_missing_valgrind_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(CostError, match="apt-get install valgrind"):
        measure()
