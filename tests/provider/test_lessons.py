"""What upstreams refuse, each over HTTP, and how the request comes again: once, and from then on at once."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from provider.credentials import Credentials
from provider.engine.events import Completed, Delta, UpstreamFailed
from provider.errors import ContextTooLong, RateLimited
from provider.upstream import lessons
from provider.upstream.client import Upstream
from provider.upstream.failures import from_response
from tests.provider.byte_server import answering, response

pytestmark = pytest.mark.parts

Body = dict[str, Any]
DONE = (
    b'data: {"choices":[{"delta":{"content":"done"},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\ndata: [DONE]\n\n'
)
USER = {"role": "user", "content": "Look."}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
ROUND = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "seen"}
SYSTEM = {"role": "system", "content": "Be brief."}
TWO = {"role": "assistant", "content": None, "tool_calls": [CALL, CALL | {"id": "c2"}]}
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]}


@pytest.fixture(autouse=True)
def nothing_learned() -> Iterator[None]:
    lessons.forget()
    yield
    lessons.forget()


def says(text: str) -> bytes:
    return response(DONE.replace(b'"done"', json.dumps(text).encode()), "text/event-stream")


def refuses(words: str, status: str = "400 Bad Request") -> bytes:
    return response(json.dumps({"error": {"message": words}}).encode(), "application/json", status)


def asked_of(request: Body, *answers: bytes, **form: str) -> tuple[list[Any], list[Body]]:
    """The events of one request, and the bodies that the upstream got for it."""
    asked: list[bytes] = []
    with answering(*[[answer] for answer in answers], asked=asked) as url:
        upstream = Upstream(Credentials.read({"upstream_base_url": url, "vision_support": "on"} | form))
        events = list(upstream.complete({"model": "m", "messages": [USER], "stream": True} | request, 10))
    return events, [json.loads(each.partition(b"\r\n\r\n")[2]) for each in asked]


def learned(request: Body, words: str, **form: str) -> Body:
    """The body that an upstream gets once it has refused the request with these words."""
    events, (_, again) = asked_of(request, refuses(words), says("done"), **form)
    assert [event.text for event in events if isinstance(event, Delta)] == ["done"]
    return again


def roles(body: Body) -> list[str]:
    return [message["role"] for message in body["messages"]]


def schema(**words: Any) -> Body:
    parameters = {"type": "object", "properties": {"format": {"type": "integer"} | words}}
    return {"tools": [{"type": "function", "function": {"name": "look", "parameters": parameters}}]}


# The shape that everybody gets


def test_most_servers_take_the_first_shape() -> None:
    messages = [
        {"role": "system", "content": "One."},
        {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "<think>\nonly\n</think>\n\n"},
        *ROUND,
        RESULT | {"content": ""},
        ROUND[1] | {"content": "\n\n"},
        RESULT | {"content": "\n"},
    ]
    _, (sent,) = asked_of({"messages": messages}, says("done"))
    assert sent["messages"] == [
        {"role": "system", "content": "One.\n\nTwo."},
        {"role": "user", "content": "a\nb"},
        *ROUND,
        RESULT | {"content": "(no output)"},
        ROUND[1],
        RESULT | {"content": "(no output)"},
    ]


def test_a_thought_in_the_text_of_a_call_goes_back_in_its_own_field() -> None:
    thinking = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nI look.", "tool_calls": [CALL]}
    _, (sent,) = asked_of({"messages": [USER, thinking, RESULT]}, says("done"))
    assert sent["messages"][1] == thinking | {"content": "I look.", "reasoning_content": "Hm."}


def test_images_go_only_to_models_that_see() -> None:
    _, (sent,) = asked_of({"messages": [IMAGE]}, says("done"), vision_support="off")
    assert "cannot see" in sent["messages"][0]["content"]


# Shapes that are learned

SHAPES: list[tuple[str, list[Body], Callable[[Body], bool]]] = [
    (
        "The `reasoning_content` in the thinking mode must be passed back to the API.",
        [*ROUND, RESULT],
        lambda body: bool(body["messages"][1]["reasoning_content"]),
    ),
    (
        "thinking is enabled but reasoning_content is missing in assistant tool call message at index 1",
        [USER, ROUND[1] | {"reasoning_content": ""}, RESULT],
        lambda body: bool(body["messages"][1]["reasoning_content"]),
    ),
    (
        "Function call is missing a thought_signature in functionCall parts.",
        [*ROUND, RESULT],
        lambda body: bool(body["messages"][1]["tool_calls"][0]["extra_content"]["google"]["thought_signature"]),
    ),
    (
        "System message must be at the beginning.",
        [USER, {"role": "system", "content": "New."}, USER],
        lambda body: roles(body) == ["user"] * 3 and "New." in body["messages"][1]["content"],
    ),
    (
        "System role not supported",
        [{"role": "system", "content": "Be brief."}, USER],
        lambda body: body["messages"] == [{"role": "user", "content": "Be brief.\n\nLook."}],
    ),
    (
        "Conversation roles must alternate user/assistant/user/assistant/...",
        [{"role": "assistant", "content": "Hi."}, USER, USER],
        lambda body: roles(body) == ["user", "assistant", "user"],
    ),
    (
        "Unexpected role 'user' after role 'tool'",
        [*ROUND, RESULT, USER],
        lambda body: roles(body) == ["user", "assistant", "tool", "assistant", "user"],
    ),
    (
        "This model does not support image input.",
        [IMAGE],
        lambda body: isinstance(body["messages"][0]["content"], str),
    ),
    (
        "messages[0]: invalid type: sequence, expected a string",
        [IMAGE],
        lambda body: isinstance(body["messages"][0]["content"], str),
    ),
    (
        "property 'name' is unsupported",
        [USER | {"name": "ann"}],
        lambda body: body["messages"] == [USER],
    ),
    (
        "messages.1.assistant.reasoning_content: Extra inputs are not permitted",
        [USER, ROUND[1] | {"reasoning_content": "Hm."}, RESULT],
        lambda body: "reasoning_content" not in body["messages"][1],
    ),
    (
        "messages[1].tool_calls[0] has unknown fields: extra_content",
        [USER, ROUND[1] | {"tool_calls": [CALL | {"extra_content": {"google": {"thought_signature": "s"}}}]}, RESULT],
        lambda body: body["messages"][1]["tool_calls"] == [CALL],
    ),
    (
        "Unknown parameter: 'messages[1].tool_calls[0].thought_signature'.",
        [USER, ROUND[1] | {"tool_calls": [CALL | {"thought_signature": "s"}]}, RESULT],
        lambda body: body["messages"][1]["tool_calls"] == [CALL],
    ),
    (
        "Conversation roles must alternate user/assistant/user/assistant/...",
        [SYSTEM, USER, USER],
        lambda body: body["messages"] == [SYSTEM, {"role": "user", "content": "Look.\n\nLook."}],
    ),
    (
        "After the optional system message, conversation roles must alternate user/assistant/user/assistant/...",
        [*ROUND, RESULT, USER],
        lambda body: roles(body) == ["user", "assistant", "tool", "assistant", "user"],
    ),
    (
        "deepseek-reasoner does not support successive user or assistant messages",
        [USER, USER],
        lambda body: roles(body) == ["user"],
    ),
    (
        "No user query found in messages.",
        [SYSTEM],
        lambda body: body["messages"] == [SYSTEM | {"role": "user"}],
    ),
    (
        "A conversation must start with a user message.",
        [SYSTEM, {"role": "assistant", "content": "Hi."}, USER],
        lambda body: roles(body) == ["system", "user", "assistant", "user"],
    ),
    (
        "This model does not support assistant message prefill. The conversation must end with a user message.",
        [USER, {"role": "assistant", "content": "{"}],
        lambda body: roles(body) == ["user", "assistant", "user"],
    ),
    (
        "Developer instruction is not enabled for models/gemma-3-27b-it",
        [SYSTEM, USER],
        lambda body: roles(body) == ["user"],
    ),
    (
        "Only user and assistant roles are supported!",
        [SYSTEM, USER],
        lambda body: roles(body) == ["user"],
    ),
    (
        "This model only supports single tool-calls at once!",
        [USER, TWO, RESULT, RESULT | {"tool_call_id": "c2"}, USER],
        lambda body: (
            [
                [call["id"] for call in message.get("tool_calls", ())] or message.get("tool_call_id")
                for message in body["messages"]
            ]
            == [None, ["c1"], "c1", ["c2"], "c2", None]
        ),
    ),
    (
        "* GenerateContentRequest.contents[2].parts[0].function_response.name: Name cannot be empty.",
        [*ROUND, RESULT],
        lambda body: body["messages"][2] == RESULT | {"name": "look"},
    ),
    (
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        [*ROUND, RESULT],
        lambda body: [tool["function"]["name"] for tool in body["tools"]] == ["look"],
    ),
    (
        "Bedrock doesn't support tool calling without `tools=` param specified.",
        [*ROUND, RESULT],
        lambda body: bool(body["tools"]),
    ),
    (
        "Invalid content type. image_url is only supported by certain models.",
        [IMAGE],
        lambda body: "cannot see" in body["messages"][0]["content"],
    ),
    (
        "At most 1 image(s) may be provided in one request.",
        [IMAGE, IMAGE],
        lambda body: [message["content"][0]["type"] for message in body["messages"]] == ["text", "image_url"],
    ),
    (
        "json: cannot unmarshal array into Go struct field Message.messages.content of type string",
        [IMAGE],
        lambda body: isinstance(body["messages"][0]["content"], str),
    ),
]


@pytest.mark.parametrize(("words", "messages", "holds"), SHAPES)
def test_a_shape_is_learned_from_its_refusal(words: str, messages: list[Body], holds: Callable[[Body], bool]) -> None:
    asked: list[bytes] = []
    with answering([refuses(words)], [says("done")], [says("done")], asked=asked) as url:
        upstream = Upstream(Credentials.read({"upstream_base_url": url, "vision_support": "on"}))
        for _ in range(2):
            assert list(upstream.complete({"model": "m", "messages": messages}, 10))[-1:] != []
    bodies = [json.loads(each.partition(b"\r\n\r\n")[2]) for each in asked]
    assert [holds(body) for body in bodies[1:]] == [True, True], "the second request is not refused any more"


def test_what_a_refusal_repeats_of_a_client_s_request_changes_no_other_request() -> None:
    words = "Invalid schema for function 'look': 'system role not supported' is not valid under any of the schemas"
    messages = [{"role": "system", "content": "Be brief."}, USER]
    asked: list[bytes] = []
    with answering([refuses(words)], [refuses(words)], [says("done")], asked=asked) as url:
        form = Credentials.read({"upstream_base_url": url})
        ends = [list(Upstream(form).complete({"model": "m", "messages": messages}, 10))[-1] for _ in range(2)]
    assert [type(end) for end in ends] == [UpstreamFailed, Completed]
    assert roles(json.loads(asked[-1].partition(b"\r\n\r\n")[2])) == ["system", "user"]


def test_what_is_known_of_a_vendor_needs_no_refusal() -> None:
    _, (sent,) = asked_of({"messages": [*ROUND, RESULT]}, says("done"), upstream_vendor="moonshot")
    assert sent["messages"][1]["reasoning_content"]


# Fields, words of schemas, values


def test_a_call_at_a_time_need_not_be_asked_for() -> None:
    words = "Unsupported parameter: 'parallel_tool_calls' is not supported with this model."
    assert "parallel_tool_calls" not in learned(schema() | {"parallel_tool_calls": False}, words)


@pytest.mark.parametrize(
    ("words", "given", "left"),
    [
        (
            'Invalid JSON payload received. Unknown name "exclusiveMinimum" at \'tools[0].function_declarations[0]'
            ".parameters.properties[0].value': Cannot find field.",
            {"exclusiveMinimum": 3},
            {"type": "integer", "minimum": 3},
        ),
        ("schema: keyword 'const' is not supported", {"const": 3}, {"type": "integer", "enum": [3]}),
        ("tools.0.function.parameters: 'default' is not permitted", {"default": 1}, {"type": "integer"}),
        (
            "Invalid value at 'tools[0].function_declarations[0].parameters.properties[0].value.type' (type): Proto "
            "field is not repeating, cannot start list.",
            {"type": ["null", "string"]},
            {"type": "string"},
        ),
    ],
)
def test_words_of_a_schema_are_said_otherwise(words: str, given: Body, left: Body) -> None:
    parameters = learned(schema(**given), words)["tools"][0]["function"]["parameters"]
    assert parameters["properties"] == {"format": left}, "a property may be called like a word"


def looking(*messages: Body, **properties: Body) -> Body:
    parameters = {"type": "object", "properties": properties}
    tool = {"type": "function", "function": {"name": "look", "description": "Looks. " * 200, "parameters": parameters}}
    return {"tools": [tool]} | ({"messages": [*messages]} if messages else {})


def function_of(body: Body) -> Body:
    function: Body = body["tools"][0]["function"]
    return function


def test_every_schema_gets_a_type() -> None:
    given = {"a": {"description": "how"}, "b": {"enum": [1]}, "c": {"type": "array", "items": {}}, "d": {"minimum": 1}}
    given["e"] = {"type": "object", "anyOf": [{"required": ["x"]}, {"title": "t"}]}
    function = function_of(learned(looking(**given), "details: <At path 'properties.a': type is not defined>"))
    anything = [{"type": kind} for kind in ("object", "string", "number", "boolean")]
    assert function["parameters"]["properties"] == {
        "a": {"description": "how", "anyOf": anything},
        "b": {"enum": [1], "type": "integer"},
        "c": {"type": "array", "items": {"anyOf": anything}},
        "d": {"minimum": 1, "type": "number"},
        "e": {"anyOf": [{"required": ["x"], "type": "object"}, {"type": "object", "title": "t"}]},
    }
    _, (sent,) = asked_of(looking(**given), says("done"), upstream_vendor="moonshot")
    assert function_of(sent) == function, "Moonshot's need not be learned"


@pytest.mark.parametrize(
    ("property_", "value"),
    [
        ({"description": "how"}, {"a": 1}),
        ({"enum": ["a", "b"]}, "b"),
        ({"const": None}, None),
        ({"minimum": 1}, 2.5),
        ({"type": "array", "items": {}}, ["a", 1, {"b": True}]),
        ({"type": "object", "anyOf": [{"required": ["id"]}, {"required": ["title"]}]}, {"title": "t"}),
        ({"type": "string", "oneOf": [{"maxLength": 3}, {"minLength": 9}]}, "abc"),
    ],
)
def test_what_fits_a_tool_s_schema_fits_it_with_types(property_: Body, value: Any) -> None:
    function = function_of(asked_of(looking(a=property_), says("done"), upstream_vendor="moonshot")[1][0])
    Draft202012Validator.check_schema(function["parameters"])
    for schema in (looking(a=property_)["tools"][0]["function"]["parameters"], function["parameters"]):
        assert list(Draft202012Validator(schema).iter_errors({"a": value})) == []


def test_an_object_without_properties_is_asked_for_as_text() -> None:
    words = "parameters.properties[a].properties: should be non-empty for OBJECT type"
    assert (
        function_of(learned(looking(a={"type": "object"}), words))["parameters"]["properties"]["a"]["type"] == "string"
    )
    assert "parameters" not in function_of(learned(looking(), words)), "there are no arguments at all"


def test_a_word_with_an_empty_value_is_left_out() -> None:
    words = "* tools[0].function_declarations[0].parameters.properties[a].enum[0]: cannot be empty"
    again = learned(looking(a={"type": "string", "enum": ["", "b"]}), words)
    assert function_of(again)["parameters"]["properties"] == {"a": {"type": "string"}}


def test_a_description_is_no_longer_than_the_refusal_allows() -> None:
    words = (
        "Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 1024, but got"
        " a string with length 1400 instead."
    )
    assert len(function_of(learned(looking(), words))["description"]) == 1024


def test_a_grammar_that_is_too_large_gets_smaller_and_then_none() -> None:
    words = "Failed to initialize samplers: failed to parse grammar"
    asked = looking(a={"type": "string", "maxLength": 900})
    _, (_, smaller, none) = asked_of(asked, refuses(words), refuses(words), says("done"))
    assert function_of(smaller)["parameters"]["properties"] == {"a": {"type": "string"}}
    assert function_of(none)["parameters"] == {"type": "object"}
    assert '{"a": {"type": "string"}}' in function_of(none)["description"], "the model is told in words"


@pytest.mark.parametrize(
    ("faulty", "words"),
    [
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "b", "schema": {"type": "object"}}}},
            "Invalid schema for response_format 'b': In context=(), 'additionalProperties' is required to be supplied",
        ),
        (
            {"response_format": {"type": "json_object"}},
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
        ),
        (
            {"reasoning_effort": "max", "from_client": ["reasoning_effort"]},
            "Unsupported value: 'reasoning_effort' does not support 'max' with this model.",
        ),
        ({"seed": -1, "from_client": ["seed"]}, "seed must be at least 0"),
        ({"messages": [IMAGE]}, "Image type image/bmp is not supported"),
    ],
)
def test_what_is_wrong_with_one_request_changes_no_other(faulty: Body, words: str) -> None:
    wanted = {"name": "a", "schema": {"type": "object", "additionalProperties": False}}
    right: Body = {
        "messages": [IMAGE],
        "response_format": {"type": "json_schema", "json_schema": wanted},
        "reasoning_effort": "low",
        "seed": 7,
        "from_client": ["seed", "reasoning_effort", "response_format"],
    }
    asked: list[bytes] = []
    with answering([refuses(words)], [says("{}")], [says("{}")], asked=asked) as url:
        for request in (faulty, right):
            upstream = Upstream(Credentials.read({"upstream_base_url": url, "vision_support": "on"}))
            events = list(upstream.complete({"model": "m", "messages": [USER], "stream": True} | request, 10))
            assert isinstance(events[-1], Completed)
    sent = json.loads(asked[-1].partition(b"\r\n\r\n")[2])
    assert {name: sent.get(name) for name in right if name != "from_client"} == {
        name: value for name, value in right.items() if name != "from_client"
    }


def test_a_value_that_was_refused_is_not_asked_for_again() -> None:
    request = {"reasoning_effort": "max", "from_client": ["reasoning_effort"]}
    asked: list[bytes] = []
    with answering(
        [refuses("Unsupported value: reasoning_effort 'max'")], [says("a")], [says("b")], asked=asked
    ) as url:
        for _ in range(2):
            upstream = Upstream(Credentials.read({"upstream_base_url": url}))
            assert isinstance(list(upstream.complete({"model": "m", "messages": [USER]} | request, 10))[-1], Completed)
    assert ["max" in each.decode() for each in asked] == [True, False, False]


def test_references_are_followed() -> None:
    parameters = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "look", "parameters": parameters}}
    again = learned({"tools": [tool]}, "tools[0].function.parameters: $ref is not supported")
    assert again["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {"a": {"type": "string"}}}


def test_a_limit_is_the_number_that_the_refusal_names() -> None:
    words = "max_tokens is too large: 32000. This model supports at most 16384 completion tokens"
    assert learned({"max_tokens": 32000}, words, max_output_tokens="64000")["max_tokens"] == 16384


def test_what_only_the_client_asked_is_left_out_and_what_the_node_set_is_told() -> None:
    words = "Unsupported value: 'temperature' does not support 0.2 with this model."
    assert "temperature" not in learned({"temperature": 0.2, "from_client": ["temperature"]}, words)
    events, bodies = asked_of({"temperature": 0.2}, refuses(words))
    assert isinstance(events[-1], UpstreamFailed)
    assert len(bodies) == 1


def test_the_field_may_stand_beside_the_words() -> None:
    error = {"message": "Unsupported value: 'minimal' is not supported with this model.", "param": "reasoning_effort"}
    refusal = response(json.dumps({"error": error}).encode(), "application/json", "400 Bad Request")
    request = {"reasoning_effort": "minimal", "from_client": ["reasoning_effort"]}
    _, (_, again) = asked_of(request, refusal, says("done"))
    assert "reasoning_effort" not in again


@pytest.mark.parametrize(
    ("asked", "form", "left_out"),
    [
        ({"max_tokens": 500}, {"max_output_tokens": "100"}, ["max_tokens"]),
        ({"max_tokens": 50, "seed": 1}, {"max_output_tokens": "100", "token_field": "max_completion_tokens"}, []),
        ({"reasoning_effort": "low"}, {"reasoning_support": "none"}, ["reasoning_effort"]),
        ({"reasoning_effort": "low"}, {"reasoning_support": "reasoning"}, []),
        ({"response_format": {"type": "json_object"}}, {"completion_mode": "completion"}, ["response_format"]),
    ],
)
def test_a_client_s_fields_that_are_not_sent_are_told(asked: Body, form: dict[str, str], left_out: list[str]) -> None:
    events, _ = asked_of(asked | {"from_client": sorted(asked)}, says("done"), **form)
    assert events[-1].asked[-1].left_out == left_out


# What is done here instead

FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}


@pytest.mark.parametrize(
    ("answer", "text"), [('```json\n{"a": 1}\n```', '{"a": 1}'), ('{"a": "x"}', None), ("Sure!", None)]
)
def test_a_format_is_asked_for_in_words_and_the_answer_held_against_it(answer: str, text: str | None) -> None:
    refusals = (
        refuses("response_format.type json_schema is not supported"),
        refuses("response_format is not supported"),
    )
    events, bodies = asked_of({"response_format": FORMAT}, *refusals, says(answer))
    assert [body.get("response_format", {}).get("type") for body in bodies] == ["json_schema", "json_object", None]
    assert all('"integer"' in body["messages"][0]["content"] for body in bodies[1:])
    assert [event.text for event in events if isinstance(event, Delta)] == ([text] if text else [])
    assert isinstance(events[-1], Completed if text else UpstreamFailed)


def test_an_answer_ends_at_a_stop_word_here_where_the_upstream_knows_none() -> None:
    events, (_, again) = asked_of(
        {"stop": ["END"]}, refuses("Unsupported parameter: 'stop' is not supported"), says("before END behind")
    )
    assert "stop" not in again
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "before "
    assert events[-1] == Completed("stop")


# Causes


def test_the_cause_behind_a_gateway_is_told() -> None:
    raw = json.dumps({"error": {"message": "This model's maximum context length is 8192 tokens."}})
    body = {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}}
    failed = from_response(400, json.dumps(body).encode(), {})
    assert isinstance(failed.error, ContextTooLong)
    assert "8192" in str(failed.error)


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (413, "Request too large for model x on tokens per minute (TPM): Limit 6000, Requested 8000", RateLimited),
        (429, "Rate limit reached: too many tokens per minute", RateLimited),
    ],
)
def test_a_rate_in_tokens_is_no_prompt_that_is_too_long(status: int, words: str, kind: type[Exception]) -> None:
    failed = from_response(status, json.dumps({"error": {"message": words}}).encode(), {})
    assert type(failed.error) is kind
    assert failed.transient


def test_a_cap_on_the_answer_is_no_prompt_that_is_too_long() -> None:
    words = (
        "'max_tokens' or 'max_completion_tokens' is too large: 8000. This model's maximum context length is 4096 "
        "tokens and your request has 100 input tokens (8000 > 4096 - 100)."
    )
    assert learned({"max_tokens": 8000}, words, max_output_tokens="64000")["max_tokens"] == 3996


def test_words_that_a_refusal_quotes_of_a_client_take_no_images_away() -> None:
    words = "reasoning_content: extra fields not permitted, input: 'images are not supported in this viewer'"
    thinking = ROUND[1] | {"reasoning_content": "images are not supported in this viewer"}
    again = learned({"messages": [IMAGE, thinking, RESULT]}, words)
    assert "reasoning_content" not in again["messages"][1]
    assert again["messages"][0] == IMAGE


def test_fields_that_one_sentence_refuses_are_left_out_one_after_the_other() -> None:
    words = "logprobs and top_logprobs are not supported"
    request = {"logprobs": True, "top_logprobs": 2, "from_client": ["logprobs", "top_logprobs"]}
    events, bodies = asked_of(request, refuses(words), refuses(words), says("done"))
    assert isinstance(events[-1], Completed)
    assert "logprobs" not in bodies[-1]
    assert "top_logprobs" not in bodies[-1]


def test_a_parameter_that_is_unknown_is_asked_for_with_no_value() -> None:
    asked: list[bytes] = []
    with answering([refuses("Unsupported parameter: 'seed' is not supported")], *[[says("a")]] * 3, asked=asked) as url:
        for seed in range(3):
            upstream = Upstream(Credentials.read({"upstream_base_url": url}))
            list(upstream.complete({"model": "m", "messages": [USER], "seed": seed, "from_client": ["seed"]}, 10))
    assert ['"seed"' in each.decode() for each in asked] == [True, False, False, False]


@pytest.mark.parametrize(
    ("words", "tries"),
    [
        ("`max_tokens` must be greater than `thinking.budget_tokens`.", 1),
        ("Your input image may contain content that is not allowed by our safety system.", 2),
        ("The provided image is not supported. Supported: png, webp", 2),
        ("tool_choice 'required' is incompatible with thinking enabled", 2),
        ("schema for function 'look': 'type' must be a string", 1),
    ],
)
def test_what_one_request_was_refused_for_is_asked_of_others_all_the_same(words: str, tries: int) -> None:
    request = {"messages": [IMAGE], "max_tokens": 3000, "tool_choice": "required"} | looking()
    asked: list[bytes] = []
    with answering([refuses(words)], *[[says("done")]] * tries, asked=asked) as url:
        for _ in range(2):
            upstream = Upstream(Credentials.read({"upstream_base_url": url, "vision_support": "on"}))
            list(upstream.complete({"model": "m"} | request, 10))
    assert len(asked) == 1 + tries
    sent = json.loads(asked[-1].partition(b"\r\n\r\n")[2])
    assert {name: sent[name] for name in request} == request
