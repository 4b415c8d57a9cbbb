"""A long body is read in pieces, and means what it means in one."""

import json
import weakref
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.api import reading as json_pieces
from bridge.api.anthropic.messages_request import parse_messages_request
from bridge.api.openai.chat_request import ask_of, parse_chat_request
from bridge.api.openai.responses_request import parse_responses_request
from bridge.errors import InvalidRequest
from bridge.runs.sessions.sessions import auxiliary
from tools.marker import marker_for

LONG = {"long": "x" * json_pieces.SHORT}
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), ANY, max_size=5), st.sampled_from([None, 1]), st.sampled_from(["utf-8", "utf-16"]))
def test_a_long_object_is_what_it_was(body: dict[str, Any], indent: int | None, encoding: str) -> None:
    text = json.dumps(body | LONG, indent=indent, ensure_ascii=encoding == "utf-8")
    assert json_pieces.loads(text.encode(encoding, "surrogatepass")) == json.loads(text)


BROKEN = ["", "]", "{", "}}", '{"a" 1}', '{"a":}', '{"a":1,}', '{"a":[1,]}', '{"a":[1 2]}', '{"a":[}', '{"a":[1}',
          "{1:2}", '{,"a":1}', '{"a":1 "b":2}', '{"a":[,1]}', '{"a":"\\x"}', '{"a":1} x', '{"a":01}']  # fmt: skip


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_broken_is_refused_short_or_long(text: str) -> None:
    padding = " " * (json_pieces.SHORT + 1)
    for raw in (text, text + padding, padding + text):
        with pytest.raises(json.JSONDecodeError):
            json_pieces.loads(raw.encode())


NO_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1E+400", "1" * 400 + ".5"]


@pytest.mark.parametrize("number", NO_NUMBERS)
@pytest.mark.parametrize("text", ['{{"a": {}}}', '{{"a": [1, {}]}}', '{{"a": {{"b": [{}]}}}}', "[{}]", "{}"])
def test_what_no_other_reader_takes_for_a_number_is_refused_short_or_long(number: str, text: str) -> None:
    for raw in (text.format(number), text.format(number) + " " * json_pieces.SHORT):
        with pytest.raises(ValueError, match="number"):
            json_pieces.loads(raw.encode())


def test_words_in_texts_are_no_numbers() -> None:
    assert json_pieces.loads(b'{"a": "NaN", "Infinity": 1e308}') == {"a": "NaN", "Infinity": 1e308}


def long(*messages: object) -> bytes:
    return json.dumps({"messages": messages} | LONG, ensure_ascii=False).encode("utf-8", "surrogatepass")


def test_an_object_in_a_list_is_read_once_and_says_what_it_said() -> None:
    first = json_pieces.loads(long({"a": [1, "\ud800", {"b": None}]}, 7, {}))["messages"]
    again = json_pieces.loads(long({}, {"a": [1, "\ud800", {"b": None}]}))["messages"]
    assert first == [{"a": [1, "�", {"b": None}]}, 7, {}]
    assert first[0] is again[1]
    assert first[2] is again[0]


PIECES = ['{"a": 1}', '{"a":1}', '{"a": 1, "b": [{}]}', "{}", '{"a": "}, {"}', "7", '"{}"', "null", "[{}]"]
PIECES += [f'{{"a": "{"x" * 90}{end}"}}' for end in ("", "y", "}, {")]


@given(
    st.lists(st.tuples(st.lists(st.sampled_from(PIECES), max_size=9), st.sampled_from([",", ", ", " ,\n"])), max_size=5)
)
def test_a_list_that_grows_or_changes_is_read_as_it_is_now(lists: list[tuple[list[str], str]]) -> None:
    for pieces, comma in lists:
        text = f'{{"messages": [{comma.join(pieces)}], "long": "{LONG["long"]}"}}'
        assert json_pieces.loads(text.encode()) == json.loads(text)


class Compared(str):
    """A text that counts how many characters of it are compared."""

    count = 0

    def startswith(self, text: str, at: int) -> bool:  # type: ignore[override]
        Compared.count += len(text)
        return str.startswith(self, text, at)


@pytest.mark.parametrize("following", ["x" * 1_000_000, "y" * 60 + "x" * 1_000_000])
@pytest.mark.parametrize("repeated", ['{"a":1},', '{"a":1},{"b":"y"},', '{"a":1},{"b":"' + "y" * 60 + '"},'])
def test_no_more_of_a_list_is_compared_than_there_is_to_read(following: str, repeated: str) -> None:
    text = f'{{"a":1}},{{"b":"{following}"}},{{"c":1}}'
    ends = array("Q", [7, len(text) - 8, len(text)])
    items = json_pieces.Items([json_pieces.Item({})] * 3, text, ends)
    read = Compared(repeated * 1000)
    Compared.count = 0
    places = [items.alike(0, read, number * len(repeated) + 7) for number in range(1000)]
    assert set(places) == {0}
    assert Compared.count < 20 * len(read)
    assert items.alike(0, Compared(text), 7) == 2


@pytest.mark.parametrize("end", ["}", "", ", 1", "{}", '}, {"a"'])
def test_what_begins_as_before_and_ends_wrong_is_refused(end: str) -> None:
    json_pieces.loads(long({"first": end}, {"a": 1}))
    with pytest.raises(json.JSONDecodeError):
        json_pieces.loads(long({"first": end}, {"a": 1}).replace(b'{"a": 1}]', b'{"a": 1}' + end.encode()))


def test_what_was_forgotten_is_kept_by_nothing_that_stood_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_pieces, "_ITEMS", json_pieces._Remembered())
    monkeypatch.setattr(json_pieces, "_REMEMBERED", 100_000)
    read = [weakref.ref(json_pieces.loads(long({"first": 1}, {"n": n}))["messages"][1]) for n in range(300)]
    assert sum(item() is not None for item in read) < 100


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_pieces, "_REMEMBERED", 100_000)
    remembered = json_pieces._Remembered()
    for number in range(1000):
        remembered.item(f"{number}", {"n": number})
        remembered.keep(json_pieces.Items([], "x" * 1000, array("Q")))
    assert len(remembered._newer) + len(remembered._older) < 100
    assert len(remembered._lists) == 100
    assert remembered.item("999", {"n": 999}) is remembered.item("999", {"n": 999})


def test_the_last_of_two_values_counts_as_ever() -> None:
    text = '{"a": 1, "a": [], "long": "' + "x" * json_pieces.SHORT + '"}'
    assert json_pieces.loads(text.encode())["a"] == []
    assert json_pieces.loads(b"{}" + b" " * json_pieces.SHORT) == {}


PAD = "x" * json_pieces.SHORT
PARAMETERS = {"type": "object", "properties": {"a": {"type": "string"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "t", "arguments": {"a": 1}}}
CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": PAD},
        {"role": "user", "content": [{"type": "text", "text": f"x {marker_for('a' * 40)}"}]},
        {"role": "assistant", "content": None, "refusal": "no", "tool_calls": [CALL], "reasoning_content": "r"},
        {"role": "tool", "tool_call_id": "1", "content": "y"},
    ],
    "tools": [{"type": "function", "function": {"name": "t", "parameters": PARAMETERS}}, {"type": "other"}],
}
RESPONSES = {
    "model": "m",
    "input": [
        {"type": "message", "role": "user", "content": PAD},
        {"type": "function_call", "call_id": "a", "name": "t", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "x"}]},
    ],
    "tools": [{"type": "function", "name": "t", "parameters": PARAMETERS}, {"type": "custom", "name": "c"}],
}
MESSAGES = {
    "model": "m",
    "max_tokens": 5,
    "messages": [
        {"role": "user", "content": PAD},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "t", "input": {"a": {"b": 1}}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]},
    ],
    "tools": [{"name": "t", "input_schema": PARAMETERS}],
}


@pytest.mark.parametrize(
    ("parse", "body"),
    [(parse_chat_request, CHAT), (parse_responses_request, RESPONSES), (parse_messages_request, MESSAGES)],
)
def test_what_was_read_before_asks_for_the_same(parse: Callable[[Any], Any], body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    first, again = json_pieces.loads(raw), json_pieces.loads(raw)
    assert parse(json.loads(raw)) == parse(first) == parse(again)
    if parse is parse_chat_request:
        asked = [ask_of(parse(each), each, 100).messages for each in (json.loads(raw), first, again)]
        assert asked[0] == asked[1] == asked[2]
        assert asked[2][1]["content"] == [{"type": "text", "text": "x"}]
        assert asked[2][2]["content"] == "no"


def test_what_is_wrong_is_named_by_its_place_behind_what_was_read_before() -> None:
    parse_chat_request(json_pieces.loads(json.dumps(CHAT).encode()))
    body = CHAT | {"messages": [*CHAT["messages"], {"role": "tool", "content": "x"}]}
    with pytest.raises(InvalidRequest) as refused:
        parse_chat_request(json_pieces.loads(json.dumps(body).encode()))
    assert refused.value.param == "messages[4].tool_call_id"


KINDS = {"hi": None, "[OpenClaw heartbeat poll]": "heartbeat", "Pre-compaction memory flush.": "memory_flush"}


@pytest.mark.parametrize(("said", "kind"), KINDS.items())
@pytest.mark.parametrize("padding", ["", "x" * json_pieces.SHORT])
def test_a_long_request_of_openclaw_is_the_kind_of_call_that_a_short_one_is(
    said: str, kind: str | None, padding: str
) -> None:
    prompt = f"You are a personal assistant running inside OpenClaw.\n{padding}"
    asked = [{"role": "system", "content": prompt}, {"role": "user", "content": said}]
    raw = json.dumps({"model": "m", "messages": asked, "user": "u"}).encode()
    for _ in range(2):
        body = json_pieces.loads(raw)
        messages = parse_chat_request(body).messages
        assert auxiliary({}, body | {"messages": messages}) == kind
