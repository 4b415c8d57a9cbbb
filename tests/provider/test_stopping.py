"""A node with stop_after_tool_calls ends with its calls, and another try of it goes on with their results."""

import pytest

from provider.engine.events import CallUpstream, Heartbeat, OpenTicket, PollTicket, Record
from tests.provider.play import Play, asks, attached, call_delta, says
from tools.results import ToolResult
from tools.wire import OpenTicket as StillOpen
from tools.wire import Round

STOPS = {"stop_after_tool_calls": True}
FORM = '[read]\n{"path": "a"}\n[END_TOOL_REQUEST]'


def stopped(*said: str) -> Play:
    play = Play(settings=STOPS).start(attached(), *(event for text in said for event in says(text)[:1]))
    play.feed(*asks(("read", '{"path": "a"}')))
    play.feed(play.status("open"))
    return play


def test_it_ends_with_the_calls_as_text_once_the_ticket_is_open() -> None:
    play = stopped()
    assert play.last(OpenTicket).request.stops
    assert play.said == FORM
    assert not play.all(PollTicket)
    end = play.finish()
    assert (end.finish_reason, end.calls) == ("tool_calls", ())


def test_what_the_model_said_before_stands_before_the_calls() -> None:
    assert stopped("I look.").said == f"I look.\n{FORM}"
    assert stopped("I look.\n").said == f"I look.\n{FORM}"


def test_the_bridge_hears_that_this_was_no_answer() -> None:
    record = stopped("I look.").last(Record).request
    assert (record.stopped, record.finish_reason, record.error) == (True, "tool_calls", None)


def test_without_streaming_it_says_the_same() -> None:
    play = Play(settings=STOPS, stream=False).start(attached(), *says("I look.")[:1], call_delta(0, "read", "{}"))
    play.feed(*asks()[-1:])
    play.feed(play.status("open"))
    assert play.said == "I look.\n[read]\n{}\n[END_TOOL_REQUEST]"
    assert not play.all(Heartbeat)


@pytest.mark.parametrize("state", ["resolved", "expired"])
def test_a_ticket_that_is_answered_at_once_needs_no_stop(state: str) -> None:
    play = Play(settings=STOPS).start(attached(), *asks(("read", "{}")))
    play.feed(play.status(state, ["no"]), *says("So be it."))  # type: ignore[arg-type]
    assert play.said == "So be it."
    assert play.finish().finish_reason == "stop"


def test_its_next_try_sees_the_round_and_goes_on() -> None:
    first = stopped("I look.")
    calls = first.calls
    done = Round(
        content="I look.", shown="I look.", calls=calls, results=[ToolResult(tool_call_id=calls[0].id, output="A")]
    )
    second = Play(settings=STOPS).start(attached(rounds=[done]))
    assert [message["role"] for message in second.body["messages"]][-2:] == ["assistant", "tool"]
    second.feed(*says("It is A."))
    assert second.said == "I look.It is A."
    assert len(second.all(CallUpstream)) == 1


def test_a_try_that_finds_its_ticket_still_open_waits_for_it() -> None:
    still_open = StillOpen(ticket_id="inv12345r0", calls=stopped().calls)
    play = Play(settings=STOPS).start(attached(open_ticket=still_open))
    assert play.all(PollTicket)
