"""The turn that a transcript ends in is found, whatever stands at its end, and a round's results wherever they are."""

import pytest

from bridge.runs.sessions.turn import answers_of, result_ids, split_turn
from tests.bridge.transcripts import CONTEXT, CONTINUE, QUEUED, SYSTEM, Message, answer, calls, first, result, user


def test_a_new_turn_is_the_users_last_message() -> None:
    turn = split_turn([SYSTEM, first("one"), answer("1"), user("two"), CONTEXT])
    assert (turn.index, turn.query) == (3, "two")


def test_a_turn_tried_again_is_the_same_turn() -> None:
    turn = split_turn([SYSTEM, first(f"{QUEUED}\none\n\n{CONTINUE}"), CONTEXT])
    assert (turn.index, turn.query) == (1, "one")


def test_a_round_is_answered_by_its_own_results_alone() -> None:
    told = [
        SYSTEM,
        first("one"),
        calls("a"),
        result("a", "old"),
        calls("b", "c"),
        result("b", "B"),
        result("c", "C"),
        CONTEXT,
    ]
    answers = answers_of(told, {"b", "c"})
    assert answers.results == [("b", "B"), ("c", "C")]
    assert (answers.said, answers.new_words, answers.answered) == ([], False, False)
    assert answers_of(told, {"a"}).answered
    assert result_ids(told) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "told",
    [
        [calls("a"), result("a", "A"), calls("b"), result("b", "B")],
        [result("a", "A"), result("b", "B")],
        [calls("a"), result("b", "B"), result("a", "A")],
        [result("a", "A"), calls("a", "b"), result("b", "B")],
        [calls("a", "b"), answer("wait"), result("a", "A"), answer("still"), result("b", "B")],
    ],
    ids=["a call a message", "the calls cut away", "one call cut away", "before its call", "text in between"],
)
def test_results_are_found_wherever_they_stand(told: list[Message]) -> None:
    answers = answers_of([first("one"), *told], {"a", "b"})
    assert dict(answers.results) == {"a": "A", "b": "B"}
    assert (answers.said, answers.new_words, answers.answered, answers.passed) == ([], False, False, False)


def test_a_follow_up_tried_again_says_no_more_than_before() -> None:
    answers = answers_of([SYSTEM, first("one"), calls("a"), result("a"), user(CONTINUE), CONTEXT], {"a"})
    assert answers.results == [("a", "a.txt")]
    assert (answers.said, answers.new_words) == ([], False)


def test_what_the_user_says_behind_the_call_goes_along() -> None:
    steer, more = user("and hurry"), user("please")
    told = [SYSTEM, first("one"), calls("a", "b"), result("a"), steer, result("b"), more, CONTEXT]
    answers = answers_of(told, {"a", "b"})
    assert (answers.said, answers.new_words, answers.passed) == ([steer, more], True, False)
    assert split_turn(told).query == "please"


def test_the_user_has_moved_on_behind_another_answer() -> None:
    done = [SYSTEM, first("one"), calls("a"), result("a"), answer("1")]
    assert answers_of(done, {"a"}).answered
    assert not answers_of(done, {"a"}).passed
    assert answers_of([*done, user("two"), CONTEXT], {"a"}).passed


def test_a_filler_behind_the_results_changes_nothing() -> None:
    filler = answer("I have processed the tool results.")
    answers = answers_of([SYSTEM, first("one"), calls("a"), result("a"), filler, CONTEXT], {"a"})
    assert answers.results == [("a", "a.txt")]
    assert not answers.answered


def test_a_plain_client_is_understood_too() -> None:
    parts = [
        {"type": "text", "text": "what is"},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "it?"},
    ]
    assert split_turn([{"role": "user", "content": parts}]).query == "what is\nit?"


def test_a_transcript_in_which_nobody_speaks_has_no_turn() -> None:
    assert split_turn([]).index is None
    assert split_turn([SYSTEM]).query == ""
    assert answers_of([{"role": "assistant", "tool_calls": "x"}, {"role": "tool"}], {"a"}).results == []
