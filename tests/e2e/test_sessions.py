"""One session is one Dify conversation; what is not its user's turn does not touch it."""

from typing import Any

import httpx
import pytest

from demo.stack import Stack
from tests.e2e.conftest import MakeClient, call, upstream_log, workflow_runs

SYSTEM = "<!-- openclaw:attempt:STABLE -->\nYou are a personal assistant running inside OpenClaw."


def post(stack: Stack, messages: list[dict[str, Any]], session: str | None = None, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {stack.client_token}", **({"X-Session-Affinity": session} if session else {})}
    body = {"model": "minimal", "messages": messages, **more}
    response = httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60)
    assert response.status_code == 200, response.text
    return response


def say(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answered(response: httpx.Response) -> dict[str, Any]:
    return {"role": "assistant", "content": response.json()["choices"][0]["message"]["content"]}


def conversation(stack: Stack, response: httpx.Response) -> str:
    store = stack.store()
    try:
        run = store.run(response.headers["x-clawback-run"])
    finally:
        store.close()
    assert run is not None
    return run.conversation_id


def test_a_session_keeps_its_conversation_over_turns_and_compactions(stack: Stack, make_client: MakeClient) -> None:
    first = post(stack, [say("One.")], "keeps:0")
    second = post(stack, [say("One."), answered(first), say("Two.")], "keeps:0")
    third = post(stack, [say("<summary>…</summary>"), say("Three.")], "keeps:1")
    other = post(stack, [say("One.")], "keeps-not:0")
    assert conversation(stack, first) == conversation(stack, second) == conversation(stack, third)
    assert conversation(stack, other) != conversation(stack, first)


def test_difys_memory_and_the_transcript_are_not_both_sent(stack: Stack) -> None:
    first = post(stack, [say("Remember the number seven.")], "memory")
    post(stack, [say("Remember the number seven."), answered(first), say("Which number was it?")], "memory")
    (asked,) = upstream_log(stack, "Which number was it?")
    assert str(asked["request"]["messages"]).count("Remember the number seven.") == 2  # the user's words, and the echo


def test_a_client_without_a_session_name_is_known_by_its_transcript(stack: Stack) -> None:
    first = post(stack, [say("Anonymous hello.")])
    second = post(stack, [say("Anonymous hello."), answered(first), say("And on.")])
    stranger = post(stack, [say("Anonymous hello."), {"role": "assistant", "content": "no"}, say("And on.")])
    assert conversation(stack, first) == conversation(stack, second) != conversation(stack, stranger)


def test_openclaws_own_calls_do_not_touch_the_sessions_conversation(stack: Stack) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("read", "write")]
    first = post(stack, [{"role": "system", "content": SYSTEM}, say("Turn.")], "aux:0", tools=tools)
    flush = say("Pre-compaction memory flush. Store durable memories only in memory/2026-11-21.md.")
    flushed = post(
        stack, [{"role": "system", "content": SYSTEM}, say("Turn."), answered(first), flush], "aux:0", tools=tools
    )
    summary = post(
        stack,
        [
            {"role": "system", "content": "You are a context summarization assistant. …"},
            say("<conversation>…</conversation>"),
        ],
        "aux",
    )
    second = post(
        stack,
        [{"role": "system", "content": SYSTEM}, say("Turn."), answered(first), say("Next.")],
        "aux:0",
        tools=tools,
    )
    assert conversation(stack, first) == conversation(stack, second)
    assert len({conversation(stack, response) for response in (first, flushed, summary)}) == 3


def test_a_second_run_of_a_busy_session_gets_a_conversation_of_its_own(stack: Stack) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(post, stack, [say("Slow one.\n!sleep 1.5\n!say slow")], "busy")
        quick = pool.submit(post, stack, [say("Quick one.\n!sleep 1\n!say quick")], "busy")
        responses = [slow.result(), quick.result()]
    assert [answered(response)["content"] for response in responses] == ["slow", "quick"]
    assert len({conversation(stack, response) for response in responses}) == 2
    assert all(len(workflow_runs(stack, r.headers["x-clawback-run"])) >= 1 for r in responses)


@pytest.mark.parametrize("name", ["user", "prompt_cache_key"])
def test_two_conversations_of_one_name_do_not_end_each_others_calls(stack: Stack, name: str) -> None:
    tools = [{"type": "function", "function": {"name": "exec"}}]
    named: dict[str, Any] = {"tools": tools, name: f"shared-{name}"}
    waiting = say(f"Mine, by {name}.\n{call('exec', command='x')}\n!then\n!say still mine")
    asked = post(stack, [waiting], **named)
    other = post(stack, [say(f"Another's, by {name}.\n!say hello")], **named)
    assert answered(other)["content"] == "hello"
    assert conversation(stack, other) != conversation(stack, asked)
    made = asked.json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": made["tool_calls"][0]["id"], "content": "ok"}
    done = post(stack, [waiting, made, result], **named)
    assert answered(done)["content"] == "still mine"
    assert done.headers["x-clawback-run"] == asked.headers["x-clawback-run"]
