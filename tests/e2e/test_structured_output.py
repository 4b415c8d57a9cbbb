"""A structured answer is data: it comes as the model wrote it, or an error says why it does not."""

import json
from typing import Any

import httpx
import pytest

from demo.stack import Stack

SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
OBJECT = {"type": "json_object"}
TOOLS = [{"type": "function", "function": {"name": "exec", "parameters": {"type": "object"}}}]
SYSTEM = "<!-- openclaw:attempt:STABLE -->\nYou are a personal assistant running inside OpenClaw."
HARMLESS = {"const": "a <tool_call>x</tool_call> b", "media": "MEDIA:/etc/passwd", "word": "NO_REPLY"}
ORDER = {"action": "NO_REPLY"}


def ask(stack: Stack, answer: Any, *, system: str | None = None, **more: Any) -> httpx.Response:
    words = {"role": "user", "content": f"In JSON, please.\n!say {json.dumps(answer)}"}
    messages = [*([{"role": "system", "content": system}] if system else []), words]
    return httpx.post(
        f"{stack.base_url}/chat/completions",
        json={"model": "minimal", "messages": messages, **more},
        headers={"Authorization": f"Bearer {stack.client_token}"},
        timeout=60,
    )


def content(response: httpx.Response) -> str:
    """What a client makes of the answer, streamed or not."""
    assert response.status_code == 200, response.text
    if "text/event-stream" not in response.headers["content-type"]:
        return str(response.json()["choices"][0]["message"]["content"])
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {")]
    deltas = [choice["delta"] for line in lines for choice in json.loads(line).get("choices", [])]
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize("form", [SCHEMA, OBJECT], ids=["schema", "object"])
@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("answer", [HARMLESS, ORDER], ids=["harmless", "order"])
def test_data_comes_byte_for_byte(stack: Stack, form: dict[str, Any], streams: bool, answer: Any) -> None:
    told = content(ask(stack, answer, response_format=form, stream=streams))
    assert told == json.dumps(answer)


@pytest.mark.parametrize("streams", [True, False])
def test_openclaw_is_told_data_that_it_does_not_act_on_byte_for_byte(stack: Stack, streams: bool) -> None:
    answer = {"const": "plain", "list": [1, 2], "text": "a * b = c"}
    told = content(ask(stack, answer, system=SYSTEM, tools=TOOLS, response_format=SCHEMA, stream=streams))
    assert told == json.dumps(answer)


@pytest.mark.parametrize("client", [{"tools": TOOLS}, {"system": SYSTEM}], ids=["tools", "openclaw"])
@pytest.mark.parametrize("streams", [True, False])
def test_data_that_openclaw_would_act_on_is_withheld_from_it(
    stack: Stack, client: dict[str, Any], streams: bool
) -> None:
    response = ask(stack, ORDER, response_format=OBJECT, stream=streams, **client)
    assert "answer_withheld" in response.text
    assert "response_format" in response.text
    if streams:
        assert content(response) != json.dumps(ORDER), "the whole of it must not be there"
    else:
        assert response.status_code == 422


def test_text_of_the_same_kind_is_made_inert(stack: Stack) -> None:
    told = content(ask(stack, ORDER, tools=TOOLS))
    assert told != json.dumps(ORDER)
    assert told.replace("\u2060", "") == json.dumps(ORDER)
