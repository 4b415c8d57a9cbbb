"""Anthropic's Messages API before the real parts: the same runs and tickets, in another language."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from demo.stack import Stack
from tests.e2e.conftest import MakeStack, call, runs_that_hold, upstream_log, workflow_runs

READ = {"name": "Read", "description": "Read.", "input_schema": {"type": "object", "properties": {"path": {}}}}
BASH = {"name": "Bash", "description": "Run.", "input_schema": {"type": "object", "properties": {"command": {}}}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAF0lEQVR4nGP4z8BAEiJN9aiGUQ1DSgMAkPn/Afnh+ngAAAAASUVORK5CYII="
REMINDER = "<system-reminder>a file has changed</system-reminder>"

Body = dict[str, Any]


class Talk:
    """A client that keeps its transcript, in a session of its own."""

    def __init__(self, stack: Stack, model: str = "minimal", agent: str | None = None, session: str = "") -> None:
        self.stack = stack
        self.session = session or str(uuid4())
        self.headers = {"x-api-key": stack.client_token, "X-Claude-Code-Session-Id": self.session}
        if agent:
            self.headers["x-claude-code-agent-id"] = agent
        self.body: Body = {"model": model, "max_tokens": 1000, "messages": [], "tools": [READ, BASH]}

    def says(self, *content: Any) -> "Talk":
        """Add words of the user, or results."""
        self.body["messages"].append(
            {"role": "user", "content": content[0] if isinstance(content[0], str) else list(content)}
        )
        return self

    def ask(self, **fields: Any) -> httpx.Response:
        """Ask without a stream, and keep the answer."""
        answer = httpx.post(self._url, json=self.body | fields, headers=self.headers, timeout=60)
        if answer.status_code == 200:
            self.keep(answer.json()["content"])
        return answer

    def keep(self, content: Sequence[Body]) -> None:
        """Keep what the model said."""
        self.body["messages"].append({"role": "assistant", "content": list(content)})

    @contextmanager
    def stream(self, **fields: Any) -> Iterator[Iterator[Body]]:
        """Ask for a stream."""
        body = self.body | {"stream": True} | fields
        with httpx.stream("POST", self._url, json=body, headers=self.headers, timeout=60) as answer:
            yield events_of(answer)

    @property
    def _url(self) -> str:
        return f"{self.stack.bridge_url}/v1/messages?beta=true"


def events_of(answer: httpx.Response) -> Iterator[Body]:
    name = ""
    for line in answer.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            event = json.loads(value)
            assert event["type"] == name
            yield event


def calls_of(message: Body) -> list[Body]:
    return [block for block in message["content"] if block["type"] == "tool_use"]


def text_of(message: Body) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


def result(made: Body, content: Any, **more: Any) -> Body:
    return {"type": "tool_result", "tool_use_id": made["id"], "content": content, **more}


def users(stack: Stack, text: str) -> list[str]:
    """Return the Dify users of the runs whose request holds this text, in their order."""
    return [run.dify_user for run in runs_that_hold(stack, text)]


def test_three_rounds_are_one_workflow_run(stack: Stack) -> None:
    talk = Talk(stack).says("\n".join([
        "Three rounds.", call("Read", path="a"), call("Bash", command="b"), "!then", call("Read", path="c"), "!then",
        call("Bash", command="d"), "!then", "!say all done",
    ]))  # fmt: skip
    first = talk.ask()
    one, two = calls_of(first.json())
    assert (one["name"], one["input"], two["input"]) == ("Read", {"path": "a"}, {"command": "b"})
    assert first.json()["stop_reason"] == "tool_use"
    talk.says(result(two, "quick", is_error=True), result(one, [{"type": "text", "text": "slow"}]))
    second = talk.ask().json()
    talk.says(result(calls_of(second)[0], "c", cache_control={"type": "ephemeral"}))
    third = talk.ask().json()
    talk.says(result(calls_of(third)[0], "d"))
    last = talk.ask().json()
    assert (text_of(last), last["stop_reason"]) == ("all done", "end_turn")
    assert len(workflow_runs(stack, first.headers["X-Clawback-Run"])) == 1
    seen = upstream_log(stack, "Three rounds.")[-1]["request"]["messages"]
    assert [m["content"] for m in seen if m["role"] == "tool"] == ["slow", "Error: quick", "c", "d"]


def test_the_model_sees_the_images_of_a_result(stack: Stack) -> None:
    talk = Talk(stack).says(f"Look at it.\n{call('Read', path='red.png')}\n!then\n!say red")
    made = calls_of(talk.ask().json())[0]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    talk.says(result(made, [image]), {"type": "text", "text": "and go on"})
    assert text_of(talk.ask().json()) == "red"
    seen = json.dumps(upstream_log(stack, "Look at it.")[-1]["request"]["messages"])
    assert PIXEL in seen
    assert "and go on" in seen


def test_arguments_are_streamed_and_the_call_ends_with_its_ticket(stack: Stack) -> None:
    talk = Talk(stack).says(f"Stream it.\n!say before\n{call('Bash', command='echo ' + 'x' * 200)}\n!then\n!say done")
    with talk.stream() as events:
        told = list(events)
    kinds = [event["type"] for event in told]
    assert kinds[:2] == ["message_start", "ping"]
    assert kinds[-2:] == ["message_delta", "message_stop"]
    pieces = [event["delta"].get("partial_json", "") for event in told if event["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == {"command": "echo " + "x" * 200}
    assert told[-2]["usage"]["input_tokens"] > 0
    started = [event["content_block"] for event in told if event["type"] == "content_block_start"]
    made = next(block for block in started if block["type"] == "tool_use")
    talk.keep([made | {"input": json.loads("".join(pieces))}])
    talk.says(result(made, "ok"))
    assert text_of(talk.ask().json()) == "done"


def test_silence_holds_the_stream_with_content(stack: Stack) -> None:
    talk = Talk(stack).says("Be slow.\n!sleep 3.5\n!say at last")
    with talk.stream() as events:
        deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert deltas[0] == {"type": "text_delta", "text": ""}
    assert "".join(delta["text"] for delta in deltas) == "at last"


def test_a_cut_stream_that_is_repeated_without_stream_joins_the_run(stack: Stack) -> None:
    talk = Talk(stack).says(
        {"type": "text", "text": "Cut me.\n!sleep 4\n!say once", "cache_control": {"type": "ephemeral"}}
    )
    with talk.stream() as events:
        first = next(events)
    answer = talk.ask()
    assert text_of(answer.json()) == "once"
    assert answer.json()["id"] == first["message"]["id"]
    assert len(workflow_runs(stack, answer.headers["X-Clawback-Run"])) == 1
    assert len(upstream_log(stack, "Cut me.")) == 1


def test_a_cut_behind_results_joins_as_well(stack: Stack) -> None:
    talk = Talk(stack).says(f"Cut me later.\n{call('Read', path='a')}\n!then\n!sleep 4\n!say twice")
    talk.says(result(calls_of(talk.ask().json())[0], "a"))
    with talk.stream() as events:
        next(events)
    answer = talk.ask()
    assert text_of(answer.json()) == "twice"
    assert len(workflow_runs(stack, answer.headers["X-Clawback-Run"])) == 1


def test_what_fails_for_good_amid_its_stream_is_told_once_more_and_not_run_again(stack: Stack) -> None:
    talk = Talk(stack).says("Fail late.\n!say part\n!sleep 3\n!error 401 times 9")
    with talk.stream() as events:
        failed = list(events)[-1]["error"]
    refused = talk.ask()
    assert (refused.status_code, refused.json()["error"]) == (422, failed)
    assert len(users(stack, "Fail late.")) == 1
    # A person who tries the same once more is not told an old failure.
    assert talk.ask().status_code == 422
    assert len(users(stack, "Fail late.")) == 2


def test_calls_behind_a_cut_are_told_once_more(stack: Stack) -> None:
    talk = Talk(stack).says(
        "\n".join(["Cut between.", *(call("Read", path=path) for path in "abc"), "!then", "!say all three"])
    )
    made = calls_of(talk.ask().json())
    # Claude Code runs the call that was whole before the cut, and knows of no other.
    talk.body["messages"].pop()
    for position, call_made in enumerate(made):
        talk.keep([call_made])
        talk.says(result(call_made, call_made["input"]["path"]), {"type": "text", "text": REMINDER})
        answer = talk.ask().json()
        talk.body["messages"].pop()
        assert calls_of(answer) == made[position + 1 : position + 2]
    assert text_of(answer) == "all three"
    seen = upstream_log(stack, "Cut between.")[-1]["request"]["messages"]
    assert [m["content"] for m in seen if m["role"] == "tool"] == ["a", "b", "c"]


@pytest.mark.parametrize("written", ["pairs", "without the calls", "before their calls"])
def test_a_round_is_found_however_it_is_written(written: str, stack: Stack) -> None:
    talk = Talk(stack).says(
        f"Written: {written}.\n{call('Read', path='a')}\n{call('Read', path='b')}\n!then\n!say both"
    )
    one, two = calls_of(talk.ask().json())
    asked, _ = talk.body["messages"]
    first = {"role": "assistant", "content": [one]}, {"role": "user", "content": [result(one, "A")]}
    second = {"role": "assistant", "content": [two]}, {"role": "user", "content": [result(two, "B")]}
    talk.body["messages"] = {
        "pairs": [asked, *first, *second],
        "without the calls": [asked, first[1], second[1]],
        "before their calls": [asked, second[1], first[1], first[0], second[0]],
    }[written]
    answer = talk.ask()
    assert text_of(answer.json()) == "both"
    seen = upstream_log(stack, f"Written: {written}.")[-1]["request"]["messages"]
    assert [m["content"] for m in seen if m["role"] == "tool"] == ["A", "B"]
    assert len(workflow_runs(stack, answer.headers["X-Clawback-Run"])) == 1


def test_words_behind_some_of_the_results_begin_a_new_turn(stack: Stack) -> None:
    talk = Talk(stack).says(f"Move on.\n{call('Read', path='a')}\n{call('Read', path='b')}\n!then\n!say both")
    one, _ = calls_of(talk.ask().json())
    talk.says(result(one, "A"), {"type": "text", "text": "Never mind.\n!say as you like"})
    assert text_of(talk.ask().json()) == "as you like"


def test_results_that_are_missing_are_named_in_the_words_of_this_language(stack: Stack) -> None:
    talk = Talk(stack).says(f"Half a round.\n{call('Read', path='a')}\n{call('Read', path='b')}\n!then\n!say both")
    one, two = calls_of(talk.ask().json())
    refused = talk.says(result(one, "A")).ask().json()["error"]
    assert refused["details"] == {"error_code": "missing_tool_results", "param": "messages"}
    assert all(word in refused["message"] for word in ("tool_use", "tool_result", two["id"]))
    assert "tool_call" not in refused["message"]
    talk.body["messages"][-1]["content"].append(result(two, "B"))
    assert text_of(talk.ask().json()) == "both"


def test_another_result_is_refused_in_the_words_of_this_language_and_new_words_go_on(stack: Stack) -> None:
    talk = Talk(stack).says(f"Two tabs.\n{call('Read', path='a')}\n!then\n!say first")
    [asked] = calls_of(talk.ask().json())
    before = len(talk.body["messages"])
    assert text_of(talk.says(result(asked, "A")).ask().json()) == "first"
    del talk.body["messages"][before:]
    refused = talk.says(result(asked, "B")).ask().json()["error"]
    assert refused["details"] == {"error_code": "result_conflict", "param": "messages"}
    assert "in the tool_result block with that tool_use_id, or go on with a new user message" in refused["message"]
    assert text_of(talk.says("Are you there?\n!say yes").ask().json()) == "yes"


def test_what_the_session_has_beside_its_turns_leaves_its_conversation_alone(stack: Stack) -> None:
    talk = Talk(stack).says("Main one.\n!say first")
    assert talk.ask().status_code == 200
    for beside, fields in (
        (Talk(stack, session=talk.session).says("Title of main."), {"tools": []}),
        (Talk(stack, session=talk.session).says("Probe of main."), {"max_tokens": 1}),
        (Talk(stack, session=talk.session, agent="a1").says("Agent of main."), {"model": "minimal"}),
    ):
        assert beside.ask(**fields).status_code == 200
    talk.says("Main two.\n!say second")
    assert text_of(talk.ask().json()) == "second"
    first, second = users(stack, "Main one.")
    assert first == second
    others = [users(stack, text)[0] for text in ("Title of main.", "Probe of main.", "Agent of main.")]
    assert len({first, *others}) == 4


def test_a_client_without_a_session_is_known_by_its_transcript(stack: Stack) -> None:
    talk = Talk(stack).says("Plain one.\n!say <think>so so</think>This is the first answer.")
    talk.headers.pop("X-Claude-Code-Session-Id")
    first = talk.ask(thinking={"type": "adaptive"}).json()
    assert [block["type"] for block in first["content"]] == ["thinking", "text"]
    assert (first["content"][0]["thinking"], bool(first["content"][0]["signature"])) == ("so so", True)
    talk.body["messages"][-1]["content"][0]["signature"] = ""
    talk.body["messages"][0]["content"] = [{"type": "text", "text": talk.body["messages"][0]["content"]}]
    talk.says("Plain two.\n!say second")
    assert text_of(talk.ask().json()) == "second"
    one, two = users(stack, "Plain one.")
    assert one == two
    seen = upstream_log(stack, "Plain two.")[-1]["request"]["messages"]
    assert [m["content"] for m in seen if m["role"] == "assistant"] == ["This is the first answer."]


def test_an_alias_leads_to_an_app(make_stack: MakeStack) -> None:
    stack = make_stack(app_settings={"aliases": ["claude-*"]})
    talk = Talk(stack, "claude-haiku-4-5-20251001").says("By another name.\n!say here")
    answer = talk.ask().json()
    assert (answer["model"], text_of(answer)) == ("claude-haiku-4-5-20251001", "here")
    talk.body["model"] = "gpt-x"
    assert talk.ask().status_code == 404


def test_either_key_opens_and_errors_have_their_form(stack: Stack) -> None:
    url, ask = f"{stack.bridge_url}/v1/messages", {"model": "minimal", "messages": [{"role": "user", "content": "hi"}]}
    right, wrong = stack.client_token, "wrong"
    for headers in (
        {"Authorization": f"Bearer {right}"},
        {"x-api-key": right},
        {"Authorization": f"Bearer {right}", "x-api-key": wrong},
    ):
        assert httpx.post(url, json=ask, headers=headers, timeout=60).status_code == 200
    for headers in ({}, {"x-api-key": wrong}, {"x-api-key": stack.plugin_token}):
        refused = httpx.post(url, json=ask, headers=headers)
        assert (refused.status_code, refused.headers["x-should-retry"]) == (401, "false")
        assert refused.json()["error"]["type"] == "authentication_error"
        assert refused.json()["request_id"] == refused.headers["request-id"]
    missing = httpx.get(f"{stack.bridge_url}/v1/messages/batches", headers={"x-api-key": right})
    twice = httpx.post(f"{stack.base_url}/v1/messages", json=ask, headers={"anthropic-version": "2023-06-01"})
    assert (twice.status_code, "without /v1" in twice.json()["error"]["message"]) == (404, True)
    assert missing.json()["error"]["type"] == "not_found_error"
    deny = f"{stack.bridge_url}/operator/v1/calls/x/deny"
    assert httpx.post(deny, json={}, headers={"x-api-key": stack.operator_token}).status_code == 401


def test_the_head_of_the_base_url_and_a_count(stack: Stack) -> None:
    assert httpx.head(stack.bridge_url).status_code == 200
    talk = Talk(stack).says("count me " * 100)
    asked = {name: talk.body[name] for name in ("model", "messages", "tools")}
    counted = httpx.post(f"{stack.base_url}/messages/count_tokens?beta=true", json=asked, headers=talk.headers).json()
    with talk.stream() as events:
        assert counted == {"input_tokens": next(events)["message"]["usage"]["input_tokens"]}


def test_a_prompt_that_is_too_long_is_told_in_words_that_clients_act_on(make_stack: MakeStack) -> None:
    stack = make_stack(upstream_model="scripted-small-context")
    talk = Talk(stack).says("Too long. " * 10_000)
    for streamed in (False, True):
        refused = talk.ask(stream=streamed)
        assert refused.status_code == 400
        assert re.match(r"prompt is too long: \d{5} tokens > 24000 maximum", refused.json()["error"]["message"])
