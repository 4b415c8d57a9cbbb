"""Nothing of a withheld text is told, and nothing else is lost."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bridge.runs.answers.guards import Withheld

FORM = '\n[exec]\n{"command": "ls"}\n[END_TOOL_REQUEST]'


def told(*pieces: str, texts: tuple[str, ...] = (FORM,)) -> str:
    withheld = Withheld()
    for text in texts:
        withheld.add(text)
    return "".join(withheld.feed(piece) for piece in pieces) + withheld.close()


@given(st.lists(st.integers(0, 200), max_size=8))
def test_a_text_is_taken_out_wherever_it_is_cut(cuts: list[int]) -> None:
    text = f"I look.{FORM}\nChecked: {FORM}."
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges)]
    assert told(*pieces) == "I look.\nChecked: ."


@given(st.lists(st.text("\n[exec] {}"), max_size=6))
def test_any_other_text_comes_out_as_it_is(pieces: list[str]) -> None:
    assert told(*pieces) == "".join(pieces)


def test_what_cannot_become_the_text_is_not_delayed() -> None:
    withheld = Withheld()
    withheld.add(FORM)
    assert withheld.feed("I look.") == "I look."
    assert withheld.feed("\n[exe") == ""
    assert withheld.feed("cute]") == "\n[execute]"


def test_without_such_texts_everything_passes() -> None:
    assert told("\n[exec]", texts=()) == "\n[exec]"
