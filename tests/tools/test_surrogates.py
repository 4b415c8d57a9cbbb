"""No half of a character passes, however a text was cut, and no whole one is lost."""

from hypothesis import given
from hypothesis import strategies as st

from tools.surrogates import Halves, whole

UTF16 = st.text(st.characters(exclude_categories=[]))


@given(st.text(), st.integers(1, 5))
def test_a_text_that_is_cut_amid_its_characters_comes_out_whole(text: str, size: int) -> None:
    units = text.encode("utf-16-le")
    pieces = [units[at : at + 2 * size].decode("utf-16-le", "surrogatepass") for at in range(0, len(units), 2 * size)]
    halves = Halves()
    assert "".join(map(halves.feed, pieces)) == text


@given(st.lists(UTF16))
def test_whatever_comes_can_be_written(pieces: list[str]) -> None:
    halves = Halves()
    for piece in pieces:
        halves.feed(piece).encode()


def test_a_half_without_its_other_is_shown_as_such() -> None:
    halves = Halves()
    assert [halves.feed(piece) for piece in ("a\ud83d", "b", "\ude00c", "\ud83d", "\ude00")] == [
        "a",
        "\ufffdb",
        "\ufffdc",
        "",
        "\U0001f600",
    ]
    assert whole({"\ud83d": ["\ude00", 1, None, "\ud83d\ude00"]}) == {"\ufffd": ["\ufffd", 1, None, "\U0001f600"]}
