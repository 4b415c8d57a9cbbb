"""The engine by events alone."""

import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.engine.engine import EXPIRED_NOTE, NO_ANSWER
from provider.engine.events import (
    Asked,
    Attach,
    BridgeFailed,
    CallUpstream,
    CancelTicket,
    Completed,
    Delta,
    Fail,
    Finish,
    Heartbeat,
    OpenTicket,
    Pause,
    PollTicket,
    Record,
    Recorded,
    Say,
    SuspendTicket,
    TicketReported,
    UpstreamFailed,
    Woke,
)
from provider.engine.model_calls import MOST_CHARACTERS, ModelCalls
from provider.errors import (
    Cancelled,
    ContextTooLong,
    ProviderError,
    RateLimited,
    Refused,
    RunNotFound,
    Suspended,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from tests.provider.play import CUT, DOWN, NODE, Play, asks, attached, call_delta, says, tool
from tools.calls import ToolCall
from tools.results import Message, ToolResult
from tools.wire import Answer, Round, TicketRequest, TicketStatus, Usage
from tools.wire import OpenTicket as TicketLeftOpen

READ = ("read", '{"path": "a"}')


# Callbacks off: a plain provider


def test_without_callbacks_the_bridge_is_never_spoken_to() -> None:
    play = Play(callbacks=False).start(*says("Hello."))
    assert [type(action) for action in play.acts] == [CallUpstream, Say, Finish]
    assert play.body["messages"] == NODE
    assert "tools" not in play.body
    assert play.last(Finish).usage == Usage(prompt_tokens=10, completion_tokens=5)


def test_dify_s_own_tools_are_passed_on_and_their_calls_come_back() -> None:
    play = Play(callbacks=False, tools=[tool("lookup")]).start(*asks(("lookup", ""), ("lookup", '{"q": 1}')))
    finish = play.last(Finish)
    assert play.body["tools"][0]["function"]["name"] == "lookup"
    assert finish.finish_reason == "tool_calls"
    assert [(call.name, call.arguments) for call in finish.calls] == [("lookup", "{}"), ("lookup", '{"q": 1}')]


@pytest.mark.parametrize("reason", ["length", "content_filter", "stop"])
def test_the_finish_reason_is_the_upstream_s(reason: str) -> None:
    assert Play(callbacks=False).start(*says("x", reason)).last(Finish).finish_reason == reason


def test_a_finish_reason_that_speaks_of_calls_without_any_is_a_stop() -> None:
    assert Play(callbacks=False).start(*says("x", "tool_calls")).last(Finish).finish_reason == "stop"


def test_reasoning_is_one_think_block_before_the_answer() -> None:
    deltas = [Delta(reasoning="Let me "), Delta(reasoning="see."), Delta(text="42"), Delta(text="!"), Completed()]
    assert Play(callbacks=False).start(*deltas).said == "<think>\nLet me see.\n</think>\n\n42!"


def test_reasoning_without_an_answer_is_closed() -> None:
    assert Play(callbacks=False).start(Delta(reasoning="Hm"), Completed()).said == "<think>\nHm\n</think>\n\n"


def test_usage_is_estimated_where_the_upstream_does_not_count() -> None:
    usage = Play(callbacks=False).start(Delta(text="word " * 40), Completed()).last(Finish).usage
    assert usage.prompt_tokens > 0
    assert 40 <= usage.completion_tokens <= 60


def test_without_streaming_the_text_comes_in_one_piece() -> None:
    play = Play(callbacks=False, stream=False).start(Delta(text="a"), Delta(text="b"), Completed())
    assert [say.text for say in play.all(Say)] == ["ab"]


# Attaching


def test_the_attach_names_the_invocation() -> None:
    play = Play(settings={"callback_key": "u:42"}).start()
    request = play.last(Attach).request
    assert (request.invocation_id, request.model, request.callback_key) == ("inv12345", "main", "u:42")


def test_the_fingerprint_does_not_depend_on_memory_or_on_the_callback_key() -> None:
    remembered = [NODE[0], {"role": "user", "content": "old"}, {"role": "assistant", "content": "x"}, NODE[1]]
    plays = [
        Play(settings={"callback_key": "u:1", "temperature": 0.5}),
        Play(settings={"callback_key": "u:2", "temperature": 0.5}, messages=remembered),
        Play(settings={"temperature": 0.6}),
    ]
    first, second, third = (play.start().last(Attach).request.fingerprint for play in plays)
    assert first == second != third


def test_a_call_of_no_run_goes_on_as_a_plain_one() -> None:
    play = Play().start(attached(run_id=None, reason="nobody"), *says("Hi."))
    assert play.body["messages"] == NODE
    assert "tools" not in play.body
    assert play.engine.ended
    assert not play.all(Record)


def test_a_call_of_no_run_fails_where_its_node_is_to() -> None:
    play = Play(settings={"on_run_not_found": "fail"}).start(attached(run_id=None, reason="\x1bnobody said\nwho"))
    assert isinstance(play.last(Fail).error, RunNotFound)
    told = str(play.last(Fail).error)
    assert "nobody said who" in told
    assert "on_run_not_found" in told
    assert play.engine.ended
    assert not [*play.all(Record), *play.all(CallUpstream)]


def test_the_client_s_transcript_and_tools_go_upstream() -> None:
    history = [
        {"role": "system", "content": "You are Claw."},
        {"role": "user", "content": "before"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "Do it."},
    ]
    play = Play(settings={"allowed_tools": "re*, exec, !exec"}).start(attached(messages=history, turn=3))
    assert [m["content"] for m in play.body["messages"]] == ["Be brief.", "You are Claw.", "before", "yes", "Do it."]
    assert [t["function"]["name"] for t in play.body["tools"]] == ["read"]


def test_orphans_of_the_client_s_history_are_mended() -> None:
    history = [
        {"role": "user", "content": "a"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "x", "type": "function", "function": {"name": "read", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "nobody", "content": "orphan"},
        {"role": "user", "content": "Do it."},
    ]
    play = Play().start(attached(messages=history, turn=3))
    assert [m["role"] for m in play.body["messages"]] == ["system", "user", "assistant", "tool", "user"]
    assert play.body["messages"][3]["tool_call_id"] == "x"


@pytest.mark.parametrize(
    ("node", "client", "sent"),
    [
        ("client", None, None),
        ("client", "required", "required"),
        (
            "client",
            {"type": "function", "function": {"name": "exec"}},
            {"type": "function", "function": {"name": "exec"}},
        ),
        ("client", {"type": "function", "function": {"name": "gone"}}, None),
        ("none", "required", "none"),
        ("exec", "none", {"type": "function", "function": {"name": "exec"}}),
        ("unknown", None, None),
    ],
)
def test_the_tool_choice(node: str, client: Any, sent: Any) -> None:
    play = Play(settings={"tool_choice": node}).start(attached(tool_choice=client))
    assert play.body.get("tool_choice") == sent


@pytest.mark.parametrize("parallel", [None, True, False])
def test_parallel_tool_calls_goes_upstream_only_where_the_client_said_so(parallel: bool | None) -> None:
    play = Play().start(attached(parallel_tool_calls=parallel))
    assert play.body.get("parallel_tool_calls") is parallel


def test_a_bridge_that_restarts_is_waited_for() -> None:
    play = Play().start(DOWN, Woke(), DOWN, Woke(), attached())
    assert len(play.all(Attach)) == 3
    assert [pause.seconds for pause in play.all(Pause)] == [0.5, 1.0]
    assert play.all(CallUpstream)


def test_a_bridge_that_stays_away_is_an_error() -> None:
    play = Play().start()
    while not play.engine.ended:
        led = play.feed(DOWN, after=1)
        if isinstance(led[-1], Pause):
            play.feed(Woke(), after=led[-1].seconds)
    assert isinstance(play.failure(), Unreachable)
    assert play.now - 1000 < 40


def test_a_wrong_token_is_not_tried_twice() -> None:
    play = Play().start(BridgeFailed(Unauthorized("Check bridge_token")))
    assert isinstance(play.failure(), Unauthorized)
    assert len(play.all(Attach)) == 1


# A round


def test_a_round_goes_through_a_ticket_and_the_model_goes_on() -> None:
    play = Play().start(attached(), *asks(READ, ("exec", '{"cmd": "ls"}')))
    ticket = play.last(OpenTicket)
    assert ticket.ticket_id == "inv12345r0"
    assert (ticket.request.run_id, ticket.request.round, ticket.request.streamed_text) == ("run1", 0, False)
    assert [(call.name, call.arguments) for call in ticket.request.calls] == [READ, ("exec", '{"cmd": "ls"}')]
    assert ticket.request.usage == Usage(prompt_tokens=10, completion_tokens=5)

    play.feed(play.status("open"))
    assert play.last(PollTicket).ticket_id == ticket.ticket_id
    play.feed(play.status("resolved", ["A", "B"]), *says("Done."))

    said, *answers = play.body["messages"][-3:]
    assert [c["function"]["name"] for c in said["tool_calls"]] == ["read", "exec"]
    assert [(m["tool_call_id"], m["content"]) for m in answers] == [
        (ticket.request.calls[0].id, "A"),
        (ticket.request.calls[1].id, "B"),
    ]
    record = play.last(Record).request
    assert (record.text, record.rounds, record.error) == ("Done.", 1, None)
    assert record.usage == Usage(prompt_tokens=10, completion_tokens=5)
    assert record.total_usage == Usage(prompt_tokens=20, completion_tokens=10)
    assert not play.all(Finish)
    assert play.finish().usage == record.total_usage


def test_the_results_stand_in_call_order() -> None:
    play = Play().start(attached(), *asks(READ, ("exec", "{}")))
    status = play.status("resolved", ["A", "B"])
    status.status.results.reverse()
    play.feed(status)
    assert [m["content"] for m in play.body["messages"][-2:]] == ["A", "B"]


def test_messages_that_the_client_sent_after_the_results_follow_them() -> None:
    play = Play().start(attached(), *asks(READ))
    play.feed(play.status("resolved", ["A"], messages=[{"role": "user", "content": "and hurry"}]))
    assert [m["role"] for m in play.body["messages"][-3:]] == ["assistant", "tool", "user"]


def test_text_before_the_calls_is_followed_by_an_empty_chunk_before_they_are_told_and_when_the_ticket_is_open() -> None:
    play = Play().start(attached(), Delta(text="Let me look."), *asks(READ))
    assert play.last(OpenTicket).request.streamed_text
    assert play.last(OpenTicket).request.content == "Let me look."
    assert [type(action) for action in play.feed(play.status("open"))] == [Heartbeat, PollTicket]
    assert len(play.all(Heartbeat)) == 2


def test_no_empty_chunk_without_text_and_none_without_streaming() -> None:
    silent = Play().start(attached(), *asks(READ))
    assert [type(action) for action in silent.feed(silent.status("open"))] == [PollTicket]
    whole = Play(stream=False).start(attached(), Delta(text="Let me look."), *asks(READ))
    assert not whole.last(OpenTicket).request.streamed_text
    whole.feed(whole.status("open"))
    whole.feed(whole.status("open"), after=10)
    assert not whole.all(Heartbeat)


def test_each_poll_that_brings_nothing_is_followed_by_a_heartbeat() -> None:
    play = Play().start(attached(), *asks(READ))
    play.feed(play.status("open"))
    for _ in range(5):
        assert [type(action) for action in play.feed(play.status("open"), after=10)] == [Heartbeat, PollTicket]


def test_a_forced_call_is_forced_once() -> None:
    play = Play(settings={"tool_choice": "required"}).start(attached(), *asks(READ))
    play.feed(play.status("resolved", ["A"], tool_choice="required"))
    assert "tool_choice" not in play.body


def test_the_client_may_offer_other_tools_and_another_choice_after_a_round() -> None:
    play = Play().start(attached(), *asks(READ))
    play.feed(play.status("resolved", ["A"], tools=[tool("exec")], tool_choice="required"))
    assert [t["function"]["name"] for t in play.body["tools"]] == ["exec"]
    assert play.body["tool_choice"] == "required"


def test_reasoning_goes_back_within_the_turn_in_its_own_field() -> None:
    thought = Delta(reasoning="I need a.", reasoning_field="reasoning_content")
    play = Play().start(attached(), thought, *asks(READ))
    play.feed(play.status("resolved", ["A"]))
    assert play.body["messages"][-2]["reasoning_content"] == "I need a."
    assert play.last(OpenTicket).request.content is None
    assert play.last(OpenTicket).request.shown == "<think>\nI need a.\n</think>\n\n"


SIGNED = {"extra_content": {"google": {"thought_signature": "AbC=="}}}
DETAILS = [{"type": "reasoning.text", "text": text, "index": 0} for text in ("I need", " a.")]


def signed_call() -> Delta:
    (entry,) = call_delta(0, "read", '{"path": "a"}', "up0").tool_calls
    return Delta(tool_calls=[entry | SIGNED])


def test_what_the_upstream_wants_back_returns_as_it_came_and_through_the_journal() -> None:
    thought = [Delta(sealed={"reasoning_details": [detail]}) for detail in DETAILS]
    play = Play().start(attached(), *thought, signed_call(), Completed("tool_calls"))
    request = play.last(OpenTicket).request
    play.feed(play.status("resolved", ["A"]))
    said = play.body["messages"][-2]
    assert said["reasoning_details"] == [{"type": "reasoning.text", "text": "I need a.", "index": 0}]
    assert {name: said["tool_calls"][0].get(name) for name in SIGNED} == SIGNED

    kept = TicketRequest.model_validate_json(request.model_dump_json())
    result = ToolResult(tool_call_id=kept.calls[0].id, output="A")
    done = Round(content=kept.content, reasoning=kept.reasoning, calls=kept.calls, results=[result])
    replayed = Play().start(attached(rounds=[done]))
    assert replayed.body["messages"][-2] == said


def test_thoughts_that_are_parts_of_the_content_stay_in_it() -> None:
    part = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
    play = Play().start(attached(), Delta(sealed={"content": [part]}), Delta(sealed={"content": [part]}))
    play.feed(Delta(text="I look."), *asks(READ))
    play.feed(play.status("resolved", ["A"]))
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "HmHm"}]}
    assert play.body["messages"][-2]["content"] == [thought, {"type": "text", "text": "I look."}]


@pytest.mark.parametrize("name", ["functions.read", "default_api:read", "functions.read:0", " Read "])
def test_a_name_with_more_around_it_means_the_one_tool_that_it_can_mean(name: str) -> None:
    play = Play().start(attached(), *asks((name, '{"path": "a"}')))
    assert [call.name for call in play.last(OpenTicket).request.calls] == ["read"]
    twins = attached(tools=[tool("read"), tool("Read")])
    assert not Play().start(twins, *asks((f"functions.{name.strip()}", '{"path": "a"}'))).all(OpenTicket)


# Calls that nobody can run


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("read", "{oops", "not valid JSON"),
        ("read", "[1]", "must be a JSON object"),
        ("fly", "{}", "there is no tool 'fly'"),
        ("über tool", "{}", "there is no tool"),
        ("x" * 500, "{}", "there is no tool"),
    ],
)
def test_such_a_call_gets_an_error_result_at_once(name: str, arguments: str, told: str) -> None:
    play = Play().start(attached(), *asks((name, arguments)))
    assert not play.all(OpenTicket)
    said, answer = play.body["messages"][-2:]
    function = said["tool_calls"][0]["function"]
    assert told in answer["content"]
    assert json.loads(function["arguments"]) == {}
    assert function["name"].replace("_", "").isalnum()
    assert len(function["name"]) <= 64
    assert len(play.all(CallUpstream)) == 2


def test_in_a_mixed_round_the_sound_calls_go_into_the_ticket() -> None:
    play = Play().start(attached(), *asks(("fly", "{}"), READ, ("exec", "nonsense")))
    assert [call.name for call in play.calls] == ["read"]
    play.feed(play.status("resolved", ["A"]))
    fly, read, exec_ = play.body["messages"][-3:]
    assert "no tool 'fly'" in fly["content"]
    assert read["content"] == "A"
    assert "not valid JSON" in exec_["content"]


def test_a_call_cut_off_by_max_tokens_is_told_so() -> None:
    play = Play().start(attached(), call_delta(0, "read", '{"path": "a', "x"), Completed("length"))
    assert "max_tokens" in play.body["messages"][-1]["content"]


def test_with_tool_choice_none_no_call_is_run() -> None:
    play = Play(settings={"tool_choice": "none"}).start(attached(), *asks(READ))
    assert not play.all(OpenTicket)


# The round limit


def test_at_the_limit_the_model_answers_with_what_it_knows() -> None:
    play = Play(settings={"max_tool_call_rounds": 2}).start(attached())
    for _ in range(2):
        assert "tools" in play.body
        play.feed(*asks(READ))
        play.feed(play.status("resolved", ["A"]))
    assert "tools" not in play.body
    assert "2 tool call rounds" in play.body["messages"][-1]["content"]
    play.feed(*says("That is all I know."))
    assert play.finish().finish_reason == "stop"
    assert play.said == "That is all I know."


def test_a_model_that_asks_on_beyond_the_limit_is_stopped() -> None:
    play = Play(settings={"max_tool_call_rounds": 1}).start(attached(), *asks(READ))
    play.feed(play.status("resolved", ["A"]), *asks(READ))
    assert play.finish().finish_reason == "stop"
    assert play.said == NO_ANSWER == play.last(Record).request.text


def test_broken_calls_count_as_rounds_too() -> None:
    play = Play(settings={"max_tool_call_rounds": 3}).start(attached())
    for _ in range(3):
        play.feed(*asks(("fly", "{}")))
    assert "tools" not in play.body


# Waiting


def test_a_ticket_is_opened_and_waited_for_in_one_request() -> None:
    play = Play().start(attached(), *asks(READ))
    assert play.last(OpenTicket).seconds == 10
    assert [type(action) for action in play.feed(play.status("open"), after=10)] == [Heartbeat, PollTicket]
    short = Play(settings={"callback_wait_seconds": 4}).start(attached(), *asks(READ))
    assert short.last(OpenTicket).seconds == 4
    assert short.feed(short.status("open"), after=4) == [SuspendTicket("inv12345r0", "inv12345")]


def test_nobody_waits_where_dify_is_to_hear_first_that_the_text_is_complete_or_that_the_node_ends() -> None:
    assert not Play().start(attached(), Delta(text="Let me look."), *asks(READ)).last(OpenTicket).seconds
    assert Play(stream=False).start(attached(), Delta(text="Look."), *asks(READ)).last(OpenTicket).seconds == 10
    ends = Play(settings={"stop_after_tool_calls": True}).start(attached(), *asks(READ))
    assert not ends.last(OpenTicket).seconds


def test_a_wait_that_breaks_off_is_asked_for_again_for_as_long_as_is_left() -> None:
    play = Play(settings={"callback_wait_seconds": 12}).start(attached(), *asks(READ))
    play.feed(DOWN, after=8)
    play.feed(Woke(), after=1)
    assert play.last(OpenTicket).seconds == 3
    # The ticket may be there: the bridge has as long to come back as where it is asked to let go of one.
    for after in (3, 0, 0, 0, 0):
        pause = play.feed(DOWN, after=after)[-1]
        assert isinstance(pause, Pause)
        play.feed(Woke(), after=pause.seconds)
    assert not play.last(OpenTicket).seconds
    play.feed(play.status("open"), play.status("open"))
    assert isinstance(play.failure(), Suspended)


def test_after_callback_wait_seconds_the_invocation_lets_go() -> None:
    play = Play(settings={"callback_wait_seconds": 25}).start(attached(), *asks(READ))
    play.feed(play.status("open"))
    assert [poll.seconds for poll in play.all(PollTicket)] == [10]
    play.feed(play.status("open"), after=10)
    play.feed(play.status("open"), after=10)
    assert play.last(PollTicket).seconds == 5
    play.feed(play.status("open"), after=5)
    assert play.last(SuspendTicket).ticket_id == "inv12345r0"
    play.feed(play.status("open"))
    assert play.last(Record).request.error
    failure = play.failure()
    assert isinstance(failure, Suspended)
    assert "callback_wait_seconds" in str(failure)
    assert play.engine.close() is None


def test_results_that_come_as_the_wait_ends_are_not_lost() -> None:
    play = Play(settings={"callback_wait_seconds": 0}).start(attached(), *asks(READ))
    play.feed(play.status("open"))
    assert play.all(SuspendTicket)
    play.feed(play.status("resolved", ["A"]), *says("Done."))
    assert play.finish().finish_reason == "stop"


def test_the_time_limit_of_dify_ends_the_wait_too() -> None:
    play = Play(settings={"callback_wait_seconds": 5000}).start(attached(), *asks(READ))
    play.feed(play.status("open"))
    while not play.all(SuspendTicket):
        play.feed(play.status("open"), after=10)
    assert play.now <= 1000 + 570


def test_a_bridge_that_starts_again_does_not_cost_a_node_that_hardly_waits_its_round() -> None:
    play = Play(settings={"callback_wait_seconds": 0}).start(attached(), *asks(READ))

    def away() -> None:
        for _ in range(3):
            pause = play.feed(DOWN)[-1]
            assert isinstance(pause, Pause)
            play.feed(Woke(), after=pause.seconds)

    away()
    play.feed(play.status("open"))
    away()
    assert len(play.all(OpenTicket)) == len(play.all(SuspendTicket)) == 4
    play.feed(play.status("open"))
    assert isinstance(play.failure(), Suspended)


def test_a_bridge_that_goes_away_while_waiting_still_has_the_ticket() -> None:
    play = Play().start(attached(), *asks(READ))
    play.feed(play.status("open"))
    for _ in range(10):
        pause = play.feed(DOWN, after=1)[-1]
        assert isinstance(pause, Pause)
        play.feed(Woke(), after=pause.seconds)
    assert play.all(Heartbeat)
    play.feed(play.status("resolved", ["A"]), *says("Done."))
    assert play.finish()


def test_a_ticket_is_opened_again_until_the_bridge_has_it() -> None:
    play = Play().start(attached(), *asks(READ))
    play.feed(DOWN)
    play.feed(Woke(), after=1)
    first, second = play.all(OpenTicket)
    assert first == second
    play.feed(play.status("resolved", ["A"]))
    assert len(play.all(CallUpstream)) == 2


def test_a_ticket_that_the_bridge_refuses_is_an_error() -> None:
    play = Play().start(attached(), *asks(READ), BridgeFailed(Refused("no such run")))
    assert str(play.failure()) == "no such run"


def test_a_cancelled_ticket_ends_the_invocation() -> None:
    play = Play().start(attached(), *asks(READ))
    play.feed(play.status("cancelled", reason="the client went away"))
    failure = play.failure()
    assert isinstance(failure, Cancelled)
    assert "the client went away" in str(failure)


def test_an_expired_ticket_lets_the_model_answer_without_tools() -> None:
    play = Play().start(attached(), *asks(READ))
    play.feed(play.status("open"))
    play.feed(play.status("expired", reason="nobody came"))
    *_, answer, note = play.body["messages"]
    assert "nobody came" in answer["content"]
    assert note["content"] == EXPIRED_NOTE
    assert "tools" not in play.body
    play.feed(*says("I could not read it."))
    assert play.finish().finish_reason == "stop"


def test_a_bridge_that_is_away_when_it_is_time_to_let_go() -> None:
    play = Play(settings={"callback_wait_seconds": 0}).start(attached(), *asks(READ))
    play.feed(play.status("open"))
    while not play.engine.ended:
        *_, last = play.feed(DOWN)
        if isinstance(last, Pause):
            play.feed(Woke(), after=last.seconds)
    assert 15 < play.now - 1000 <= 30
    assert isinstance(play.failure(), Unreachable)


def test_an_invocation_that_could_not_ask_in_time_says_how_old_it_is() -> None:
    play = Play().start()
    assert play.last(Attach).request.age_seconds == 0
    pause = play.feed(DOWN, after=2)[-1]
    assert isinstance(pause, Pause)
    play.feed(Woke(), after=pause.seconds)
    assert play.last(Attach).request.age_seconds == 2 + pause.seconds
    play.feed(attached(), *says("Done."))
    assert play.finish().finish_reason == "stop"


# Replay


def done_round(output: str) -> Round:
    call = ToolCall(id="old" + output, name="read", arguments="{}")
    return Round(
        content="I look.",
        shown=f"<think>{output}</think>I look.",
        calls=[call],
        results=[ToolResult(tool_call_id=call.id, output=output)],
    )


def test_rounds_of_an_earlier_try_are_replayed_without_the_upstream() -> None:
    play = Play().start(attached(rounds=[done_round("1"), done_round("2")], tool_choice="required"))
    assert [m["role"] for m in play.body["messages"]] == ["system", "user", "assistant", "tool", "assistant", "tool"]
    assert len(play.all(CallUpstream)) == 1
    assert "tool_choice" not in play.body
    assert play.said == "<think>1</think>I look.<think>2</think>I look."
    play.feed(*asks(READ))
    assert (play.last(OpenTicket).request.round, play.last(OpenTicket).ticket_id) == (2, "inv12345r2")


def test_an_open_ticket_of_an_earlier_try_is_waited_for_at_once() -> None:
    call = ToolCall(id="oldcall", name="read", arguments="{}")
    play = Play().start(
        attached(open_ticket=TicketLeftOpen(ticket_id="before0", content="I look.", shown="I look. ", calls=[call]))
    )
    assert play.said == "I look. "
    assert play.last(PollTicket).ticket_id == "before0"
    assert not play.all(CallUpstream)
    result = ToolResult(tool_call_id="oldcall", output="A")
    play.feed(TicketReported(TicketStatus(ticket_id="before0", state="resolved", results=[result])))
    assert play.body["messages"][-2]["content"] == "I look."
    assert play.body["messages"][-1]["content"] == "A"


def test_an_answer_of_an_earlier_try_is_said_again() -> None:
    answer = Answer(text="Done.", finish_reason="length", usage=Usage(prompt_tokens=7, completion_tokens=3))
    play = Play().start(attached(answer=answer, rounds=[done_round("1")]))
    assert [type(action) for action in play.acts] == [Attach, Say, Finish]
    assert play.said == "<think>1</think>I look.Done."
    assert (play.last(Finish).finish_reason, play.last(Finish).usage) == ("length", answer.usage)


# The upstream fails


def test_what_may_pass_is_tried_again() -> None:
    play = Play(callbacks=False).start(CUT, Woke(), CUT, Woke(), *says("Here."))
    assert play.said == "Here."
    assert [pause.seconds for pause in play.all(Pause)] == [0.5, 1.0]


def test_a_cut_after_calls_alone_is_tried_again_without_the_first_half() -> None:
    play = Play().start(attached(), call_delta(0, "read", "", "x"), CUT, Woke(), *asks(("exec", "{}")))
    assert [call.name for call in play.calls] == ["exec"]


def test_text_is_never_said_twice() -> None:
    play = Play(callbacks=False).start(Delta(text="Half"), CUT)
    assert isinstance(play.failure(), Unreachable)
    assert len(play.all(CallUpstream)) == 1


def test_without_streaming_half_an_answer_is_asked_for_again() -> None:
    play = Play(callbacks=False, stream=False).start(Delta(text="Half"), CUT, Woke(), *says("Whole."))
    assert play.said == "Whole."


def test_tries_have_an_end() -> None:
    play = Play(callbacks=False).start(*[CUT, Woke()] * 3, CUT)
    assert isinstance(play.failure(), Unreachable)
    assert len(play.all(CallUpstream)) == 4


def test_retry_after_is_obeyed() -> None:
    limited = UpstreamFailed(RateLimited("slow down"), transient=True, retry_after=20)
    play = Play(callbacks=False).start(limited)
    assert play.last(Pause).seconds == 20


def test_a_retry_after_that_is_too_long_is_an_error_at_once() -> None:
    limited = UpstreamFailed(RateLimited("slow down"), transient=True, retry_after=3600)
    assert isinstance(Play(callbacks=False).start(limited).failure(), RateLimited)


@pytest.mark.parametrize("error", [Refused("no"), Unauthorized("key"), ContextTooLong("context_length_exceeded")])
def test_what_does_not_pass_is_not_tried_again(error: ProviderError) -> None:
    play = Play().start(attached(), UpstreamFailed(error))
    assert play.last(Record).request.error == str(error)
    assert play.failure() is error


def test_an_answer_beyond_dify_s_time_limit_says_which_setting_to_raise() -> None:
    play = Play(callbacks=False).start()
    play.feed(Delta(text="a"))
    play.feed(Delta(text="b"), after=598)
    failure = play.failure()
    assert isinstance(failure, Unavailable)
    assert "PLUGIN_MAX_EXECUTION_TIMEOUT" in str(failure)


# The end


@pytest.mark.parametrize("state", ["open", None])
def test_closing_the_invocation_cancels_its_open_ticket(state: Any) -> None:
    play = Play().start(attached(), *asks(READ))
    if state:
        play.feed(play.status(state))
    parting = play.engine.close()
    assert isinstance(parting, CancelTicket)
    assert parting.ticket_id == "inv12345r0"
    assert play.engine.close() is None


def test_closing_an_invocation_without_a_ticket_tells_nobody() -> None:
    assert Play().start(attached()).engine.close() is None


def test_a_record_that_the_bridge_did_not_take_changes_nothing() -> None:
    play = Play().start(attached(), *says("Done."))
    play.feed(Recorded())
    assert play.engine.ended
    assert play.all(Finish)
    assert not play.all(Fail)


# However the stream is cut


@given(st.data())
def test_text_and_calls_do_not_depend_on_how_the_stream_is_cut(data: st.DataObject) -> None:
    text = data.draw(st.text(max_size=20))
    arguments = [
        json.dumps(data.draw(st.dictionaries(st.text(max_size=3), st.text(max_size=6), max_size=2))) for _ in range(2)
    ]
    deltas = [Delta(text=piece) for piece in pieces(data, text)]
    streams = [
        [call_delta(i, name, "", f"u{i}"), *(call_delta(i, "", piece) for piece in pieces(data, arguments[i]))]
        for i, name in enumerate(["read", "exec"])
    ]
    deltas += interleaved(data, streams)
    play = Play().start(attached(), *deltas, Completed("tool_calls"))
    assert play.said == text
    assert [(call.name, call.arguments) for call in play.calls] == [("read", arguments[0]), ("exec", arguments[1])]


def pieces(data: st.DataObject, text: str) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def interleaved(data: st.DataObject, streams: list[list[Delta]]) -> list[Delta]:
    mixed: list[Delta] = [streams[0].pop(0)]
    while any(streams):
        mixed.append(data.draw(st.sampled_from([stream for stream in streams if stream])).pop(0))
    return mixed


# What the bridge is told of model calls


NO_PRICES = (Decimal(0), Decimal(0), "")


def asked(*messages: Message, tools: Sequence[str] = (), error: str | None = None) -> Asked:
    body: dict[str, Any] = {"model": "up", "messages": list(messages)}
    return Asked(body | ({"tools": list(tools)} if tools else {}), 1.0, error)


def test_a_message_and_a_tool_are_told_once() -> None:
    calls = ModelCalls(NO_PRICES)
    calls.whole = True
    one, two, three = ({"role": "user", "content": text} for text in ("one", "two", "three"))
    calls.add([asked(one, two, tools=["read"], error="busy"), asked(one, two, tools=["read"])], 0, 5.0)
    calls.add([asked(one, two, three, tools=["read"])], 1, 7.0, Usage(prompt_tokens=3), "stop")
    first, again, last = calls.take(9.0)
    assert [(each.number, each.round, each.ago, each.before) for each in (first, again, last)] == [
        (0, 0, 4.0, 0),
        (1, 0, 4.0, 2),
        (2, 1, 2.0, 2),
    ]
    assert first.request == {"model": "up", "messages": [one, two], "tools": ["read"]}
    assert again.request == {"model": "up", "messages": []}
    assert last.request == {"model": "up", "messages": [three]}
    assert (first.error, first.finish_reason, last.finish_reason) == ("busy", "", "stop")
    assert calls.take(10.0) == []


def test_a_call_is_told_with_its_price() -> None:
    calls = ModelCalls((Decimal("0.25"), Decimal(2), "CNY"))
    calls.add([asked(error="busy"), asked()], 0, 0.0, Usage(prompt_tokens=1_000, completion_tokens=10), "stop")
    calls.add([asked(error="busy")], 1, 0.0)
    assert [call.price for call in calls.take(0.0)] == ["", "0.00027 CNY", ""]
    free = ModelCalls(NO_PRICES)
    free.add([asked()], 0, 0.0, Usage(prompt_tokens=1_000), "stop")
    assert [call.price for call in free.take(0.0)] == [""]


def test_what_a_call_held_is_told_where_it_is_wanted_and_is_not_endless() -> None:
    quiet, calls = ModelCalls(NO_PRICES), ModelCalls(NO_PRICES)
    calls.whole = True
    long = {"role": "user", "content": "x" * MOST_CHARACTERS}
    short = {"role": "user", "content": "short"}
    for each in (quiet, calls):
        each.add([asked(long, short)], 0, 0.0)
    assert [call.request for call in quiet.take(0.0)] == [None]
    [told] = calls.take(0.0)
    assert (told.before, told.request) == (1, {"model": "up", "messages": [short]})


def test_a_ticket_tells_of_the_calls_that_led_to_it() -> None:
    play = Play().start(attached(shown=True))
    *deltas, completed = asks(("read", "{}"))
    assert isinstance(completed, Completed)
    play.feed(*deltas, replace(completed, asked=[asked({"role": "user", "content": "Do it."})]))
    [told] = play.last(OpenTicket).request.model_calls
    assert (told.number, told.finish_reason) == (0, "tool_calls")
    assert told.usage == Usage(prompt_tokens=10, completion_tokens=5)
    assert told.request
