"""What real agents were seen to send, sent again: the captured requests of `captured`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from demo.stack import Stack
from tests.agents.captured import Captured, captured
from tests.conftest import Shows
from tests.e2e.test_messages import events_of, text_of

CLAUDE = captured("claude-code")


@dataclass(frozen=True)
class Answered:
    """`events` are the stream's, `message` is the whole where there was no stream."""

    run_id: str
    events: Sequence[dict[str, Any]]
    message: dict[str, Any]

    def user(self, stack: Stack) -> str:
        """Return the Dify user of the run."""
        store = stack.store()
        try:
            run = store.run(self.run_id)
        finally:
            store.close()
        assert run
        return run.dify_user


def ask(stack: Stack, request: Captured, **fields: Any) -> Answered:
    """Send a request as it was sent, but for its key; `fields` are put over its body's."""
    headers = request.headers | {"x-api-key": stack.client_token}
    with httpx.stream(
        "POST", stack.bridge_url + request.path, json=request.body | fields, headers=headers, timeout=60
    ) as answer:
        assert answer.status_code == 200, answer.read()
        run_id = answer.headers.get("X-Clawback-Run", "")
        if answer.headers["content-type"].startswith("text/event-stream"):
            return Answered(run_id, list(events_of(answer)), {})
        return Answered(run_id, [], json.loads(answer.read()))


@pytest.mark.parametrize("name", CLAUDE)
def test_every_request_is_answered_as_it_asks(name: str, stack: Stack, shows: Shows) -> None:
    request = CLAUDE[name]
    answered = ask(stack, request)
    if request.path.startswith("/v1/messages/count_tokens"):
        assert answered.message["input_tokens"] > 100
    elif request.body.get("stream"):
        assert [event["type"] for event in answered.events][-2:] == ["message_delta", "message_stop"]
    else:
        # Where it may not count tokens, it asks for an answer of one.
        assert answered.message["stop_reason"] == ("max_tokens" if request.body["max_tokens"] == 1 else "end_turn")
    shows("Claude Code", "messages", "captured requests")


def again(name: str, *texts: str) -> Captured:
    """Return a request in a session of this test's own, whose last words of the user are `texts`."""
    request = CLAUDE[name]
    messages = json.loads(json.dumps(request.body["messages"]))
    asked = next(message for message in reversed(messages) if message["role"] == "user")
    asked["content"] = [{"type": "text", "text": text} for text in texts]
    headers = request.headers | {"X-Claude-Code-Session-Id": "of-a-test"}
    return Captured(name, request.path, headers, request.body | {"messages": messages}, request.note)


def test_the_repeat_of_a_cut_stream_joins_it(stack: Stack) -> None:
    whole = again("07-repeat-not-streamed", "cut please\n!sleep 4\n!say whole")
    headers = whole.headers | {"x-api-key": stack.client_token}
    body = whole.body | {"stream": True}
    with httpx.stream("POST", stack.bridge_url + whole.path, json=body, headers=headers, timeout=60) as cut:
        run_id = cut.headers["X-Clawback-Run"]
    answered = ask(stack, whole)
    assert answered.run_id == run_id
    assert text_of(answered.message) == "whole"


def test_a_session_its_side_calls_and_its_agents(stack: Stack) -> None:
    first = ask(stack, again("01-first", "say hello"))
    title = ask(stack, again("24-title-side-call", "a title"))
    search = ask(stack, again("21-web-search-side-call", "a search"))
    agent = ask(stack, again("04-subagent-first", "an agent"))
    second = ask(stack, again("03-continue-second-turn", "and now"))
    assert first.user(stack) == second.user(stack)
    assert len({answered.user(stack) for answered in (first, title, search, agent)}) == 4
    assert "web_search" in search.events[-2]["clawback"]["note"]


def test_a_fork_has_a_conversation_of_its_own(stack: Stack) -> None:
    request = CLAUDE["18-fork-session"]
    before = ask(stack, CLAUDE["03-continue-second-turn"])
    assert ask(stack, request).user(stack) != before.user(stack)
