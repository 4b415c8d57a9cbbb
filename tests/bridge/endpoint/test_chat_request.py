"""A chat completion request is read as OpenAI reads it, and what is wrong is named by its path."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.api.openai.chat_request import ask_of, parse_chat_request
from bridge.api.openai.turns import Ask
from bridge.errors import InvalidRequest

READ = {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}
EXEC = {"type": "function", "function": {"name": "exec", "strict": True}}
HI = [{"role": "user", "content": "hi"}]


def ask(**fields: Any) -> Ask:
    body = {"model": "m", "messages": HI, **fields}
    chat = parse_chat_request(body)
    return ask_of(chat, body, 8192)


def problem(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        ask(**fields)
    return caught.value


def one(content: Any, **fields: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content, **fields}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "king", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": one(7)}, "messages[0].content"),
        ({"messages": one([{"type": "text"}])}, "messages[0].content[0].text"),
        ({"messages": one([{"type": "smell", "smell": "x"}])}, "messages[0].content[0].type"),
        ({"messages": one([{"type": "input_audio", "input_audio": {}}])}, "messages[0].content[0].input_audio.data"),
        ({"messages": one([{"type": "image_url", "image_url": {"url": "x"}}])}, "messages[0].content[0].image_url.url"),
        ({"messages": one([{"type": "file", "file": {"file_id": "f"}}])}, "messages[0].content[0].file.file_data"),
        ({"messages": [*HI, {"role": "tool", "content": "x"}]}, "messages[1].tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "messages[0].tool_calls[0].function"),
        ({"tools": "read"}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [READ, READ]}, "tools[1]"),
        ({"tools": [READ], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [READ], "tool_choice": 5}, "tool_choice"),
        ({"tools": [READ], "tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"tools": [READ], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
        ({"tools": [READ], "tool_choice": {"type": "function", "function": {"name": "exec"}}}, "tool_choice"),
        ({"tools": [READ], "tool_choice": {"type": "custom", "custom": {"name": "x"}}}, "tool_choice.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": "0.5"}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": 5}, "stop"),
        ({"seed": "x"}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"reasoning_effort": "heroic"}, "reasoning_effort"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.name"),
        ({"n": 2}, "n"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x", "format": "mp3"}}, "audio"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"stream_options": "x"}, "stream_options"),
        ({"tool_call_mode": "morse"}, "tool_call_mode"),
        ({"tool_results": [{"output": "x"}]}, "tool_results[0].tool_call_id"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
            "response_format.json_schema.schema",
        ),
        ({"functions": "f"}, "functions"),
        ({"functions": [{"name": "f"}], "function_call": "sometimes"}, "function_call"),
        ({"functions": [{"name": "f g"}]}, "functions[0].name"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "tool_choice"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].name"),
        ({"stream": "yes"}, "stream"),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"user": 7}, "user"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(fields: dict[str, Any], param: str) -> None:
    error = problem(**fields)
    assert error.param == param
    assert error.status == 400
    assert error.type == "invalid_request_error"


def test_unknown_fields_and_fields_without_meaning_here_are_ignored() -> None:
    asked = ask(store=True, service_tier="flex", top_logprobs=2, logit_bias={"5": 1}, no_such_field=[], n=None)
    assert asked.messages == HI
    assert asked.parameters == {}


def test_log_probabilities_are_asked_for_with_their_number_alone() -> None:
    """The number means nothing to an upstream where they are not asked for, and some refuse it."""
    assert ask(logprobs=True, top_logprobs=2).parameters == {"logprobs": True, "top_logprobs": 2}
    assert ask(logprobs=True).parameters == {"logprobs": True}
    assert ask(logprobs=False, top_logprobs=2).parameters == {}


def test_images_files_and_developer_messages_go_on_as_they_are() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
    file = {"type": "file", "file": {"file_data": "data:text/plain;base64,AAAA", "filename": "a.txt"}}
    messages = [{"role": "developer", "content": "Be brief."}, *one([{"type": "text", "text": "see"}, image, file])]
    assert ask(messages=messages).messages == messages


@pytest.mark.parametrize("role", ["user", "system", "developer"])
@pytest.mark.parametrize("content", [None, [], ""])
def test_a_message_without_content_is_an_empty_one(role: str, content: object) -> None:
    assert ask(messages=[{"role": role, "content": content}, *HI]).messages == [{"role": role, "content": ""}, *HI]


@pytest.mark.parametrize(
    ("given", "name", "arguments"),
    [
        ({"function": {"name": "", "arguments": "{}"}}, "", "{}"),
        ({"function": {"name": None}}, "", "{}"),
        ({"function": {"arguments": {"a": 1}}}, "", '{"a": 1}'),
        ({"type": None, "function": {"name": "read"}}, "read", "{}"),
        ({"type": "functionfunction", "function": {"name": "read"}}, "read", "{}"),
        ({"type": "custom", "custom": {"name": "patch", "input": "x"}}, "patch", '{"input": "x"}'),
    ],
)
def test_a_call_that_a_model_or_a_client_has_spoilt_stays_in_the_past(
    given: dict[str, Any], name: str, arguments: str
) -> None:
    [call] = ask(messages=[*HI, {"role": "assistant", "tool_calls": [{"id": "a"} | given]}, *HI]).messages[1][
        "tool_calls"
    ]
    assert call == {"id": "a", "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize("data", [{"a": [1]}, [1, "b"], ["a"], [{"a": 1}], 5, True])
def test_a_result_that_is_data_is_told_as_json(data: object) -> None:
    result = {"role": "tool", "tool_call_id": "a", "content": data}
    assert ask(messages=[*HI, result]).messages[1]["content"] == json.dumps(data)


def test_an_assistant_message_as_an_sdk_dumps_it_is_taken() -> None:
    message = {
        "role": "assistant",
        "content": None,
        "refusal": "No.",
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
    }
    assert ask(messages=[*HI, message, *HI]).messages[1] == {"role": "assistant", "content": "No."}


def test_what_a_client_gives_back_of_an_answer_goes_on_and_what_is_its_own_does_not() -> None:
    extras = {"extra_content": {"google": {"thought_signature": "AbC=="}}}
    call = {"id": "c1", "type": "function", "function": {"name": "read", "arguments": "{}"}}
    thought = {"reasoning_content": "", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}
    said = {"role": "assistant", "content": None, "tool_calls": [call | extras | {"index": 0}], "id": "own"} | thought
    asked = ask(messages=[*HI, said])
    assert asked.messages[1] == {"role": "assistant", "tool_calls": [call | extras]} | thought


def test_parameters_are_carried_under_the_names_of_a_node() -> None:
    schema = {"name": "a", "schema": {"type": "object"}, "strict": True}
    asked = ask(
        temperature=0,
        top_p=0.5,
        seed=7,
        stop="END",
        max_completion_tokens=100,
        reasoning_effort="low",
        response_format={"type": "json_schema", "json_schema": schema},
    )
    assert asked.parameters == {
        "temperature": 0,
        "top_p": 0.5,
        "seed": 7,
        "stop": ["END"],
        "max_tokens": 100,
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": schema},
    }


@pytest.mark.parametrize(("limit", "carried"), [(1, 1), (16, 16), (8192, 8192), (9999, 8192)])
def test_a_limit_is_obeyed_and_a_large_one_is_cut(limit: int, carried: int) -> None:
    assert ask(max_completion_tokens=limit).parameters["max_tokens"] == carried


@pytest.mark.parametrize(("limit", "carried"), [(1, None), (15, None), (16, 16)])
def test_a_tiny_limit_of_openclaw_s_is_not_obeyed(limit: int, carried: int | None) -> None:
    messages = [{"role": "system", "content": "You are running inside OpenClaw."}, *HI]
    assert ask(messages=messages, max_tokens=limit).parameters.get("max_tokens") == carried


def test_text_as_the_response_format_is_what_is_meant_without_one() -> None:
    assert ask(response_format={"type": "text"}).parameters == {}


def test_allowed_tools_are_an_offer_of_those_alone() -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [EXEC]}}
    asked = ask(tools=[READ, EXEC], tool_choice=choice)
    assert [tool.to_openai()["function"]["strict"] for tool in asked.tools] == [True]
    assert asked.tool_choice == "required"


def test_allowed_tools_must_be_among_the_tools() -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [EXEC]}}
    assert problem(tools=[READ], tool_choice=choice).param == "tool_choice.allowed_tools.tools[0]"


def test_functions_are_read_as_tools() -> None:
    call = {"name": "execute_services", "arguments": '{"list": []}'}
    asked = ask(
        functions=[{"name": "execute_services", "parameters": {"type": "object"}}],
        function_call={"name": "execute_services"},
        messages=[
            *HI,
            {"role": "assistant", "content": None, "function_call": call},
            {"role": "function", "name": "execute_services", "content": "done"},
        ],
    )
    assert asked.one_call
    assert [tool.name for tool in asked.tools] == ["execute_services"]
    assert asked.tool_choice == {"type": "function", "function": {"name": "execute_services"}}
    assert asked.parallel_tool_calls is False
    (made_up,) = asked.messages[1]["tool_calls"]
    assert made_up["function"] == call
    assert asked.messages[2] == {"role": "tool", "tool_call_id": made_up["id"], "content": "done"}


def test_a_function_s_answer_needs_no_call_before_it() -> None:
    asked = ask(functions=[{"name": "f"}], messages=[*HI, {"role": "function", "name": "f", "content": "done"}])
    assistant, answer = asked.messages[1:]
    assert assistant["tool_calls"][0]["function"]["name"] == "f"
    assert answer == {"role": "tool", "tool_call_id": assistant["tool_calls"][0]["id"], "content": "done"}


def test_a_client_that_sends_both_speaks_of_tools() -> None:
    asked = ask(tools=[READ], functions=[])
    assert not asked.one_call


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    "model", "messages", "tools", "tool_choice", "functions", "function_call", "stop", "temperature", "max_tokens",
    "response_format", "stream", "stream_options", "n", "modalities", "metadata", "inputs", "tool_results", "user",
]  # fmt: skip
MESSAGE = st.dictionaries(
    st.sampled_from(["role", "content", "tool_calls", "tool_call_id", "function_call", "name", "refusal"]),
    st.sampled_from(["system", "user", "assistant", "tool", "function", "developer"]) | JSON,
    max_size=4,
)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON | st.lists(MESSAGE, max_size=3), max_size=6))
def test_an_odd_body_is_taken_or_refused_and_nothing_else(odd: dict[str, Any]) -> None:
    body = {"model": "m", "messages": HI, **odd}
    with suppress(InvalidRequest):
        chat = parse_chat_request(body)
        ask_of(chat, body, 8192)


def test_tools_that_are_not_functions_are_left_out_with_a_note() -> None:
    others = [{"type": "web_search"}, {"type": "custom", "custom": {"name": "p"}}, {"type": "shell"}]
    chat = parse_chat_request({"model": "m", "messages": HI, "tools": [*others, READ]})
    assert [tool.name for tool in ask_of(chat, {}, 1000).tools] == ["read"]
    assert chat.note == "tools that nobody here can run were left out: web_search, custom, shell"
    assert parse_chat_request({"model": "m", "messages": HI, "tools": [READ]}).note is None
