"""A client sees calls while the model writes them, and never takes a half call for a whole one."""

from typing import Any

from bridge.runs.live import LiveRun
from bridge.runs.segments import Calls, Draft, End, Event, Failure, Segment, Text
from bridge.store.rows import CallRow, TicketRow
from tools.wire import DraftDelta, Usage


def live() -> LiveRun:
    run = LiveRun("r", [], lambda *_: None, None, lambda text: Usage())
    run.begin(1)
    return run


def ticket(*calls: tuple[str, str], invocation: str = "one", round_: int = 0) -> TicketRow:
    rows = [
        CallRow(id=call_id, ticket_id="t", name="write", arguments=arguments, output=None, is_error=None)
        for call_id, arguments in calls
    ]
    fields: dict[str, Any] = dict.fromkeys(TicketRow.__slots__)
    return TicketRow(
        **fields | {"id": f"t-{invocation}-{round_}", "invocation_id": invocation, "round": round_, "calls": rows}
    )


def piece(call_id: str, offset: int, arguments: str) -> DraftDelta:
    return DraftDelta(id=call_id, name="write", offset=offset, arguments=arguments)


def events(segment: Segment) -> list[Event]:
    return segment.read(0, 0)


def kinds(segment: Segment) -> list[type[Event]]:
    return [type(event) for event in events(segment)]


def test_pieces_come_as_they_are_written_and_the_ticket_ends_the_response() -> None:
    run = live()
    segment = run.current
    run.draft("one", 0, [piece("a", 0, '{"x"')])
    run.draft("one", 0, [piece("a", 4, ": 1")])
    assert events(segment) == [Draft("a", "write", '{"x"'), Draft("a", "write", ": 1")]
    assert not segment.closed
    run.deliver(ticket(("a", '{"x": 1}')))
    assert kinds(segment) == [Draft, Draft, Calls, End]


def test_what_comes_twice_or_after_a_gap_is_left_to_the_ticket() -> None:
    run = live()
    segment = run.current
    run.draft("one", 0, [piece("a", 0, '{"x"'), piece("a", 0, '{"x"'), piece("a", 9, "}")])
    assert events(segment) == [Draft("a", "write", '{"x"')]


def test_a_draft_that_comes_after_its_ticket_begins_nothing() -> None:
    run = live()
    run.deliver(ticket(("a", "{}")))
    run.draft("one", 0, [piece("b", 0, "{")])
    assert events(run.current) == []
    run.draft("one", 1, [piece("c", 0, "{")])
    assert kinds(run.current) == [Draft]


def test_a_ticket_without_the_call_that_was_begun_fails_the_response() -> None:
    for calls in ([("b", '{"x": 1}')], [("a", '{"y": 1}')]):
        run = live()
        segment = run.current
        run.draft("one", 0, [piece("a", 0, '{"x"')])
        run.deliver(ticket(*calls))
        assert kinds(segment) == [Draft, Failure]


def test_an_answer_after_a_call_was_begun_fails_the_response() -> None:
    run = live()
    segment = run.current
    run.draft("one", 0, [piece("a", 0, "{")])
    run.finish()
    assert kinds(segment) == [Draft, Failure]


def test_an_invocation_that_ends_in_the_middle_of_a_call_fails_the_response() -> None:
    run = live()
    segment = run.current
    run.draft("one", 0, [piece("a", 0, "{")])
    run.stop_writing("another", None)
    assert not segment.closed
    run.stop_writing("one", "the upstream broke off")
    (failure,) = [event for event in events(segment) if isinstance(event, Failure)]
    assert "the upstream broke off" in failure.error.message
    assert failure.error.status == 503


def test_two_invocations_write_one_after_the_other() -> None:
    run = live()
    first = run.current
    run.draft("one", 0, [piece("a", 0, "{")])
    run.draft("two", 0, [piece("b", 0, "{")])
    run.deliver(ticket(("b", "{}"), invocation="two"))
    assert kinds(first) == [Draft]
    run.deliver(ticket(("a", "{}")))
    assert kinds(first) == [Draft, Calls, End]
    second = run.segment(first.number + 1)
    assert second
    assert kinds(second) == [Calls, End]


def test_a_call_is_told_behind_the_text_before_it() -> None:
    run = live()
    segment = run.current
    run.text("Let me ")
    assert run.draft("one", 0, [piece("a", 0, "{")], after_text=True)
    run.text("look.")
    run.text("")
    assert not run.draft("one", 0, [piece("a", 1, "}")], after_text=True)
    assert kinds(segment) == [Text, Draft, Draft]


def test_a_call_does_not_wait_for_ever_for_the_text_before_it() -> None:
    run = live()
    segment = run.current
    run.draft("one", 0, [piece("a", 0, "{")], after_text=True)
    run.deliver_pending()
    assert kinds(segment) == [Draft]
