"""Who answers a call: the client in whose run it was made, or the executor that holds its lease."""

import json
import threading
import time
from typing import Any

import httpx
import pytest

from bridge.config import load
from bridge.server import serving
from demo.stack import Stack

CALL = '!call exec {"command": "x"}\n!then\n!say The end.'
TOOL = {"type": "function", "function": {"name": "exec", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def tokens(stack: Stack) -> dict[str, str]:
    note = serving.find(load(stack.folder / "clawback.toml"))
    assert note
    return {"client": stack.client_token, "local": note.token, "operator": stack.operator_token}


def ask(stack: Stack, token: str, messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Ask for a completion; return its message, or the error."""
    headers = {"Authorization": f"Bearer {token}", "X-Session-Affinity": "one-session"}
    body = {"model": "minimal", "messages": messages, "tools": [TOOL], **more}
    answer = httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60).json()
    return dict(answer["choices"][0]["message"]) if "choices" in answer else dict(answer)


def with_results(messages: list[dict[str, Any]], asked: dict[str, Any], output: str) -> list[dict[str, Any]]:
    results = [{"role": "tool", "tool_call_id": call["id"], "content": output} for call in asked["tool_calls"]]
    return [*messages, asked, *results]


def call_of(stack: Stack, tokens: dict[str, str], call_id: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {tokens['operator']}"}
    answer = httpx.get(f"{stack.bridge_url}/operator/v1/tickets?state=all", headers=headers).json()
    return next(call for ticket in answer["tickets"] for call in ticket["calls"] if call["id"] == call_id)


@pytest.mark.parametrize(("owner", "other"), [("client", "local"), ("local", "client")])
def test_a_run_is_answered_with_the_token_that_began_it(
    stack: Stack, tokens: dict[str, str], owner: str, other: str
) -> None:
    said = [{"role": "user", "content": f"The {owner}'s.\n{CALL}"}]
    asked = ask(stack, tokens[owner], said)
    (call,) = asked["tool_calls"]
    ask(stack, tokens[other], with_results(said, asked, "forged"))
    assert call_of(stack, tokens, call["id"])["state"] == "ready"
    # Nor does it take the run over, or end it, by asking the same in a session of the same name.
    own = ask(stack, tokens[other], said)
    assert own["tool_calls"][0]["id"] != call["id"]
    assert ask(stack, tokens[owner], with_results(said, asked, "true"))["content"] == "The end."
    assert call_of(stack, tokens, call["id"])["state"] == "resolved"
    assert ask(stack, tokens[other], with_results(said, own, "true, too"))["content"] == "The end."


@pytest.mark.parametrize("token", ["client", "local"])
def test_no_client_answers_an_executors_call_nor_reads_it(stack: Stack, tokens: dict[str, str], token: str) -> None:
    headers = {"Authorization": f"Bearer {stack.executor_token}"}
    tool = f"delete_{token}"
    registration = {"name": f"desk-{token}", "tools": [{"type": "function", "function": {"name": tool}}]}
    executors = f"{stack.bridge_url}/executor/v1/executors"
    desk = httpx.post(executors, json=registration, headers=headers).json()["executor_id"]
    asking = threading.Thread(
        target=_ask_dify, args=(stack, f'!call {tool} {{"path": "the secret"}}\n!then\n!say Done.')
    )
    asking.start()
    call = _waiting(stack, tokens, tool)
    said: list[dict[str, Any]] = [{"role": "user", "content": f"Mine, {token}.\n!say Hello."}]
    function = {"name": tool, "arguments": "{}"}
    made = {"tool_calls": [{"id": call["id"], "type": "function", "function": function}]}
    ask(stack, tokens[token], with_results(said, {"role": "assistant", "content": None} | made, "FORGED"))
    ask(stack, tokens[token], said, tool_results=[{"tool_call_id": call["id"], "output": "FORGED"}])
    assert call_of(stack, tokens, call["id"])["state"] == "awaiting_approval"
    decided = httpx.post(
        f"{stack.bridge_url}/operator/v1/calls/{call['id']}/approve",
        json={},
        headers={"Authorization": f"Bearer {stack.operator_token}"},
    )
    assert decided.status_code == 200
    ask(stack, tokens[token], with_results(said, {"role": "assistant", "content": None} | made, "FORGED"))
    assert call_of(stack, tokens, call["id"])["state"] == "ready"
    (lease,) = httpx.post(f"{executors}/{desk}/claim", json={"wait": 5}, headers=headers).json()["calls"]
    ask(stack, tokens[token], with_results(said, {"role": "assistant", "content": None} | made, "FORGED"))
    result = {"lease_id": lease["lease_id"], "tool_call_id": call["id"], "output": "deleted"}
    assert httpx.post(f"{executors}/{desk}/results", json={"results": [result]}, headers=headers).status_code == 200
    asking.join(60)
    seen = [entry["request"]["messages"] for entry in httpx.get(stack.log_url).json()]
    of_dify = [messages for messages in seen if f"!call {tool}" in json.dumps(messages)]
    assert "deleted" in json.dumps(of_dify)
    assert "FORGED" not in json.dumps(of_dify)
    assert not any(
        "the secret" in json.dumps(messages) for messages in seen if f"Mine, {token}." in json.dumps(messages)
    )
    httpx.delete(f"{executors}/{desk}", headers=headers)


def _ask_dify(stack: Stack, query: str) -> None:
    body = {"inputs": {}, "query": query, "user": "somebody", "response_mode": "blocking"}
    headers = {"Authorization": f"Bearer {stack.app_key('minimal')}"}
    httpx.post(f"{stack.box_url}/v1/chat-messages", json=body, headers=headers, timeout=90)


def _waiting(stack: Stack, tokens: dict[str, str], tool: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {tokens['operator']}"}
    end = time.monotonic() + 30
    while time.monotonic() < end:
        answer = httpx.get(f"{stack.bridge_url}/operator/v1/tickets", headers=headers).json()
        for call in (call for ticket in answer["tickets"] for call in ticket["calls"]):
            if call["name"] == tool:
                return dict(call)
        time.sleep(0.1)
    raise AssertionError(f"nobody asked for {tool}")
