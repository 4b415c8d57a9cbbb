"""A model's reasoning and its answer are told apart, however the stream is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.think_tags import ThinkTags


def told(*pieces: str) -> tuple[str, str]:
    tags = ThinkTags()
    shown = [*map(tags.feed, pieces), tags.close()]
    return "".join(reasoning for reasoning, _ in shown), "".join(text for _, text in shown)


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>\nhm\n</think>\n\nYes.", "hm", "Yes."),
        ("\n[THINK]a\n\nb[/THINK] c", "a\n\nb", " c"),
        ("<thought>a</thought>\n<think>b</think>c", "ab", "c"),
        ("<Think>a</THINK>\nb", "a", "b"),
        ("<think>İ</thinİ</think>a", "İ</thinİ", "a"),
        ("<think>\n\n</thi", "</thi", ""),
        ("   plain <think>", "", "   plain <think>"),
        ("\n <thin", "", "\n <thin"),
    ],
)
def test_reasoning_before_the_answer_is_apart(text: str, reasoning: str, answer: str) -> None:
    assert told(text) == told(*text) == (reasoning, answer)


@given(
    st.lists(
        st.sampled_from(["<think>", "</think>", "[THINK]", "[/THINK]", "</Think>", "<", "</", "thi", "\n", " ", "a"])
    )
)
def test_the_cut_makes_no_difference(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert told(*pieces) == told(*text) == told(text)


def test_an_answer_may_hold_any_number_of_blocks() -> None:
    tags = ThinkTags()
    (_, first), (_, last) = tags.feed("<think>a</think>\n" * 20_000 + "Yes."), tags.close()
    assert first + last == "Yes."
