"""It streams like the real thing."""

import json
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.demo.scripted.conversation import TOOLS, after, user

SCRIPT = user(
    "!say Let me look at both, which takes a sentence that is longer than one delta.",
    '!call exec {"command": "echo one two three four five six seven eight nine ten"}',
    '!call write {"path": "notes/today.txt", "content": "a line\\nand the next, with ünicode ✓ and \\"quotes\\""}',
)


def chunks(http: httpx.Client, messages: list[Any], **fields: Any) -> list[dict[str, Any]]:
    body = {"model": "scripted", "messages": messages, "tools": TOOLS, "stream": True} | fields
    with http.stream("POST", "/chat/completions", json=body) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def deltas(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["choices"][0]["delta"] for event in events if event["choices"]]


def test_role_first_then_text_then_calls_then_the_reason(http: httpx.Client) -> None:
    events = chunks(http, [SCRIPT])
    first, *middle, last = deltas(events)
    assert first == {"role": "assistant", "content": "", "refusal": None}
    kinds = ["content" if "content" in delta else "tool_calls" for delta in middle]
    assert kinds == sorted(kinds)
    assert last == {}
    reasons = [event["choices"][0]["finish_reason"] for event in events]
    assert reasons == [None] * (len(events) - 1) + ["tool_calls"]
    assert len({event["id"] for event in events}) == 1
    assert {event["object"] for event in events} == {"chat.completion.chunk"}


def test_parallel_calls_are_interleaved_and_name_themselves_once(http: httpx.Client) -> None:
    parts = [part for delta in deltas(chunks(http, [SCRIPT])) for part in delta.get("tool_calls", ())]
    order = [part["index"] for part in parts]
    assert order != sorted(order)
    for index, name in enumerate(["exec", "write"]):
        head, *rest = [part for part in parts if part["index"] == index]
        assert head["id"].startswith("call_")
        assert (head["type"], head["function"]) == ("function", {"name": name, "arguments": ""})
        assert len(rest) > 3
        assert all(part.keys() == {"index", "function"} and part["function"].keys() == {"arguments"} for part in rest)
        arguments = "".join(part["function"]["arguments"] for part in rest)
        assert arguments in SCRIPT["content"]
        assert json.loads(arguments)


def test_a_call_without_text_starts_with_null_content(http: httpx.Client) -> None:
    assert deltas(chunks(http, [user("!call exec")]))[0]["content"] is None


def test_the_deltas_are_the_same_every_time(http: httpx.Client) -> None:
    first, second = (
        [delta["content"] for delta in deltas(chunks(http, [user("!say " + "word " * 50)]))[1:-1]] for _ in range(2)
    )
    assert first == second
    assert len({len(delta) for delta in first}) > 2


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_the_size_of_a_delta_can_be_told(http: httpx.Client, size: int) -> None:
    text = "Grüße, 世界! 👋 and so on"
    parts = deltas(chunks(http, [user(f"!delta {size}", f"!say {text}", "!call exec")]))
    said = [part["content"] for part in parts if part.get("content")]
    assert said == [text[at : at + size] for at in range(0, len(text), size)]
    arguments = [part["function"]["arguments"] for delta in parts for part in delta.get("tool_calls", ())]
    assert "".join(arguments) == "{}"


def test_large_arguments_arrive_in_few_hundred_deltas(http: httpx.Client) -> None:
    content = "z" * 300_000
    events = deltas(chunks(http, [user(f'!call write {{"path": "x", "content": "{content}"}}')]))
    arguments = "".join(part["function"]["arguments"] for delta in events for part in delta.get("tool_calls", ()))
    assert json.loads(arguments)["content"] == content
    assert len(events) < 400


def test_usage_comes_last_and_only_when_asked_for(http: httpx.Client) -> None:
    *events, last = chunks(http, [SCRIPT], stream_options={"include_usage": True})
    assert last["choices"] == []
    usage = last["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] > 100
    assert usage["completion_tokens"] > 30
    assert all(event["usage"] is None for event in events)
    assert all("usage" not in event for event in chunks(http, [SCRIPT]))


def test_stream_and_body_say_the_same(http: httpx.Client) -> None:
    body = {"model": "scripted", "messages": [SCRIPT], "tools": TOOLS}
    whole = http.post("/chat/completions", json=body).json()
    message = whole["choices"][0]["message"]
    *events, last = chunks(http, [SCRIPT], stream_options={"include_usage": True})
    assert "".join(delta.get("content") or "" for delta in deltas(events)) == message["content"]
    for index, call in enumerate(message["tool_calls"]):
        parts = [part for delta in deltas(events) for part in delta.get("tool_calls", ()) if part["index"] == index]
        assert "".join(part["function"]["arguments"] for part in parts) == call["function"]["arguments"]
    assert last["usage"] == whole["usage"]


def test_the_reasoning_model_thinks_first(http: httpx.Client) -> None:
    parts = deltas(chunks(http, [user("!say out")], model="scripted-reasoning", tools=None))[1:-1]
    fields = [next(iter(part)) for part in parts]
    assert fields[0] == "reasoning_content"
    assert fields == sorted(fields, reverse=True)
    whole = http.post("/chat/completions", json={"model": "scripted-reasoning", "messages": [user("!say out")]}).json()
    message = whole["choices"][0]["message"]
    assert "".join(part.get("reasoning_content", "") for part in parts) == message["reasoning_content"]
    assert message["content"] == "out"
    assert whole["usage"]["completion_tokens_details"]["reasoning_tokens"] > 10


def test_the_sdk_reads_it(openai: OpenAI) -> None:
    with openai.chat.completions.stream(
        model="scripted",
        messages=[{"role": "user", "content": SCRIPT["content"]}],
        tools=TOOLS,  # type: ignore[arg-type]
        stream_options={"include_usage": True},
    ) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls
    assert [call.function.name for call in calls] == ["exec", "write"]
    assert json.loads(calls[1].function.arguments)["path"] == "notes/today.txt"
    assert final.usage


def read_until_cut(http: httpx.Client, body: dict[str, Any]) -> str:
    received = b""
    with http.stream("POST", "/chat/completions", json=body) as answer:
        try:
            for part in answer.iter_raw():
                received += part
        except httpx.RemoteProtocolError:
            return received.decode()
    pytest.fail("the connection was not cut")


@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_drops_the_connection_midway_once(http: httpx.Client, stream: bool, log: Any) -> None:
    script = user("!cut", "!say " + "0123456789" * 5)
    body = {"model": "scripted", "messages": [script], "stream": stream}
    received = read_until_cut(http, body)
    assert received
    if stream:
        events = [json.loads(line[6:]) for line in received.splitlines() if line]
        assert "".join(delta.get("content", "") for delta in deltas(events)) == "0123456789" * 2 + "01234"
    assert http.post("/chat/completions", json=body).status_code == 200
    assert [entry["state"] for entry in log()] == ["cut", "done"]


def test_a_cut_falls_where_it_stands(http: httpx.Client) -> None:
    body = {"model": "scripted", "messages": [user("!delta 100", "!say before", "!cut", "!say after")], "stream": True}
    received = read_until_cut(http, body)
    assert "before" in received
    assert "after" not in received
    assert '"finish_reason":"stop"' not in received


def test_an_error_after_text_is_an_event_of_the_stream(http: httpx.Client) -> None:
    body = {"model": "scripted", "messages": [user("!say before", "!error 500", "!say after")], "stream": True}
    with http.stream("POST", "/chat/completions", json=body) as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line]
    assert answer.status_code == 200
    assert events[-1]["error"]["type"] == "server_error"
    assert chunks(http, [user("!say before", "!error 500", "!say after")])


def test_pauses_stand_where_they_are_written(http: httpx.Client, log: Any) -> None:
    script = user("!sleep 0.2", "!say one", "!sleep 0.3", "!call exec")
    assert chunks(http, [script])
    assert log()[-1]["seconds"] >= 0.5
    http.post("/chat/completions", json={"model": "scripted", "messages": [script], "tools": TOOLS})
    assert log()[-1]["seconds"] >= 0.5


def test_cut_and_error_within_a_later_round(http: httpx.Client) -> None:
    script = user("!call exec", "!then", "!error 500", "!cut", "!say end")
    body = {"model": "scripted", "messages": after(script, "x"), "tools": TOOLS}
    assert http.post("/chat/completions", json=body).status_code == 500
    with pytest.raises(httpx.RemoteProtocolError):
        http.post("/chat/completions", json=body)
    assert http.post("/chat/completions", json=body).json()["choices"][0]["message"]["content"] == "end"
