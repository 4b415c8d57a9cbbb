"""Each line of the log is structured, and names the client's request that it belongs to, through every part."""

import json
from typing import Any

from demo.stack import Stack
from tests.e2e.conftest import call, stream
from tests.e2e.test_survives import ask, results, text, tool_calls


def log_of(stack: Stack) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stack.bridge.log.read_text().splitlines()]


def test_a_request_s_id_goes_through_bridge_ticket_and_plugin(stack: Stack) -> None:
    user = {"role": "user", "content": "\n".join(["Begin.", call("exec", command="echo hidden"), "!then", "!say seen"])}
    with stream(stack, ask([user]), **{"X-Request-Id": "first-request", "X-Session-Affinity": "logs"}) as response:
        assert response.headers["X-Request-Id"] == "first-request"
        run = response.headers["X-Clawback-Run"]
        transcript = [user, {"role": "assistant", "content": None, "tool_calls": tool_calls(response)}]
    messages = [*transcript, *results(transcript, "the output")]
    with stream(stack, ask(messages), **{"X-Request-Id": "second-request", "X-Session-Affinity": "logs"}) as response:
        assert text(response) == "seen"
    own = [line for line in log_of(stack) if line.get("run") == run]
    assert {(line["message"], line["request_id"]) for line in own} == {
        ("run started", "first-request"),
        ("invocation attached", "first-request"),
        # The plugin opened it, from inside Dify.
        ("ticket opened", "first-request"),
        ("ticket resolved", "second-request"),
        ("run finished", "first-request"),
    }
    for line in log_of(stack):
        assert {"time", "level", "logger", "message"} <= line.keys()
    everything = json.dumps(own)
    for content in ("hidden", "seen", "the output", "Begin"):
        assert content not in everything


def test_an_id_that_could_forge_a_line_is_not_taken(stack: Stack) -> None:
    with stream(stack, ask([{"role": "user", "content": "!say hi"}]), **{"X-Request-Id": "a b {}"}) as response:
        assert response.headers["X-Request-Id"].startswith("req_")
        response.read()


def test_the_server_s_own_lines_are_structured_too(stack: Stack) -> None:
    assert any("Listening at" in line["message"] for line in log_of(stack))
