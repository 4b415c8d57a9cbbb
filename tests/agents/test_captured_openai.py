"""What agents of OpenAI's two languages were seen to send, sent again: each is answered, and names its thread."""

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from demo.stack import Stack
from tests.agents.captured import Captured, captured
from tests.conftest import Shows

AGENTS = ("codex", "opencode", "qwen-code", "cline", "nanobot", "mini-swe-agent")
REQUESTS = [(agent, name) for agent in AGENTS for name in captured(agent)]
NAMES = {
    "codex": "Codex CLI",
    "opencode": "opencode",
    "qwen-code": "Qwen Code",
    "cline": "Cline CLI",
    "nanobot": "nanobot",
    "mini-swe-agent": "mini-swe-agent",
}
THREADS = {"codex": "thread-id", "opencode": "x-session-id"}


def ask(stack: Stack, request: Captured, words: str | None = None, **names: str) -> tuple[str, list[dict[str, Any]]]:
    """Send a request as it was sent, but for its key, and with other last words of the user where they are given.

    Returns the run's id, and the events or the answer.
    """
    body = json.loads(json.dumps(request.body))
    if words:
        said = body.get("messages") or body["input"]
        next(message for message in reversed(said) if message.get("role") == "user")["content"] = words
    headers = request.headers | names | {"Authorization": f"Bearer {stack.client_token}"}
    answer = httpx.post(stack.bridge_url + request.path, json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    return answer.headers["X-Clawback-Run"], [json.loads(line) for line in lines] or [answer.json()]


def user_of(stack: Stack, run_id: str) -> str:
    store = stack.store()
    try:
        run = store.run(run_id)
    finally:
        store.close()
    assert run
    return run.dify_user


@pytest.mark.parametrize(("agent", "name"), REQUESTS, ids=lambda part: part)
def test_every_request_is_answered(agent: str, name: str, stack: Stack, shows: Shows) -> None:
    _, told = ask(stack, captured(agent)[name])
    last = told[-1]
    if agent == "codex":
        assert last["type"] == "response.completed"
        finished = [event["item"] for event in told if event["type"] == "response.output_item.done"]
        assert finished == last["response"]["output"]
    elif captured(agent)[name].body.get("stream"):
        assert [chunk for chunk in told if chunk["choices"]][-1]["choices"][0]["finish_reason"] == "stop"
    else:
        assert last["choices"][0]["finish_reason"] == "stop"
    shows(NAMES[agent], "responses" if agent == "codex" else "chat completions", "captured requests")


@pytest.mark.parametrize(
    ("agent", "first", "second", "child", "side"),
    [
        ("codex", "01-first", "03-resume-second-turn", "10-child-first", "13-compaction-request"),
        ("opencode", "02-first", "04-continue-second-turn", "07-child-first", "01-title-side-call"),
    ],
)
def test_a_thread_its_child_and_its_side_calls(
    agent: str, first: str, second: str, child: str, side: str, stack: Stack
) -> None:
    requests = captured(agent)
    named = {"thread-id": f"{agent} test", "x-client-request-id": f"{agent} test"}
    if agent == "opencode":
        named = {"x-session-id": f"{agent} test", "x-session-affinity": f"{agent} test"}

    def user(name: str, words: str, **names: str) -> str:
        return user_of(stack, ask(stack, requests[name], words, **names)[0])

    aside = user(side, f"{agent} aside", **named)
    main = user(first, f"{agent} first", **named)
    assert main != aside
    assert user(second, f"{agent} second", **named) == main
    assert user(child, f"{agent} child") != main
    assert user(side, f"{agent} aside again", **named) != main


@pytest.mark.parametrize(
    ("agent", "first", "second"),
    [("codex", "01-first", "03-resume-second-turn"), ("opencode", "02-first", "04-continue-second-turn")],
)
def test_a_turn_without_tools_is_a_turn_of_its_thread(agent: str, first: str, second: str, stack: Stack) -> None:
    named = {THREADS[agent]: "no tools", "x-client-request-id": "no tools", "x-session-affinity": "no tools"}
    requests = captured(agent)
    users = [
        user_of(stack, ask(stack, replace(request, body=request.body | {"tools": []}), f"{name} {agent}", **named)[0])
        for name, request in ((first, requests[first]), (second, requests[second]))
    ]
    assert users[0] == users[1]


def test_a_summary_of_opencode_is_none(stack: Stack) -> None:
    request = captured("opencode")["02-first"]
    named = {"x-session-id": "summed up", "x-session-affinity": "summed up"}
    main = user_of(stack, ask(stack, request, "To be summed up.", **named)[0])
    without = replace(request, body=request.body | {"tools": []})
    summary = ask(stack, without, "<conversation>\nTo be summed up.\n</conversation>\nSum it up.", **named)
    assert user_of(stack, summary[0]) != main
