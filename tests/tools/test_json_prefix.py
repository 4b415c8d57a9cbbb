"""What is passed on of arguments that are still being written is the beginning of sound ones."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.json_prefix import JsonObjectPrefix

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=5)


def read(text: str) -> JsonObjectPrefix:
    prefix = JsonObjectPrefix()
    prefix.feed(text)
    return prefix


@given(OBJECTS, st.booleans(), st.sampled_from([None, 0, 2]))
def test_a_whole_object_is_passed_on_whole(value: dict[str, object], ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert read(text).length == len(text)
    assert read(f" {text}\n ").length == len(text) + 1


@given(OBJECTS, st.data())
def test_a_beginning_is_passed_on_up_to_a_word_that_may_go_on(value: dict[str, object], data: st.DataObject) -> None:
    text = json.dumps(value)
    cut = data.draw(st.integers(0, len(text)))
    prefix = read(text[:cut])
    assert prefix.sound
    assert prefix.length <= cut
    assert text[: prefix.length].rstrip()[-1:] not in {",", ":"}, "what obliges to another value"
    assert not value or cut < len(text) or prefix.length == cut


@given(st.text(alphabet='{}[]",:\\u0123456789.eE+-tfnrulsa \n', max_size=30))
def test_what_is_sound_to_its_end_is_json_and_what_is_json_is_sound(text: str) -> None:
    prefix = read(text)
    try:
        is_object = isinstance(json.loads(text), dict)
    except ValueError:
        is_object = False
    done = prefix.sound and prefix._expects == "nothing"
    assert done == is_object


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": "say "hi" there"}', '{"a": "say '),
        ('{"a": "one\ntwo"}', '{"a": "one'),
        ("{'a': 1}", ""),
        ('{"a": 1,}', '{"a": 1'),
        ('{"a": 01}', ""),
        ('{"a": tru', ""),
        ('{"a": NaN}', ""),
        ('{"a": "x", "b": [NaN]}', '{"a": "x"'),
        ('{"a": 1} and so on', '{"a": 1}'),
        ('["a"]', ""),
        ("I will", ""),
    ],
)
def test_what_cannot_become_an_object_is_not_passed_on(text: str, told: str) -> None:
    assert text[: read(text).length].strip() == told.strip()
