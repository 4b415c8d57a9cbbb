"""Tools as OpenAI's fields, as text, and what `auto` makes of either."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.errors import ContextTooLong, Refused, Unavailable
from provider.events import CallUpstream, Completed, Delta, Finish, OpenTicket, Pause, UpstreamFailed
from provider.modes import automatic, openclaw_text
from provider.modes.automatic import Automatic
from provider.modes.mode import Mode
from provider.modes.openclaw_text import OpenclawText
from tests.provider.play import Play, asks, attached, says

CALL = '<tool_call>\n{"name": "read", "arguments": {"path": "a"}}\n</tool_call>'
BROKEN = '<tool_call>\n{"name": "read", "arguments": {"path": \n</tool_call>'
TEXT = OpenclawText("qwen3:8b", 32_000)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    automatic._without_tools.clear()
    openclaw_text._told.clear()
    yield
    automatic._without_tools.clear()


def auto() -> Mode:
    return Automatic("http://upstream/v1", "qwen3:8b", TEXT)


def refused(
    status: int = 400, text: str = "The upstream answered 400: qwen3:8b does not support tools"
) -> UpstreamFailed:
    return UpstreamFailed(Refused(text), status=status)


def streamed(text: str, size: int = 3) -> list[Any]:
    return [*(Delta(text=text[i : i + size]) for i in range(0, len(text), size)), Completed()]


# openclaw_text


def test_tools_calls_and_results_are_text() -> None:
    play = Play(mode=TEXT).start(attached(), *streamed("I look.\n" + CALL))
    assert {"tools", "tool_choice", "parallel_tool_calls"}.isdisjoint(play.body)
    assert "read" in play.body["messages"][0]["content"]
    assert play.said.strip() == "I look."
    assert [(call.name, json.loads(call.arguments)) for call in play.calls] == [("read", {"path": "a"})]
    play.feed(play.status("resolved", ["THE RESULT"]))
    assert {message["role"] for message in play.body["messages"]} == {"system", "user", "assistant"}
    assert "THE RESULT" in play.body["messages"][-1]["content"]
    assert '"path": "a"' in play.body["messages"][-2]["content"]
    play.feed(*streamed("Done."))
    assert play.finish().finish_reason == "stop"


def test_a_broken_text_call_comes_back_to_the_model() -> None:
    play = Play(mode=TEXT).start(attached(), *streamed(BROKEN))
    assert not play.all(OpenTicket)
    assert "Error: " in play.body["messages"][-1]["content"]
    assert len(play.all(CallUpstream)) == 2


def test_the_budget_for_definitions_is_a_part_of_the_context() -> None:
    def size(context: int) -> int:
        return len(json.dumps(Play(mode=OpenclawText("qwen3", context)).start(attached(tools=big_tools())).body))

    assert size(4_000) < size(200_000)


def big_tools() -> list[dict[str, Any]]:
    properties = {f"p{n}": {"type": "string", "description": "what it is for " * 10} for n in range(20)}
    schema = {"type": "object", "properties": properties}
    return [
        {"type": "function", "function": {"name": f"tool{n}", "description": "A tool. " * 20, "parameters": schema}}
        for n in range(20)
    ]


def test_what_the_model_is_not_told_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        Play(mode=OpenclawText("qwen3", 4_000)).start(attached(tools=big_tools()))
    told = [record.getMessage() for record in caplog.records]
    assert told
    assert len(told) == len(set(told))


def test_a_text_call_beyond_the_limit_is_not_shown() -> None:
    play = Play(mode=TEXT, settings={"max_tool_call_rounds": 1}).start(attached(), *streamed(CALL))
    play.feed(play.status("resolved", ["A"]), *streamed(CALL))
    assert "tool_call>" not in play.said
    assert play.finish().finish_reason == "stop"


# auto


@pytest.mark.parametrize(
    "text", [CALL, f"\n{CALL}\n", f"{CALL}\n{CALL}", '{"name": "read", "arguments": {"path": "a"}}']
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_answer_that_is_nothing_but_text_calls_is_those_calls(text: str, size: int) -> None:
    play = Play(mode=auto()).start(attached(), *streamed(text, size))
    assert "tools" in play.body
    assert play.said == ""
    assert {call.name for call in play.calls} == {"read"}


@pytest.mark.parametrize(
    "text",
    [
        f"I look.\n{CALL}",
        f"{CALL}\nThat is how it is done.",
        BROKEN,
        CALL.replace("read", "fly"),
        '{"name": "Ada", "born": 1815}',
        "Hello.",
        "  \n",
        "",
    ],
)
@given(data=st.data())
def test_any_other_answer_is_text_to_the_letter(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    deltas = [Delta(text=text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    play = Play(mode=auto()).start(attached(), *deltas, Completed())
    assert play.said == text
    assert not play.all(OpenTicket)


def test_a_node_may_keep_text_that_is_a_call_as_text() -> None:
    play = Play(mode=Automatic("http://upstream/v1", "qwen3:8b", TEXT, promote=False)).start(attached())
    play.feed(Delta(text=CALL[:5]))
    assert play.said == CALL[:5]
    play.feed(Delta(text=CALL[5:]), Completed())
    assert play.said == CALL
    assert not play.all(OpenTicket)


def test_text_that_cannot_be_a_call_is_not_held_back() -> None:
    play = Play(mode=auto()).start(attached())
    play.feed(Delta(text="Hello"))
    assert play.said == "Hello"


def test_structured_calls_are_structured_calls() -> None:
    play = Play(mode=auto()).start(attached(), Delta(text="I look."), *asks(("exec", "{}")))
    assert (play.said, [call.name for call in play.calls]) == ("I look.", ["exec"])


def test_without_tools_nothing_in_the_text_is_looked_at() -> None:
    assert Play(mode=auto(), callbacks=False).start(*streamed(CALL)).said == CALL


def test_an_upstream_that_refuses_tools_gets_them_as_text_from_then_on() -> None:
    first = Play(mode=auto()).start(attached(), refused())
    assert "tools" not in first.body
    first.feed(*streamed(CALL))
    assert [call.name for call in first.calls] == ["read"]
    second = Play(mode=auto()).start(attached())
    assert "tools" not in second.body
    other = Play(mode=Automatic("http://other/v1", "qwen3:8b", TEXT)).start(attached())
    assert "tools" in other.body


def test_two_that_find_out_at_once_both_go_on() -> None:
    first, second = Play(mode=auto()).start(attached()), Play(mode=auto()).start(attached())
    for play in (first, second):
        play.feed(refused(), *says("Hello."))
        assert play.finish()


@pytest.mark.parametrize(
    "failed",
    [
        refused(text="The upstream answered 400: temperature must be at most 1"),
        UpstreamFailed(ContextTooLong("too many tools: context_length_exceeded"), status=400),
        UpstreamFailed(Unavailable("the tools are down"), status=503),
    ],
)
def test_what_is_not_about_tools_stays_an_error(failed: UpstreamFailed) -> None:
    play = Play(mode=auto()).start(attached(), failed)
    assert play.failure() is failed.error


def test_an_upstream_that_refuses_the_text_too_is_an_error() -> None:
    play = Play(mode=auto()).start(attached(), refused(), refused(text="no tools at all"))
    assert str(play.failure()) == "no tools at all"
    assert not play.all(Pause)


def test_dify_s_own_tools_work_as_text_too() -> None:
    tools = attached().response.tools
    play = Play(mode=auto(), callbacks=False, tools=tools).start(refused(), *streamed(CALL))
    assert [call.name for call in play.last(Finish).calls] == ["read"]
