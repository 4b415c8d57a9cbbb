"""Whether the model keeps to tool_choice and parallel_tool_calls."""

from typing import Any

import pytest

from provider.engine.events import CallUpstream, Completed, Delta, Finish, OpenTicket, TellDrafts
from provider.errors import ChoiceIgnored
from provider.modes.openclaw_text import OpenclawText
from tests.provider.play import Play, asks, attached, call_delta, says, tool
from tools.results import Message
from tools.wire import Usage

READ, WRITE = ("read", "{}"), ("write", "{}")
NAMED = {"type": "function", "function": {"name": "read"}}
CALL = '<tool_call>\n{"name": "read", "arguments": {}}\n</tool_call>'


def chosen(choice: Any, **fields: Any) -> Play:
    return Play(**fields).start(attached(tool_choice=choice))


@pytest.mark.parametrize(
    ("choice", "wrong", "told", "right"),
    [
        ("required", says("I would rather talk."), "Call one of the tools", asks(WRITE)),
        (NAMED, says("No."), "Call the tool read", asks(READ)),
        (NAMED, asks(WRITE), "Call the tool read", asks(READ)),
    ],
)
def test_what_must_be_called_is_asked_for_once_more(choice: Any, wrong: Any, told: str, right: Any) -> None:
    play = chosen(choice)
    play.feed(*wrong)
    assert not play.all(OpenTicket)
    assert told in play.body["messages"][-1]["content"]
    assert play.body["tool_choice"] == choice
    play.feed(*right)
    request = play.last(OpenTicket).request
    assert request.shown == play.said
    assert request.streamed_text is bool(play.said)
    play.feed(play.status("resolved", ["ok"]))
    assert not any("(Call" in str(message["content"]) for message in play.body["messages"])
    assert "tool_choice" not in play.body
    play.feed(*says("Done."))
    assert play.finish().usage == Usage(prompt_tokens=30, completion_tokens=15) + Usage()


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_a_second_time_is_an_error(choice: Any) -> None:
    play = chosen(choice)
    play.feed(*says("No."), *says("No!"))
    failure = play.failure()
    assert isinstance(failure, ChoiceIgnored)
    assert "tool_choice" in str(failure)
    assert len(play.all(CallUpstream)) == 2


def test_where_nothing_may_be_called_words_are_asked_for() -> None:
    play = chosen("none")
    play.feed(*asks(READ))
    assert "without calling a tool" in play.body["messages"][-1]["content"]
    play.feed(*says("In words."))
    assert play.finish().finish_reason == "stop"
    assert not play.all(OpenTicket)


def test_calls_as_text_are_held_to_it_too() -> None:
    mode = OpenclawText("qwen3:8b", 32_000)
    play = chosen("none", mode=mode)
    play.feed(Delta(text=CALL), Completed())
    assert "without calling a tool" in play.body["messages"][-1]["content"]
    play = chosen("required", mode=mode)
    play.feed(*says("No."), Delta(text=CALL), Completed())
    assert [made.name for made in play.calls] == ["read"]


def test_a_refusal_of_the_upstream_s_filter_is_not_argued_with() -> None:
    play = chosen("required")
    play.feed(*says("", "content_filter"))
    assert play.finish().finish_reason == "content_filter"


def test_a_call_that_cannot_be_run_is_mended_before_the_choice_is_free() -> None:
    play = chosen("required")
    play.feed(*asks(("read", "{oops")))
    assert play.body["tool_choice"] == "required"


def test_one_call_at_a_time_is_the_first_and_the_others_were_never_made() -> None:
    play = Play().start(attached(parallel_tool_calls=False), *asks(READ, WRITE))
    assert play.all(CallUpstream)[0].body["parallel_tool_calls"] is False
    assert [made.name for made in play.calls] == ["read"]
    play.feed(play.status("resolved", ["ok"]))
    assert [made["function"]["name"] for made in play.body["messages"][-2]["tool_calls"]] == ["read"]


def test_the_client_watches_only_calls_that_will_count() -> None:
    play = Play().start(attached(parallel_tool_calls=False))
    play.feed(call_delta(0, "read", '{"a": 1}', "x"), call_delta(1, "write", '{"b": 2}', "y"))
    assert {call.name for told in play.all(TellDrafts) for call in told.request.calls} == {"read"}
    play = chosen(NAMED)
    play.feed(call_delta(0, "write", '{"b": 2}', "y"))
    assert not play.all(TellDrafts)


def test_a_call_that_dify_has_run_is_not_forced_again() -> None:
    made = {"id": "a", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}
    messages: list[Message] = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "a", "content": "found"},
    ]
    play = Play({"tool_choice": "lookup"}, callbacks=False, tools=[tool("lookup")], messages=messages).start()
    assert "tool_choice" not in play.body
    play.feed(*says("Found."))
    assert play.last(Finish).finish_reason == "stop"
