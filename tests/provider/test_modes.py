"""Tools as OpenAI's fields, as text, and what `auto` makes of either."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.engine.events import (
    CallUpstream,
    Completed,
    Delta,
    Finish,
    OpenTicket,
    Pause,
    TellDrafts,
    TicketReported,
    UpstreamFailed,
)
from provider.errors import ContextTooLong, Refused, Unavailable
from provider.modes import automatic, openclaw_text
from provider.modes.automatic import Automatic
from provider.modes.mode import Mode
from provider.modes.normalised import Normalised
from provider.modes.openclaw_text import OpenclawText
from provider.modes.structured import Structured
from tests.provider.play import CUT, Play, asks, attached, says
from tools.definitions import Function, ToolDefinition
from tools.results import Message, ToolResult
from tools.wire import TicketStatus

CALL = '<tool_call>\n{"name": "read", "arguments": {"path": "a"}}\n</tool_call>'
BROKEN = '<tool_call>\n{"name": "read", "arguments": {"path": \n</tool_call>'
BARE = '{"name": "read", "arguments": {"path": "a"}}'
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


@pytest.mark.parametrize("mode", [TEXT, auto()])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CALL * 200, "it holds more than 128 calls"),
        (CALL.replace('"a"', f'"{"a" * 300_000}"'), "a call of read is longer than 256,000 characters"),
    ],
)
def test_an_answer_that_calls_too_much_is_an_error(mode: Mode, text: str, reason: str) -> None:
    play = Play(mode=mode).start(attached(), *streamed(text, 5000))

    assert not play.all(OpenTicket)
    assert isinstance(play.failure(), Refused)
    assert reason in str(play.failure())


def test_a_call_in_a_thought_whose_end_comes_late_is_not_run() -> None:
    play = Play(mode=TEXT).start(attached(), *streamed(f"Perhaps {CALL}, or not.</think>I will not."))

    assert not play.all(OpenTicket)
    assert play.said.endswith("I will not.")


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
        f"I look: {CALL}",
        f"I look.\n{CALL}\nThat is how it is done.",
        f"I look.\n{BARE}",
        f"I look.\n```json\n{BARE}\n```",
        f"I look.\n> {CALL}",
        f"I look.\n`{CALL}`",
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


@pytest.mark.parametrize(
    "call", [CALL, f"{CALL}\n{CALL.replace('read', 'exec')}", "<function=read><parameter=path>a</parameter></function>"]
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_words_before_a_call_that_is_announced_are_shown_and_the_call_is_one(call: str, size: int) -> None:
    play = Play(mode=auto()).start(attached(), *streamed(f"I look.\n\n{call}", size))

    assert [made.name for made in play.last(OpenTicket).request.calls] == (
        ["read", "exec"] if "exec" in call else ["read"]
    )
    assert play.said.strip() == "I look."


def test_a_call_in_a_thought_with_a_field_of_its_own_is_found_where_nothing_else_was_said() -> None:
    play = Play(mode=auto()).start(attached(), Delta(reasoning=f"I look. {CALL}"), Completed("stop", failed=CUT))
    assert [call.name for call in play.calls] == ["read"]
    play = Play(mode=auto()).start(attached(), Delta(reasoning="I look."), Completed("stop", failed=CUT))
    assert "broke off" in str(play.failure())


@pytest.mark.parametrize("mode", [auto(), TEXT])
@pytest.mark.parametrize(
    "thought", ["<think>I look.</think>\n", "<think>I look.\n", "<seed:think>I look.</seed:think>"]
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_call_behind_a_thought_or_at_the_end_of_an_open_one_is_a_call(mode: Mode, thought: str, size: int) -> None:
    play = Play(mode=mode).start(attached(), *streamed(thought + CALL, size))

    assert [call.name for call in play.last(OpenTicket).request.calls] == ["read"]
    assert play.said.strip() == thought.strip()


@pytest.mark.parametrize("mode", [auto(), TEXT])
def test_a_call_that_the_server_counts_as_part_of_the_thought_is_a_call(mode: Mode) -> None:
    thought = [Delta(reasoning="I look.\n", reasoning_field="reasoning_content"), Delta(reasoning=CALL)]
    play = Play(mode=mode).start(attached(), *thought, Completed())

    assert [call.name for call in play.last(OpenTicket).request.calls] == ["read"]
    for behind in (Delta(reasoning=" No, I will not."), Delta(text="I will not.")):
        play = Play(mode=mode).start(attached(), *thought, behind, Completed())
        assert not play.all(OpenTicket)


def test_a_thought_is_shown_as_it_comes_and_an_answer_behind_it_to_the_letter() -> None:
    answer = f"<think>Perhaps {CALL} or <b>not</b>.</think>\n\nI will  not: {CALL}\n"
    play = Play(mode=auto()).start(attached(), Delta(text="<think>Perhaps "))
    assert play.said == "<think>Perhaps "

    play = Play(mode=auto()).start(attached(), *streamed(answer))
    assert play.said == answer


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


def test_calls_that_a_server_makes_of_the_text_are_calls() -> None:
    play = Play(mode=TEXT).start(attached(), Delta(text="I look."), *asks(("exec", "{}")))
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


# Names and schemas that strict upstreams take


ODD = ToolDefinition(
    function=Function(
        name="fs.read",
        parameters={
            "type": "object",
            "properties": {"path": {"type": "string", "maxLength": 10**6}, "lines": {"type": "array"}},
            "required": ["path"],
            "x-ui": "file",
        },
    )
)


def test_a_strict_upstream_hears_a_plain_name_and_a_plain_schema_and_the_client_gets_its_own() -> None:
    history: list[Message] = [
        {"role": "user", "content": "Do it."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "fs.read", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "x"},
    ]
    choice = {"type": "function", "function": {"name": "fs.read"}}
    play = Play(mode=Normalised(Structured()))
    play.start(attached(tools=[ODD], messages=history, tool_choice=choice), *asks(("fs_read", '{"path": "a"}')))
    (told,) = play.all(CallUpstream)[0].body["tools"]
    assert told["function"]["name"] == "fs_read"
    assert told["function"]["parameters"]["properties"] == {
        "path": {"type": "string"},
        "lines": {"type": "array", "items": {}},
    }
    body = play.all(CallUpstream)[0].body
    assert body["tool_choice"]["function"]["name"] == "fs_read"
    assert body["messages"][2]["tool_calls"][0]["function"]["name"] == "fs_read"
    assert [call.name for call in play.calls] == ["fs.read"]
    assert play.all(TellDrafts)[0].request.calls[0].name == "fs.read"
    play.feed(play.status("resolved", ["ok"]))
    assert [m["tool_calls"][0]["function"]["name"] for m in play.body["messages"] if m.get("tool_calls")] == [
        "fs_read",
        "fs_read",
    ]


def test_names_go_plainly_through_the_text_too() -> None:
    play = Play(mode=Normalised(TEXT)).start(attached(tools=[ODD]), *streamed(CALL.replace("read", "fs_read")))
    assert "fs.read" not in json.dumps(play.all(CallUpstream)[0].body)
    assert [call.name for call in play.calls] == ["fs.read"]


@pytest.mark.parametrize(
    ("written", "reaches"),
    [
        ('{"path": "a", "lines": "[1, 2]"}', {"path": "a", "lines": [1, 2]}),
        ("{'path': 'a',}", {"path": "a"}),
        ('{"path": "a", "lines": null}', {"path": "a"}),
    ],
)
def test_arguments_are_mended_where_only_one_meaning_is_possible(written: str, reaches: dict[str, Any]) -> None:
    play = Play().start(attached(tools=[ODD], watched=False), *asks(("fs.read", written)))
    assert json.loads(play.calls[0].arguments) == reaches


def test_arguments_that_do_not_fit_go_back_to_the_model_and_not_to_the_tool() -> None:
    play = Play({"max_tool_call_rounds": 3}).start(attached(tools=[ODD], watched=False))
    for _ in range(3):
        play.feed(*asks(("fs.read", '{"lines": 3}')))
        assert not play.all(OpenTicket)
        told = play.body["messages"][-1 if "tools" in play.body else -2]
        assert told["role"] == "tool"
        assert "path is required" in told["content"]
        assert "lines must be an array" in told["content"]
    play.feed(*says("I give up."))
    assert play.finish().finish_reason == "stop"


def test_a_call_that_the_client_has_heard_the_beginning_of_is_the_client_s_to_check() -> None:
    play = Play().start(attached(tools=[ODD]), *asks(("fs.read", '{"lines": 3}')))
    assert play.calls[0].arguments == '{"lines": 3}'


def test_dify_s_own_tools_get_mended_arguments() -> None:
    play = Play(callbacks=False, tools=[ODD]).start(*asks(("fs.read", '{"path": 3}')))
    assert json.loads(play.last(Finish).calls[0].arguments) == {"path": "3"}


def test_text_before_a_round_without_a_ticket_is_told_with_the_next_one() -> None:
    play = Play().start(attached(watched=False), Delta(text="One. "), *asks(("nothing", "{}")))
    play.feed(Delta(text="Two."), *asks(("read", "{}")))
    assert play.last(OpenTicket).request.shown == "One. Two."


@pytest.mark.parametrize("mode", [Structured(), TEXT])
def test_images_of_a_result_follow_as_a_message_of_the_user(mode: Mode) -> None:
    replies = {Structured: asks(("read", "{}")), OpenclawText: streamed(CALL)}
    play = Play(mode=Normalised(mode)).start(attached(), *replies[type(mode)])
    picture = "data:image/png;base64,AAAA"
    result = ToolResult(tool_call_id=play.calls[0].id, output="a picture", images=[picture])
    play.feed(TicketReported(TicketStatus(ticket_id="t", state="resolved", results=[result])))
    last = play.body["messages"][-1]
    assert last["role"] == "user"
    assert {"type": "image_url", "image_url": {"url": picture}} in last["content"]
    assert "a picture" in json.dumps(play.body["messages"])


def test_a_model_that_sees_no_images_is_told_of_them() -> None:
    play = Play(sees_images=False).start(attached(), *asks(("read", "{}")))
    result = ToolResult(tool_call_id=play.calls[0].id, output="x", images=["https://a/1.png", "https://a/2.png"])
    play.feed(TicketReported(TicketStatus(ticket_id="t", state="resolved", results=[result])))
    assert play.body["messages"][-1]["content"] == "x\n(2 images, which this model cannot see)"
