"""Data is told byte for byte, as it comes, and its end only when all of it is harmless."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.runs.answers.guards import DataGuard
from tests.guarded_texts.texts import Texts

PLAIN = '{"a": [1, 2], "b": "some words"}\n'


def told(*pieces: str) -> list[str]:
    guard = DataGuard("all")
    return [*map(guard.feed, pieces), guard.close()]


def test_data_is_told_as_it_comes_but_for_its_last_character() -> None:
    *shown, rest = told(PLAIN[:10], PLAIN[10:])
    assert shown[0] == '{"a": [1'
    assert "".join(shown) == PLAIN.rstrip()[:-1]
    assert rest == "}\n"


def test_what_a_guard_would_change_is_held_back_until_all_is_there() -> None:
    *shown, rest = told('{"a": "', "<tool_call>", 'x</tool_call>", "b": 1', "}")
    assert "".join(shown).startswith('{"a": ')
    assert "<tool_call>" not in "".join(shown)
    assert rest.endswith('<tool_call>x</tool_call>", "b": 1}')


@given(st.integers(0, 10**9), st.integers(1, 9))
def test_no_byte_is_changed(seed: int, size: int) -> None:
    text = Texts(seed).text()[:2000]
    assert "".join(told(*(text[at : at + size] for at in range(0, len(text), size)))) == text


@given(st.integers(0, 10**9), st.integers(1, 9))
def test_what_is_refused_was_not_told_to_its_end(seed: int, size: int) -> None:
    text = Texts(seed).text()[:2000]
    guard = DataGuard("all")
    shown = "".join(guard.feed(text[at : at + size]) for at in range(0, len(text), size))
    if guard.refusal:
        assert shown != text


@pytest.mark.parametrize(("text", "refused"), [("MEDIA:/a", False), ('"NO_REPLY"', False), ("[a]\n{}\n[/a]", True)])
def test_where_orders_are_allowed_only_calls_are_refused(text: str, refused: bool) -> None:
    guard = DataGuard("calls")
    guard.feed(text)
    assert bool(guard.refusal) == refused
