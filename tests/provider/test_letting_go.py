"""What a node does when the wait for its results is over."""

from typing import Any

import pytest

from provider.engine.engine import EXPIRED_NOTE
from provider.engine.events import CallUpstream, ExpireTicket, PollTicket, SuspendTicket, TicketReported, Woke
from provider.errors import ResultsMissing, Suspended
from tests.provider.play import DOWN, Play, asks, attached, says
from tools.results import ToolResult
from tools.wire import TicketStatus

READ, WRITE = ("read", '{"path": "a"}'), ("write", '{"path": "b"}')


def waited(choice: str, **settings: Any) -> Play:
    """A node that has waited for two calls until its time was up."""
    play = Play(settings={"on_callback_timeout": choice, "callback_wait_seconds": 20, **settings})
    play.start(attached(), *asks(READ, WRITE))
    play.feed(play.status("open"))
    play.feed(play.status("open"), after=25)
    return play


def test_suspend_is_what_a_node_does_unless_told_otherwise() -> None:
    play = waited("suspend")
    assert isinstance(play.acts[-1], SuspendTicket)
    play.feed(play.status("open"))
    assert isinstance(play.failure(), Suspended)


def test_answer_asks_the_model_once_more_with_the_results_that_came() -> None:
    play = waited("answer")
    assert isinstance(play.acts[-1], ExpireTicket)
    came = [ToolResult(tool_call_id=play.calls[1].id, output="written")]
    play.feed(TicketReported(TicketStatus(ticket_id="t", state="expired", results=came, reason="too late")))
    *_, read, write, note = play.body["messages"]
    assert "did not come in time. too late" in read["content"]
    assert write["content"] == "written"
    assert note["content"] == EXPIRED_NOTE
    assert "tools" not in play.body
    play.feed(*says("Only half of it is known."))
    assert play.finish().finish_reason == "stop"


def test_fail_makes_the_node_fail_and_names_the_parameters() -> None:
    play = waited("fail")
    assert isinstance(play.acts[-1], ExpireTicket)
    play.feed(play.status("expired"))
    failure = play.failure()
    assert isinstance(failure, ResultsMissing)
    assert "callback_wait_seconds" in str(failure)
    assert len(play.all(CallUpstream)) == 1


@pytest.mark.parametrize("choice", ["answer", "fail"])
def test_results_that_come_at_the_last_moment_are_taken(choice: str) -> None:
    play = waited(choice)
    play.feed(play.status("resolved", ["A", "B"]))
    assert [message["content"] for message in play.body["messages"][-2:]] == ["A", "B"]
    assert "tools" in play.body


def test_a_ticket_that_the_bridge_lets_expire_does_not_make_a_node_fail() -> None:
    play = Play(settings={"on_callback_timeout": "fail"}).start(attached(), *asks(READ))
    play.feed(play.status("expired", reason="this run has used up its calls"))
    assert "used up" in play.body["messages"][-2]["content"]


def test_a_bridge_that_is_away_then_is_asked_again() -> None:
    play = waited("answer")
    play.feed(DOWN, Woke())
    assert isinstance(play.acts[-1], ExpireTicket)


@pytest.mark.parametrize(("choice", "held"), [("suspend", 570), ("answer", 510)])
def test_a_node_that_answers_keeps_time_for_that(choice: str, held: float) -> None:
    play = Play(settings={"on_callback_timeout": choice, "callback_wait_seconds": 900})
    play.start(attached(), *asks(READ))
    play.feed(play.status("open"), after=held - 1)
    assert isinstance(play.acts[-1], PollTicket)
    play.feed(play.status("open"), after=2)
    assert isinstance(play.acts[-1], SuspendTicket | ExpireTicket)


@pytest.mark.parametrize("choice", ["suspend", "answer", "fail"])
def test_a_node_that_is_asked_to_lets_go_at_once_and_the_run_goes_on_later(choice: str) -> None:
    play = Play(settings={"on_callback_timeout": choice}).start(attached(), *asks(READ))
    play.feed(play.status("open"))
    play.feed(play.status("open", let_go=True), after=1)
    assert isinstance(play.acts[-1], SuspendTicket)
    play.feed(play.status("open"))
    failure = play.failure()
    assert isinstance(failure, Suspended)
    assert "limits.dify_streams" in str(failure)


def test_a_node_that_is_asked_to_let_go_goes_on_where_its_results_are_there() -> None:
    play = Play().start(attached(), *asks(READ))
    play.feed(play.status("open", let_go=True), play.status("resolved", ["A"]))
    assert play.body["messages"][-1]["content"] == "A"
