"""A response is told once and heard by any number of readers, each from where it wants to."""

from collections.abc import Iterator

from bridge.api.openai.responses import KEPT, KEPT_CHARACTERS, Telling, Tellings
from bridge.api.openai.responses_response import ResponseTeller
from bridge.runs.segments import End, Event, Segment, Text
from tools.wire import Usage


def telling(segment: Segment, kept: list[str] | None = None) -> Telling:
    teller = ResponseTeller("resp_x", {"model": "m"})
    return Telling(teller, segment, lambda: (kept if kept is not None else []).append(teller.status), 0)


def pace(segment: Segment, *more: Event | None) -> Iterator[Event | None]:
    """Go on with the segment one event at a time, as a stream would come in."""
    for event in more:
        if event:
            segment.add(event)
        yield event


def test_two_readers_hear_the_same_numbers() -> None:
    segment = Segment(0)
    told = telling(segment)
    one = told.tell(pace(segment, Text("a"), None, Text("b"), End("stop", Usage())))
    head = [next(one) for _ in range(5)]
    two = list(told.tell(pace(segment), after=head[-1]["sequence_number"]))
    assert two == []
    rest = list(one)
    assert [event["sequence_number"] for event in [*head, *rest]] == list(range(len(head) + len(rest)))
    assert list(told.tell(pace(segment), after=head[-1]["sequence_number"])) == rest


def test_what_comes_while_a_slow_reader_is_held_up_is_not_skipped() -> None:
    segment = Segment(0)
    told = telling(segment)
    slow = told.tell(pace(segment, Text("a"), None, Text("b"), End("stop", Usage())))
    head = [next(slow) for _ in range(5)]
    held_up = told.tell(pace(segment))
    first = next(held_up)
    rest = list(slow)
    assert [first, *held_up] == [*head, *rest]


def test_silence_is_told_and_numbered_like_anything_else() -> None:
    segment = Segment(0)
    events = list(telling(segment).tell(pace(segment, None, Text("a"), End("stop", Usage()))))
    assert [event["type"] for event in events][:3] == [
        "response.created",
        "response.in_progress",
        "response.in_progress",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_how_it_ended_is_kept_before_it_is_told() -> None:
    segment, kept = Segment(0), []
    for event in telling(segment, kept).tell(pace(segment, Text("a"), End("stop", Usage()))):
        if event["type"] == "response.completed":
            assert kept == ["completed"]
    assert kept == ["completed"]


def test_the_oldest_are_let_go() -> None:
    tellings = Tellings()
    for number in range(KEPT + 1):
        teller = ResponseTeller(f"resp_{number}", {})
        tellings.add(Telling(teller, Segment(0), lambda: None, 0))
    assert tellings.find("resp_0") is None
    assert tellings.find(f"resp_{KEPT}")
    tellings.forget(f"resp_{KEPT}")
    assert tellings.find(f"resp_{KEPT}") is None


def test_responses_that_repeat_or_tell_much_are_kept_no_longer_than_there_is_room() -> None:
    tellings = Tellings()
    for number in range(4):
        segment = Segment(0)
        segment.add(Text("x" * (KEPT_CHARACTERS // 6)))
        teller = ResponseTeller(f"resp_{number}", {})
        tellings.add(Telling(teller, segment, lambda: None, repeats=KEPT_CHARACTERS // 6))
    assert [bool(tellings.find(f"resp_{number}")) for number in range(4)] == [False, True, True, True]
    huge = Telling(ResponseTeller("resp_huge", {}), Segment(0), lambda: None, repeats=KEPT_CHARACTERS + 1)
    tellings.add(huge)
    assert tellings.find("resp_huge"), "the last one is kept in any case"
    assert not tellings.find("resp_3")
