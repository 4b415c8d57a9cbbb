"""The turn that a transcript ends in is found, whatever stands at its end."""

from bridge.runs.sessions.turn import split_turn
from tests.bridge.transcripts import CONTEXT, CONTINUE, QUEUED, SYSTEM, answer, calls, first, result, user


def test_a_new_turn_is_the_users_last_message() -> None:
    turn = split_turn([SYSTEM, first("one"), answer("1"), user("two"), CONTEXT])
    assert (turn.index, turn.query, turn.is_follow_up) == (3, "two", False)
    assert turn.results == []
    assert turn.after_results == []


def test_a_turn_tried_again_is_the_same_turn() -> None:
    turn = split_turn([SYSTEM, first(f"{QUEUED}\none\n\n{CONTINUE}"), CONTEXT])
    assert (turn.index, turn.query, turn.is_follow_up) == (1, "one", False)


def test_a_follow_up_brings_the_results_behind_the_last_calls() -> None:
    turn = split_turn(
        [
            SYSTEM,
            first("one"),
            calls("a"),
            result("a", "old"),
            calls("b", "c"),
            result("b", "B"),
            result("c", "C"),
            CONTEXT,
        ]
    )
    assert turn.is_follow_up
    assert turn.results == [("b", "B"), ("c", "C")]
    assert (turn.index, turn.query, turn.after_results) == (1, "one", [])


def test_a_follow_up_tried_again_says_no_more_than_before() -> None:
    turn = split_turn([SYSTEM, first("one"), calls("a"), result("a"), user(CONTINUE), CONTEXT])
    assert turn.is_follow_up
    assert turn.results == [("a", "a.txt")]
    assert (turn.query, turn.after_results) == ("one", [])


def test_what_the_user_says_behind_the_results_goes_along() -> None:
    steer = user("and hurry")
    turn = split_turn([SYSTEM, first("one"), calls("a"), result("a"), steer, CONTEXT])
    assert turn.is_follow_up
    assert turn.after_results == [steer]
    assert (turn.index, turn.query) == (4, "and hurry")


def test_results_may_be_parts_and_may_be_incomplete() -> None:
    parts = [{"type": "text", "text": "A"}]
    turn = split_turn([first("one"), calls("a", "b"), result("a", parts)])
    assert turn.is_follow_up
    assert turn.results == [("a", parts)]


def test_an_answered_round_is_no_follow_up() -> None:
    done = [SYSTEM, first("one"), calls("a"), result("a"), answer("1")]
    assert not split_turn(done).is_follow_up
    turn = split_turn([*done, user("two"), CONTEXT])
    assert not turn.is_follow_up
    assert (turn.query, turn.results) == ("two", [])


def test_calls_without_results_are_no_follow_up() -> None:
    turn = split_turn([SYSTEM, first("one"), calls("a"), user("never mind"), CONTEXT])
    assert not turn.is_follow_up
    assert (turn.query, turn.after_results) == ("never mind", [])


def test_results_of_other_calls_are_no_follow_up() -> None:
    assert not split_turn([first("one"), calls("a"), result("z")]).is_follow_up
    assert not split_turn([first("one"), answer("1"), result("a")]).is_follow_up


def test_a_filler_behind_the_results_changes_nothing() -> None:
    filler = answer("I have processed the tool results.")
    turn = split_turn([SYSTEM, first("one"), calls("a"), result("a"), filler, CONTEXT])
    assert turn.is_follow_up
    assert turn.results == [("a", "a.txt")]


def test_a_plain_client_is_understood_too() -> None:
    turn = split_turn([{"role": "user", "content": "on"}, calls("a"), result("a", "ok")])
    assert turn.is_follow_up
    assert (turn.index, turn.query) == (0, "on")
    parts = [
        {"type": "text", "text": "what is"},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "it?"},
    ]
    assert split_turn([{"role": "user", "content": parts}]).query == "what is\nit?"


def test_a_transcript_in_which_nobody_speaks_has_no_turn() -> None:
    assert split_turn([]).index is None
    assert split_turn([SYSTEM]).query == ""
    assert split_turn([{"role": "assistant", "tool_calls": "x"}, {"role": "tool"}]).is_follow_up is False
