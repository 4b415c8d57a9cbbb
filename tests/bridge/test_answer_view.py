"""A client sees an answer and its reasoning apart, however the tags are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.runs import services
from bridge.runs.answers.view import AnswerView
from bridge.runs.segments import Reasoning, Text


def shown(view: AnswerView, *pieces: tuple[str, str]) -> tuple[str, str]:
    events = [event for text, node in pieces for event in view.feed(text, node)] + view.close()
    reasoning = "".join(event.text for event in events if isinstance(event, Reasoning))
    return reasoning, "".join(event.text for event in events if isinstance(event, Text))


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>\nhm\n</think>\n\nYes.", "hm", "Yes."),
        ("\n<thinking>a < b</thinking>c", "a < b", "c"),
        ("<think></think>", "", ""),
        ("<think>cut off", "cut off", ""),
        ("The tag <think> opens.</think>", "", "The tag <think> opens.</think>"),
        ("<thin ice", "", "<thin ice"),
        ("  plain", "", "  plain"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_reasoning_before_the_answer_is_apart(text: str, reasoning: str, answer: str, size: int) -> None:
    pieces = [(text[at : at + size], "llm") for at in range(0, len(text), size)]
    assert shown(AnswerView(), *pieces) == (reasoning, answer)


def test_each_nodes_reasoning_is_apart() -> None:
    pieces = [
        ("First: ", "answer"),
        ("<think>\na\n</think>\n\none", "x"),
        (" then ", "answer"),
        ("<think>b</think>two", "y"),
    ]
    assert shown(AnswerView(), *pieces) == ("ab", "First: one then two")


def test_tags_stay_where_the_configuration_wants_them() -> None:
    assert shown(AnswerView(reasoning_apart=False), ("<think>a</think>b", "")) == ("", "<think>a</think>b")


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "think", ">", "\n", " ", "a", "/"])))
def test_the_cut_makes_no_difference(pieces: list[str]) -> None:
    text = "".join(pieces)
    cuts = ([text], pieces, list(text))
    assert len({shown(AnswerView(guarded="nothing"), *((piece, "") for piece in cut)) for cut in cuts}) == 1


def test_others_go_on_while_a_long_piece_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    monkeypatch.setattr(services, "_LONG", 0.0)
    monkeypatch.setattr(services.time, "sleep", paused.append)
    told = shown(AnswerView(), ("<|" * 10_000, "llm"))
    assert len(paused) > 10
    assert told == shown(AnswerView(), *((character, "llm") for character in "<|" * 10_000))
