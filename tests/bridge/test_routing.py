"""A call goes to who names its tool most exactly, then to who has the least to do."""

from bridge.runs.executors.registry import Candidate, first_choice, specificity


def test_the_most_exact_pattern_comes_first() -> None:
    assert specificity(["*"], "read") == 0
    assert specificity(["*", "re*"], "read") == 2
    assert specificity(["write"], "read") is None
    assert first_choice([Candidate("a", 0, 0, 1), Candidate("b", 2, 3, 4)]) == "b"


def test_then_the_least_load_relative_to_what_each_can_take() -> None:
    assert first_choice([Candidate("a", 0, 2, 4), Candidate("b", 0, 3, 8)]) == "b"


def test_who_has_no_room_gets_nothing() -> None:
    assert first_choice([Candidate("a", 5, 2, 2), Candidate("b", 0, 0, 1)]) == "b"
    assert first_choice([Candidate("a", 5, 2, 2)]) is None
