"""A byte stream becomes events, wherever it is cut."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from tools.sse import MAX_EVENT_BYTES, Decoder, Oversized, ServerSentEvent

STREAM = (
    b"\xef\xbb\xbf: hello\n\nevent: ping\n\n"
    b'data: {"answer": "Gr\xc3\xbc\xc3\x9fe \xe2\x80\xa8 one line"}\r\n\r\n'
    b"event: note\rdata: first\rdata:second\rid: 7\r\r"
    b"retry: 10\n\ndata\n\ndata: [DONE]\n\n"
)
EVENTS = [
    ServerSentEvent("ping", ""),
    ServerSentEvent("", '{"answer": "Grüße \u2028 one line"}'),
    ServerSentEvent("note", "first\nsecond"),
    ServerSentEvent("", ""),
    ServerSentEvent("", "[DONE]"),
]


def decode(pieces: list[bytes], max_event_bytes: int = MAX_EVENT_BYTES) -> list[ServerSentEvent | Oversized]:
    decoder = Decoder(max_event_bytes)
    decoded = [event for piece in pieces for event in decoder.feed(piece)]
    return decoded + list(decoder.close())


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    borders = [0, *sorted(cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(borders)]


def test_comments_ids_and_retries_are_no_events_and_lines_may_end_in_three_ways() -> None:
    assert decode([STREAM]) == EVENTS


def test_every_byte_may_come_alone() -> None:
    assert decode([bytes([byte]) for byte in STREAM]) == EVENTS


@given(st.lists(st.integers(0, len(STREAM))))
def test_the_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    assert decode(cut(STREAM, cuts)) == EVENTS


@given(st.lists(st.text()), st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(0, 400)))
def test_any_text_arrives_as_it_was_sent(texts: list[str], line_end: str, cuts: list[int]) -> None:
    stream = "".join(f"data: {json.dumps(text, ensure_ascii=False)}{line_end * 2}" for text in texts).encode()
    received = [event.data for event in decode(cut(stream, cuts)) if isinstance(event, ServerSentEvent)]
    assert [json.loads(data) for data in received] == texts


def test_an_event_comes_out_with_the_byte_that_completes_it() -> None:
    decoder = Decoder()
    assert list(decoder.feed(b"data: now\n")) == []
    assert list(decoder.feed(b"\n")) == [ServerSentEvent("", "now")]


def test_what_the_end_of_the_stream_leaves_unfinished_is_kept() -> None:
    assert decode([b"data: one\n\ndata: last"]) == [ServerSentEvent("", "one"), ServerSentEvent("", "last")]


def test_an_event_above_the_limit_is_named_and_costs_no_memory_and_no_other_event() -> None:
    decoder = Decoder(max_event_bytes=2000)
    events = list(decoder.feed(b'data: {"event": "node_finished", "outputs": "'))
    for _ in range(1000):
        events += decoder.feed(b"x" * 1000)
        assert len(decoder._line) <= 2000
    events += decoder.feed(b'"}\n\ndata: next\n\n')
    assert [type(event) for event in events] == [Oversized, ServerSentEvent]
    assert isinstance(events[0], Oversized)
    assert events[0].head.startswith('data: {"event": "node_finished"')
    assert events[1] == ServerSentEvent("", "next")


def test_many_short_lines_count_together() -> None:
    oversized = decode([b"data: 1234567890\n" * 100 + b"\n", b"data: next\n\n"], max_event_bytes=500)
    assert oversized == [Oversized("data: 1234567890"), ServerSentEvent("", "next")]
