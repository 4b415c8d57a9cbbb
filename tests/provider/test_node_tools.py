"""Tools that Dify itself runs, beside the client's: merged, and each call goes where it belongs."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from demo.scripted.text_formats import FORMATS
from provider.engine import pending_rounds as carried
from provider.engine.events import CallUpstream, Finish, OpenTicket
from provider.engine.prompt import split_rounds
from provider.modes.openclaw_text import OpenclawText
from tests.provider.bridge_server import Bridge
from tests.provider.conftest import Dify, run_of
from tests.provider.play import NODE, TOOLS, Play, asks, attached, says, tool
from tools.calls import ToolCall

LOOKUP = tool("lookup")
BOTH = [("lookup", '{"q": "x"}'), ("read", '{"path": "a"}')]


def names(play: Play) -> list[str]:
    return [each["function"]["name"] for each in play.body["tools"]]


def handed_over(play: Play) -> list[str]:
    finish = play.last(Finish)
    assert finish.finish_reason == "tool_calls"
    return [call.name for call in finish.calls]


def test_both_are_on_offer_the_node_s_own_first() -> None:
    play = Play(tools=[LOOKUP]).start(attached())
    assert names(play) == ["lookup", "read", "write", "exec"]


def test_of_two_tools_with_one_name_the_node_s_own_counts() -> None:
    own = tool("read").model_copy(update={"function": tool("read").function.model_copy(update={"description": "own"})})
    play = Play(tools=[own]).start(attached())
    assert names(play) == ["read", "write", "exec"]
    assert play.body["tools"][0]["function"]["description"] == "own"
    play.feed(*asks(("read", "{}")))
    assert handed_over(play) == ["read"]
    assert not play.all(OpenTicket)


def test_allowed_tools_speaks_of_the_client_s_alone() -> None:
    play = Play(tools=[LOOKUP], settings={"allowed_tools": "read"}).start(attached())
    assert names(play) == ["lookup", "read"]


def test_a_call_of_the_node_s_goes_to_dify() -> None:
    play = Play(tools=[LOOKUP]).start(attached(), *asks(("lookup", "{}")))
    assert handed_over(play) == ["lookup"]
    assert not play.all(OpenTicket)


def test_a_call_of_the_client_s_goes_to_the_client_and_the_model_goes_on() -> None:
    play = Play(tools=[LOOKUP]).start(attached(), *asks(("read", "{}")))
    assert [call.name for call in play.calls] == ["read"]
    play.feed(play.status("resolved", ["A"]), *says("Done."))
    assert play.finish().finish_reason == "stop"


def test_in_a_round_with_both_the_client_s_are_run_first_and_then_dify_gets_its_own() -> None:
    play = Play(tools=[LOOKUP]).start(attached(), *asks(*BOTH))
    assert [call.name for call in play.calls] == ["read"]
    assert not play.all(Finish)
    play.feed(play.status("resolved", ["THE FILE"]))
    assert handed_over(play) == ["lookup"]
    assert len(play.all(CallUpstream)) == 1
    assert [message["role"] for message in play.engine.carried] == ["assistant", "tool"]
    assert play.engine.carried[1]["content"] == "THE FILE"


@pytest.mark.parametrize("fields", [{}, {"reason": "nobody came"}])
def test_a_round_with_both_whose_ticket_expires_still_gives_dify_its_own(fields: dict[str, Any]) -> None:
    play = Play(tools=[LOOKUP]).start(attached(), *asks(*BOTH))
    play.feed(play.status("expired", **fields))
    assert handed_over(play) == ["lookup"]
    assert "expired" in play.engine.carried[1]["content"]


def test_a_round_with_both_where_the_client_s_cannot_be_run_gives_dify_its_own_at_once() -> None:
    play = Play(tools=[LOOKUP]).start(attached(), *asks(("lookup", "{}"), ("nonsense", "{}")))
    assert handed_over(play) == ["lookup"]
    assert "there is no tool" in play.engine.carried[1]["content"]


def test_both_kinds_work_as_text_too() -> None:
    text = "".join(
        f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>\n' for name, arguments in BOTH
    )
    play = Play(tools=[LOOKUP], mode=OpenclawText("qwen3:8b", 32_000)).start(attached(), *says(text))
    assert [call.name for call in play.calls] == ["read"]
    play.feed(play.status("resolved", ["A"]))
    assert handed_over(play) == ["lookup"]


def test_a_client_that_offers_other_tools_after_a_round_does_not_take_the_node_s_away() -> None:
    play = Play(tools=[LOOKUP]).start(attached(), *asks(("read", "{}")))
    play.feed(play.status("resolved", ["A"], tools=[TOOLS[1]]))
    assert names(play) == ["lookup", "write"]


def test_rounds_that_dify_ran_follow_the_client_s_question() -> None:
    call = {"id": "l1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}
    rounds: list[Any] = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "l1", "content": "found"},
    ]
    play = Play(tools=[LOOKUP], messages=[*NODE, *rounds]).start(attached())
    assert [message["role"] for message in play.body["messages"]] == ["system", "user", "assistant", "tool"]
    assert split_rounds(NODE) == (NODE, [])


def test_what_the_client_s_tools_answered_is_there_when_the_node_comes_back() -> None:
    call = ToolCall(id="carriedcall1", name="lookup")
    between: list[Any] = [{"role": "assistant", "tool_calls": []}, {"role": "tool", "content": "THE FILE"}]
    carried.keep(between, [call])
    back = [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call.to_openai()]}]
    assert carried.with_carried(back) == [back[0], *between, back[1]]
    assert carried.with_carried(back[:1]) == back[:1]


SCRATCHPAD: list[Any] = [
    {"role": "assistant", "content": 'Thought: so.\n\nAction: {"action": "lookup"}\n\nObservation: it\n\n'},
    {"role": "user", "content": "continue"},
]
"""What Dify's ReAct strategy adds to its prompt when it comes back."""


def react(run: str, *more: Any, earlier: Sequence[Any] = ()) -> Play:
    turns = [*earlier, {"role": "user", "content": "Do it."}]
    play = Play(stop=["Observation"], messages=[*NODE, *more])
    return play.start(attached(run_id=run, messages=turns, turn=len(turns) - 1))


def said(play: Play) -> list[str]:
    return [f"{message['role']}: {message.get('content') or 'calls'}" for message in play.body["messages"]]


def test_a_strategy_that_works_in_texts_comes_back_to_all_that_the_client_s_tools_answered() -> None:
    own, bid = (f"{message['role']}: {message['content']}" for message in SCRATCHPAD)
    asked = ["system: Be brief.", "user: Earlier.", "assistant: Yes.", "user: Do it."]
    told = ["assistant: calls", "tool: A", "assistant: calls", "tool: B"]
    history: list[Any] = [{"role": "user", "content": "Earlier."}, {"role": "assistant", "content": "Yes."}]
    for result, more in (("A", []), ("B", SCRATCHPAD)):
        play = react("react1", *more, earlier=history)
        play.feed(*asks(("read", "{}")))
        play.feed(play.status("resolved", [result]), *says('Action: {"action": "lookup"}'))
        play.finish()
    assert said(react("react1", *SCRATCHPAD, earlier=history)) == [*asked, *told, own, bid]
    assert said(react("react1", earlier=history)) == asked
    assert said(react("react2", *SCRATCHPAD, earlier=history)) == [*asked, own, bid]


OWN = {"name": "lookup", "description": "Looks up.", "parameters": {"type": "object", "properties": {}}}
SCRIPT = '!call lookup {"q": "x"}\n!then\n!say Found.'
TEXT_MODEL = f"scripted-text-{next(iter(FORMATS))}"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("callbacks", [True, False])
@pytest.mark.parametrize(
    ("model", "mode"), [("scripted", "structured"), ("scripted", "auto"), (TEXT_MODEL, "openclaw_text")]
)
@pytest.mark.parametrize("client_has", ["read", "lookup"])
def test_dify_gets_its_calls_back(
    dify: Dify, bridge: Bridge, model: str, mode: str, callbacks: bool, stream: bool, client_has: str
) -> None:
    """As Agent nodes (streamed) and Parameter Extractors (whole) ask, and whether or not the client has such a tool."""
    dify.credentials["upstream_model"] = model
    if callbacks:
        bridge.answers["user1"] = run_of(SCRIPT, client_has)
    parameters = {"external_tool_callback_enabled": callbacks, "tool_call_mode": mode}
    first = dify.invoke(SCRIPT, tools=[OWN], model_parameters=parameters, stream=stream)
    assert [(call["name"], json.loads(call["arguments"])) for call in first.calls] == [("lookup", {"q": "x"})]
    assert first.text.strip() == ""
    assert not bridge.tickets
    [call] = first.last["message"]["tool_calls"]
    prompt = [
        {"role": "user", "content": SCRIPT},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "it", "tool_call_id": call["id"]},
    ]
    assert dify.invoke(prompt, tools=[OWN], model_parameters=parameters, stream=stream).text == "Found."
    assert bool(bridge.paths) is callbacks


@pytest.mark.parametrize(("model", "mode"), [("scripted", "structured"), (TEXT_MODEL, "openclaw_text")])
def test_each_call_of_a_round_goes_where_it_belongs(dify: Dify, bridge: Bridge, model: str, mode: str) -> None:
    dify.credentials["upstream_model"] = model
    script = '!call lookup {"q": "x"}\n!call read {"path": "a"}\n!then\n!say Found.'
    bridge.answers["user1"] = run_of(script, "read", "lookup")
    running = dify.start(script, tools=[OWN], model_parameters={"tool_call_mode": mode})
    ticket = bridge.wait_ticket()
    assert [call.name for call in ticket.request.calls] == ["read"]
    bridge.settle(ticket, outputs=["THE FILE"])
    assert [call["name"] for call in running.end().calls] == ["lookup"]


def test_an_agent_node_in_a_run_of_the_client_s(dify: Dify, bridge: Bridge, log: Any) -> None:
    """Dify's loop: a call of its own tool, in the same round as one of the client's, and back with its result."""
    own = {"name": "lookup", "description": "Looks up.", "parameters": {"type": "object", "properties": {}}}
    script = '!call lookup {"q": "x"}\n!call read {"path": "a"}\n!then\n!then\n!say Both known.'
    bridge.answers["user1"] = run_of(script, "read")
    running = dify.start(script, tools=[own])
    ticket = bridge.wait_ticket()
    assert [call.name for call in ticket.request.calls] == ["read"]
    bridge.settle(ticket, outputs=["THE FILE"])
    first = running.end()
    assert [call["name"] for call in first.calls] == ["lookup"]
    [call] = first.last["message"]["tool_calls"]
    prompt = [
        {"role": "user", "content": script},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "FOUND", "tool_call_id": call["id"]},
    ]
    parameters = {"external_tool_callback_enabled": True}
    assert dify.invoke(prompt, tools=[own], model_parameters=parameters).error is None
    sent = log()[-1]["request"]["messages"]
    assert [message["content"] for message in sent if message["role"] == "tool"] == ["THE FILE", "FOUND"]
    assert json.loads(sent[-2]["tool_calls"][0]["function"]["arguments"]) == {"q": "x"}
