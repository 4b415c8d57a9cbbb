"""The items of a response's request are read as clients write them, also where something spoilt their transcripts."""

from typing import Any

import pytest

from bridge.api.openai.responses_request import chat_messages, parse_responses_request

CALL = {"type": "function_call", "call_id": "c", "name": "read", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c"}


def said(*items: Any) -> list[dict[str, Any]]:
    return chat_messages(parse_responses_request({"model": "m", "input": list(items)}).items)


@pytest.mark.parametrize(
    ("output", "told"),
    [({"a": 1}, '{"a": 1}'), (["a"], '["a"]'), (5, "5"), (None, ""), ([{"type": "input_text", "text": "b"}], "b")],
)
def test_an_output_that_is_data_is_told_as_json(output: object, told: str) -> None:
    assert said(CALL, OUTPUT | {"output": output})[1] == {"role": "tool", "tool_call_id": "c", "content": told}


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_a_message_without_content_is_an_empty_one(role: str) -> None:
    assert said({"role": role, "content": None}) == [{"role": role, "content": ""}]


@pytest.mark.parametrize("name", [None, ""])
def test_a_call_without_a_name_stays_in_the_past(name: str | None) -> None:
    [message] = said(CALL | {"name": name})
    assert message["tool_calls"][0]["function"] == {"name": "", "arguments": "{}"}
