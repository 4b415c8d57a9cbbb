"""A message of Anthropic's API, whole and event by event."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from bridge.api.anthropic.messages_response import MessageTeller, Told
from bridge.api.anthropic.messages_routes import AnthropicMessage, MessageEvent
from bridge.api.anthropic.wording import error_body, headers_of, in_their_words, status_of
from bridge.errors import (
    BridgeError,
    Conflict,
    ContextTooLong,
    Gone,
    Internal,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnprocessableRun,
)
from bridge.runs.segments import Calls, Draft, End, Event, Failure, Reasoning, Text
from tools.calls import ToolCall
from tools.wire import Usage

END = End("stop", Usage(prompt_tokens=7, completion_tokens=3))
CALLED = End("tool_calls", Usage(prompt_tokens=7, completion_tokens=3))
A = ToolCall(id="a", name="read", arguments='{"p": 1}')
B = ToolCall(id="b", name="read", arguments="{}")


def teller(*, thinking: bool = False, note: str | None = None) -> MessageTeller:
    return MessageTeller(Told("claude-x", "run", 1, 7, 1000, thinking, note))


def told(*events: Event | None, **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the events of the stream and the whole, each checked against its schema."""
    told_by = teller(**options)
    stream = [*told_by.begin()]
    for event in events:
        stream += told_by.keepalive() if event is None else told_by.tell(event)
    for event_told in stream:
        TypeAdapter(MessageEvent).validate_python(event_told)
    whole = told_by.message()
    AnthropicMessage.model_validate(whole, strict=True)
    return stream, whole


def put_together(stream: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the blocks as Anthropic's SDK puts them together: each is closed before the next begins."""
    blocks: list[dict[str, Any]] = []
    arguments: dict[int, str] = {}
    is_open = False
    for event in stream:
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(blocks)
                is_open = True
                blocks.append(dict(event["content_block"]))
            case "content_block_delta":
                assert is_open
                delta, block = dict(event["delta"]), blocks[event["index"]]
                match delta.pop("type"):
                    case "input_json_delta":
                        arguments[event["index"]] = arguments.get(event["index"], "") + delta["partial_json"]
                    case _:
                        (name, piece), *_ = delta.items()
                        block[name] += piece
            case "content_block_stop":
                assert is_open
                is_open = False
    assert not is_open
    for index, text in arguments.items():
        blocks[index]["input"] = TypeAdapter(dict[str, Any]).validate_json(text or "{}")
    return blocks


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": {"p": 1} if call is A else {}}


DRAFT = Draft("a", "read", '{"p"')
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "run.1"}


@pytest.mark.parametrize(
    ("events", "content", "stop_reason"),
    [
        ([Text("Hel"), Text("lo"), END], [text("Hello")], "end_turn"),
        ([Text("x"), End("length", Usage())], [text("x")], "max_tokens"),
        ([Text("x"), End("content_filter", Usage())], [text("x")], "refusal"),
        ([Text("x"), Calls((A, B)), CALLED], [text("x"), use(A), use(B)], "tool_use"),
        ([Calls((B,)), CALLED], [use(B)], "tool_use"),
        ([DRAFT, Calls((A, B)), CALLED], [use(A), use(B)], "tool_use"),
        ([DRAFT, Calls((B, A)), CALLED], [use(A), use(B)], "tool_use"),
        ([DRAFT, Draft("b", "read", "{}"), Calls((A, B)), CALLED], [use(A), use(B)], "tool_use"),
        ([DRAFT, Text("late"), Calls((A,)), CALLED], [use(A), text("late")], "tool_use"),
        ([Text("x"), DRAFT, Text("y"), Calls((A,)), CALLED], [text("xy"), use(A)], "tool_use"),
        ([None, None, Text("x"), END], [text("x")], "end_turn"),
        ([None, DRAFT, None, Calls((A,)), CALLED], [text(""), use(A)], "tool_use"),
        ([Reasoning("hm"), Text("x"), END], [text("x")], "end_turn"),
    ],
)
def test_the_stream_and_the_whole_say_the_same(events: Any, content: Any, stop_reason: str) -> None:
    stream, whole = told(*events)
    assert put_together(stream) == whole["content"] == content
    assert whole["stop_reason"] == stop_reason
    assert [event["type"] for event in stream[-2:]] == ["message_delta", "message_stop"]
    assert stream[-2]["delta"]["stop_reason"] == stop_reason
    assert stream[-2]["usage"] == whole["usage"]


def test_thinking_is_told_where_it_was_asked_for_and_signed() -> None:
    stream, whole = told(Reasoning("h"), Reasoning("m"), Text("x"), END, thinking=True)
    assert put_together(stream) == whole["content"] == [THOUGHT, text("x")]


def test_no_call_is_whole_before_its_ticket_is_there() -> None:
    stream, _ = told(DRAFT, Draft("a", "read", ": 1}"), Text("x"), None)
    assert "content_block_stop" not in [event["type"] for event in stream]


@pytest.mark.parametrize("before", [Text("x"), None])
def test_no_block_has_ended_while_a_call_may_still_break(before: Event | None) -> None:
    stream, _ = told(before, DRAFT, None)
    assert "content_block_stop" not in [event["type"] for event in stream]


def test_silence_is_told_as_content() -> None:
    stream, _ = told(None, Text("x"), None)
    deltas = [event["delta"] for event in stream if event["type"] == "content_block_delta"]
    assert deltas == [{"type": "text_delta", "text": piece} for piece in ("", "x", "")]


def test_the_same_message_has_the_same_id() -> None:
    assert told(END)[1]["id"] == told(Text("x"), END)[1]["id"] == told(END)[0][0]["message"]["id"]


def test_what_was_odd_is_noted() -> None:
    _, whole = told(Text("x"), End("stop", Usage(), "no node asked"), note="left out: web_search")
    assert whole["clawback"]["note"] == "left out: web_search; no node asked"


def test_a_failure_ends_the_stream() -> None:
    stream, _ = told(Text("x"), Failure(Unavailable("busy", retry_after=3)))
    assert stream[-1]["error"] == {
        "type": "overloaded_error",
        "message": "busy",
        "details": {"error_code": "unavailable"},
    }


@pytest.mark.parametrize(
    ("error", "status", "kind", "again"),
    [
        (Unauthorized("x"), 401, "authentication_error", False),
        (NotFound("x"), 404, "not_found_error", False),
        (TooLarge("x"), 413, "request_too_large", False),
        (UnprocessableRun("x"), 422, "invalid_request_error", False),
        (Conflict("x"), 400, "invalid_request_error", False),
        (Gone("x"), 410, "invalid_request_error", False),
        (Gone("x", code="run_moved"), 529, "overloaded_error", True),
        (TooManyRequests("x", retry_after=4), 429, "rate_limit_error", True),
        (Unavailable("x", retry_after=4), 529, "overloaded_error", True),
        (Internal("x"), 500, "api_error", True),
    ],
)
def test_each_error_says_what_helps(error: BridgeError, status: int, kind: str, again: bool) -> None:
    assert (status_of(error), error_body(error)["error"]["type"]) == (status, kind)
    assert ("x-should-retry" not in headers_of(error)) is again
    assert headers_of(error).get("Retry-After") == ("4" if error.retry_after else None)


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        ("maximum context length is 8,192 tokens. However, you requested 9000 (7000 to read)", "9000 tokens > 8192"),
        ("The context of gpt-4-0613 is 8192; this prompt has 9000.", "9000 tokens > 8192 maximum"),
        ("context_length_exceeded", "1500 tokens > 1000 maximum"),
        ("too long: 9000 tokens", "1500 tokens > 1000 maximum"),
    ],
)
def test_a_prompt_that_is_too_long_is_told_in_the_words_that_make_it_compact(said: str, numbers: str) -> None:
    assert in_their_words(ContextTooLong(said), 1500, 1000).message.startswith(f"prompt is too long: {numbers}")


def test_a_prompt_that_the_estimate_has_too_small_is_still_too_long() -> None:
    assert "1001 tokens > 1000 maximum" in in_their_words(ContextTooLong("x"), 10, 1000).message
