"""What reaches a terminal or a log is shown, and not obeyed."""

import json
import logging
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from tools.logs import Readable, _Json
from tools.visible import visible, visible_json

HOSTILE = "\x1b[2J\x9b1m\u202eevil\u2066\r\nforged \u2028\x7f"
ANY = st.text(st.characters(codec=None))


def hidden(text: str, allowed: str = "") -> list[str]:
    """Return what a terminal would obey: controls, and what turns the order of a line."""
    turning = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    return [
        each
        for each in text
        if each not in allowed
        and (unicodedata.category(each) in {"Cc", "Cs", "Zl", "Zp"} or unicodedata.bidirectional(each) in turning)
    ]


@given(ANY)
def test_nothing_hidden_is_left(text: str) -> None:
    assert not hidden(visible(text))
    assert not hidden(visible(text, lines=True), "\n\t")
    assert visible(visible(text)) == visible(text)


@given(st.dictionaries(ANY, ANY), st.sampled_from([None, 2]))
def test_json_says_what_it_said(value: dict[str, str], indent: int | None) -> None:
    shown = visible_json(json.dumps(value, ensure_ascii=False, indent=indent))
    assert json.loads(shown) == value
    assert not hidden(shown, "\n")


def test_what_people_write_stays_as_it_is() -> None:
    for text in ("日本語", "العربية", "é", "👨\u200d👩\u200d👧", "می\u200cخواهم", "☃\ufe0f"):
        assert visible(text) == text
    assert visible("a\x1bb\u202e") == r"a\x1bb\u202e"


def record(message: str, **extras: object) -> logging.LogRecord:
    made = logging.LogRecord("clawback", logging.INFO, "", 0, message, None, None)
    vars(made).update(extras)
    return made


def test_a_line_of_the_log_stays_one_line_in_both_forms() -> None:
    line = record(HOSTILE, tools=[HOSTILE], error=HOSTILE)
    for form in (Readable("%(message)s"), _Json()):
        assert not hidden(form.format(line))
    assert json.loads(_Json().format(line))["error"] == HOSTILE


def test_a_traceback_keeps_its_lines_in_the_log() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        line = record("failed", exc_info=(type(error), error, error.__traceback__))
    shown = Readable("%(message)s").format(line)
    assert shown.count("\n") > 2
    assert not hidden(shown, "\n")
    assert not hidden(_Json().format(line))
