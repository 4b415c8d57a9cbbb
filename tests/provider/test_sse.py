import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.upstream.sse import EventDecoder

STREAM = (
    '\ufeff: hello\r\ndata: {"a":"é漢😀"}\r\n\r\nevent: x\nid: 1\ndata: one\ndata:two\n\n\rdata: three\r\rdata: [DONE]'
)
EVENTS = ['{"a":"é漢😀"}', "one\ntwo", "three", "[DONE]"]


@given(st.lists(st.integers(0, len(STREAM.encode())), max_size=8))
def test_events_do_not_depend_on_how_the_bytes_are_cut(cuts: list[int]) -> None:
    data = STREAM.encode()
    edges = [0, *sorted(cuts), len(data)]
    decoder = EventDecoder()
    events = [event for a, b in itertools.pairwise(edges) for event in decoder.feed(data[a:b])]
    assert events + decoder.close() == EVENTS


def test_an_event_comes_as_soon_as_it_is_whole() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: x\n") == []
    assert decoder.feed(b"\n") == ["x"]
    assert decoder.close() == []


def test_an_error_in_a_field_of_its_own_is_an_error() -> None:
    decoder = EventDecoder()
    [told, done] = decoder.feed(b'error: {"code":400,"message":"too long"}\n\ndata: [DONE]\n\n')
    assert json.loads(told) == {"error": {"code": 400, "message": "too long"}}
    assert done == "[DONE]"


@pytest.mark.parametrize(
    "stream",
    [
        'data: data: {"a": 1}\n\ndata: data: {"b": 2}\n\ndata: [DONE]\n',
        'data: {"a": 1}\ndata: {"b": 2}\ndata: [DONE]\n',
        '{"a": 1}\n{"b": 2}\ndata: [DONE]',
        'data: {"a": 1}\r\ndata: {"b":\r\ndata: 2}\r\n\r\ndata: [DONE]',
    ],
)
def test_servers_that_leave_out_the_empty_line_or_the_field_s_name(stream: str) -> None:
    decoder = EventDecoder()
    events = [event for byte in stream.encode() for event in decoder.feed(bytes([byte]))] + decoder.close()
    assert [event if event == "[DONE]" else json.loads(event) for event in events] == [{"a": 1}, {"b": 2}, "[DONE]"]


def test_an_event_without_an_end_is_told_by_how_it_began() -> None:
    decoder = EventDecoder()
    told = [event for _ in range(40) for event in decoder.feed(b"data: " + b"x" * 1024 * 1024)] + decoder.close()
    assert [event[:7] for event in told] == ["data: x"]
    assert len(told[0]) <= 512
