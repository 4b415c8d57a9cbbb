"""It refuses what OpenAI refuses, in OpenAI's shape, naming the field."""

from typing import Any

import httpx
import pytest

from tests.demo.scripted.conftest import KEY
from tests.demo.scripted.conversation import EXEC, TOOLS, calls, result, tool, user

HI = user("hi")


def schema(**parameters: Any) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": "f", "parameters": parameters}}]


def named(name: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name}}]


def asked(**changes: Any) -> dict[str, Any]:
    call = {"id": "a", "type": "function", "function": {"name": "exec", "arguments": "{}"} | changes}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "empty messages": ("messages", {"messages": []}),
    "messages not a list": ("messages", {"messages": "hi"}),
    "message not an object": ("messages[0]", {"messages": ["hi"]}),
    "unknown role": ("messages[0].role", {"messages": [{"role": "bot", "content": "hi"}]}),
    "deprecated role": ("messages[0].role", {"messages": [{"role": "function", "name": "f", "content": "hi"}]}),
    "no user content": ("messages[0].content", {"messages": [{"role": "user"}]}),
    "null system content": ("messages[0].content", {"messages": [{"role": "system", "content": None}]}),
    "numeric content": ("messages[0].content", {"messages": [{"role": "user", "content": 7}]}),
    "no content parts": ("messages[0].content", {"messages": [{"role": "user", "content": []}]}),
    "unknown part": ("messages[0].content[0].type", {"messages": [{"role": "user", "content": [{"type": "video"}]}]}),
    "image for the system": (
        "messages[0].content[0].type",
        {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://x/y"}}]}]},
    ),
    "image of a file": (
        "messages[0].content[0].image_url.url",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]},
    ),
    "unknown field of a message": ("messages[0].timestamp", {"messages": [{**HI, "timestamp": 1}]}),
    "assistant without anything": ("messages[1].content", {"messages": [HI, {"role": "assistant", "content": None}]}),
    "no calls in tool_calls": (
        "messages[1].tool_calls",
        {"messages": [HI, {"role": "assistant", "content": "x", "tool_calls": []}]},
    ),
    "orphan tool message": ("messages[1].tool_call_id", {"messages": [HI, result("a")]}),
    "tool message for another call": ("messages[2].tool_call_id", {"messages": [HI, calls("a"), result("b")]}),
    "two results for a call": (
        "messages[3].tool_call_id",
        {"messages": [HI, calls("a"), result("a"), result("a")]},
    ),
    "tool message without an id": (
        "messages[2].tool_call_id",
        {"messages": [HI, calls("a"), {"role": "tool", "content": "x"}]},
    ),
    "call without a result": ("messages", {"messages": [HI, calls("a", "b"), result("a")]}),
    "result after the next message": ("messages", {"messages": [HI, calls("a"), HI, result("a")]}),
    "repeated id in one message": ("messages", {"messages": [HI, calls("a", "a"), result("a")]}),
    "repeated id over rounds": (
        "messages",
        {"messages": [HI, calls("a"), result("a"), calls("a"), result("a")]},
    ),
    "id too long": ("messages[1].tool_calls[0].id", {"messages": [HI, calls("a" * 41), result("a" * 41)]}),
    "empty function name": (
        "messages[1].tool_calls[0].function.name",
        {"messages": [HI, asked(name=""), result("a")]},
    ),
    "arguments as an object": (
        "messages[1].tool_calls[0].function.arguments",
        {"messages": [HI, asked(arguments={}), result("a")]},
    ),
    "no tools in tools": ("tools", {"tools": []}),
    "too many tools": ("tools", {"tools": [tool(f"t{n}") for n in range(129)]}),
    "tool of no type": ("tools[0]", {"tools": [{"function": {"name": "f"}}]}),
    "name with a dot": ("tools[0].function.name", {"tools": named("a.b")}),
    "name too long": ("tools[0].function.name", {"tools": named("a" * 65)}),
    "two tools of one name": ("tools", {"tools": [EXEC, EXEC]}),
    "unknown field of a tool": ("tools[0]", {"tools": [{**EXEC, "cache": 1}]}),
    "schema without a type": ("tools[0].function.parameters", {"tools": schema(properties={})}),
    "schema of an array": ("tools[0].function.parameters", {"tools": schema(type="array", items={})}),
    "anyOf on top": ("tools[0].function.parameters", {"tools": schema(type="object", anyOf=[{}])}),
    "array without items": (
        "tools[0].function.parameters.properties.x",
        {"tools": schema(type="object", properties={"x": {"type": "array"}})},
    ),
    "array without items, deep inside": (
        "tools[0].function.parameters.properties.x.anyOf[0].items",
        {"tools": schema(type="object", properties={"x": {"anyOf": [{"type": "array", "items": {"type": "array"}}]}})},
    ),
    "unknown type": (
        "tools[0].function.parameters.properties.x",
        {"tools": schema(type="object", properties={"x": {"type": "text"}})},
    ),
    "a count that is none": (
        "tools[0].function.parameters.properties.x",
        {"tools": schema(type="object", properties={"x": {"type": "string", "minLength": "3"}})},
    ),
    "required not a list": ("tools[0].function.parameters", {"tools": schema(type="object", required=True)}),
    "tool_choice without tools": ("tool_choice", {"tool_choice": "auto"}),
    "tool_choice of an unknown tool": (
        "tool_choice",
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "read"}}},
    ),
    "unknown tool_choice": ("tool_choice", {"tools": TOOLS, "tool_choice": "any"}),
    "parallel_tool_calls without tools": ("parallel_tool_calls", {"parallel_tool_calls": True}),
    "temperature too high": ("temperature", {"temperature": 2.1}),
    "temperature as text": ("temperature", {"temperature": "1"}),
    "two choices": ("n", {"n": 2}),
    "both token limits": ("max_tokens", {"max_tokens": 5, "max_completion_tokens": 5}),
    "no tokens": ("max_tokens", {"max_tokens": 0}),
    "five stop sequences": ("stop", {"stop": list("abcde")}),
    "stream_options without stream": ("stream_options", {"stream_options": {"include_usage": True}}),
    "unknown field": ("callback_key", {"callback_key": "x"}),
    "field of another vendor": ("top_k", {"top_k": 5}),
    "JSON that nobody asked for": ("messages", {"response_format": {"type": "json_object"}}),
    "unknown response format": ("response_format.type", {"response_format": {"type": "xml"}}),
}


@pytest.mark.parametrize(("param", "changes"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses(http: httpx.Client, param: str, changes: dict[str, Any]) -> None:
    answer = http.post("/chat/completions", json={"model": "scripted", "messages": [HI]} | changes)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert param.split(".")[-1].split("[")[0] in error["message"]


ACCEPTED: dict[str, dict[str, Any]] = {
    "parts for everyone": {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "x"}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                ],
            },
            calls("a"),
            result("a", [{"type": "text", "text": "x"}]),
        ]
    },
    "answers as the SDK gives them": {
        "messages": [HI, {"role": "assistant", "content": "x", "refusal": None, "tool_calls": None, "audio": None}, HI]
    },
    "a tool without parameters": {"tools": named("f")},
    "rich schemas": {
        "tools": schema(
            type="object",
            properties={
                "a": {"type": ["string", "null"], "enum": ["x", None]},
                "b": {"type": "array", "items": {"$ref": "#/$defs/b"}},
                "c": {"anyOf": [{"const": 1}, {"type": "object", "additionalProperties": False}], "~optional": True},
                "d": True,
            },
            required=["a"],
            patternProperties={"^x": {}},
            **{"$defs": {"b": {"type": "integer"}}},
        )
    },
    "nulls for what is left out": {"tools": None, "stop": None, "temperature": None, "n": None},
    "results in another order": {"messages": [HI, calls("a", "b"), result("b"), result("a")]},
    "arguments that are not JSON": {"messages": [HI, asked(arguments="{"), result("a")]},
}


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepts(http: httpx.Client, changes: dict[str, Any]) -> None:
    answer = http.post("/chat/completions", json={"model": "scripted", "messages": [HI]} | changes)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages": []}', b'{"model": "scripted"}', b"[" * 100_000])
def test_a_body_that_is_no_request(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("key", [None, "wrong", KEY[:-1]])
def test_the_key_is_checked(ready: dict[str, Any], key: str | None) -> None:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    for answer in (
        httpx.get(f"{ready['base_url']}/models", headers=headers),
        httpx.post(f"{ready['base_url']}/chat/completions", headers=headers, json={}),
    ):
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"


def test_unknown_model(http: httpx.Client) -> None:
    answer = http.post("/chat/completions", json={"model": "gpt-9", "messages": [HI]})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_unknown_place_and_method(http: httpx.Client) -> None:
    assert http.post("/embeddings", json={}).status_code == 404
    assert http.get("/chat/completions").status_code == 405


def test_deepseek_wants_a_string_from_a_tool(http: httpx.Client) -> None:
    parts = [HI, calls("a"), result("a", [{"type": "text", "text": "x"}])]
    answer = http.post("/chat/completions", json={"model": "scripted-deepseek", "messages": parts})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages[2].content")
    text = [HI, calls("a"), result("a", "x")]
    assert http.post("/chat/completions", json={"model": "scripted-deepseek", "messages": text}).status_code == 200


def test_the_small_context(http: httpx.Client) -> None:
    def ask(model: str, words: int) -> httpx.Response:
        return http.post("/chat/completions", json={"model": model, "messages": [user("word " * words)]})

    answer = ask("scripted-small-context", 20_000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert ask("scripted-small-context", 10_000).status_code == 200
    assert ask("scripted", 20_000).status_code == 200


def test_only_the_strict_schema_model_refuses_unknown_keywords(http: httpx.Client) -> None:
    tools = schema(type="object", properties={"x": {"type": "string", "~optional": True}})
    answer = http.post("/chat/completions", json={"model": "scripted-strict-schema", "messages": [HI], "tools": tools})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_function_parameters")
    assert "~optional" in answer.json()["error"]["message"]
    sound = {"model": "scripted-strict-schema", "messages": [HI], "tools": TOOLS}
    assert http.post("/chat/completions", json=sound).status_code == 200


@pytest.mark.parametrize(
    "line",
    ["!call", "!call exec {", "!call exec [1]", "!sleep soon", "!error 200", "!error x", "!delta", "!error 500 times"],
)
def test_a_malformed_directive_is_named(http: httpx.Client, line: str) -> None:
    answer = http.post("/chat/completions", json={"model": "scripted", "messages": [user("!say x", line)]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_script")
    assert line in answer.json()["error"]["message"]
