"""The six cases of Open Responses' compliance suite, each streamed and not, held against its published schema.

Source: https://www.openresponses.org/specification and its ResponseResource, items and streaming events.
"""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import httpx
import pytest
from pydantic import BaseModel, ConfigDict, Discriminator, Field, TypeAdapter

from demo.stack import Stack
from tests.e2e.conftest import call

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
Status = Literal["in_progress", "completed", "incomplete"]


class Strict(BaseModel):
    """Numbers are numbers here, and what the schema requires is there; more fields are allowed."""

    model_config = ConfigDict(strict=True, extra="allow")


class OutputText(Strict):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]


class OtherText(Strict):
    type: Literal["reasoning_text", "summary_text", "text"]
    text: str


Content = Annotated[OutputText | OtherText, Discriminator("type")]


class MessageItem(Strict):
    type: Literal["message"]
    id: str
    status: Status
    role: Literal["assistant"]
    content: list[Content]


class FunctionCall(Strict):
    type: Literal["function_call"]
    id: str
    call_id: str
    name: str
    arguments: str
    status: Status


class Reasoning(Strict):
    type: Literal["reasoning"]
    id: str
    summary: list[Content]


Item = Annotated[MessageItem | FunctionCall | Reasoning, Discriminator("type")]


class Tool(Strict):
    type: Literal["function"]
    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


class Details(Strict):
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class Usage(Strict):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: Details
    output_tokens_details: Details


class Response(Strict):
    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: str
    incomplete_details: dict[str, str] | None
    model: str
    previous_response_id: str | None
    instructions: str | None
    output: list[Item]
    error: dict[str, str] | None
    tools: list[Tool]
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any]
    truncation: Literal["auto", "disabled"]
    parallel_tool_calls: bool
    text: dict[str, Any]
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    top_logprobs: int
    temperature: float
    reasoning: dict[str, Any] | None
    user: str | None
    usage: Usage | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    store: bool
    background: bool
    service_tier: str
    metadata: dict[str, str]
    safety_identifier: str | None
    prompt_cache_key: str | None


class Event(Strict):
    sequence_number: int


class Whole(Event):
    type: Literal[
        "response.created", "response.in_progress", "response.completed", "response.failed", "response.incomplete"
    ]
    response: Response


class ItemTold(Event):
    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int
    item: Item


class OfItem(Event):
    item_id: str
    output_index: int


class PartTold(OfItem):
    type: Literal["response.content_part.added", "response.content_part.done"]
    content_index: int
    part: Content


class Delta(OfItem):
    type: Literal["response.output_text.delta"]
    content_index: int
    delta: str


class TextDone(OfItem):
    type: Literal["response.output_text.done"]
    content_index: int
    text: str


class ArgumentsDelta(OfItem):
    type: Literal["response.function_call_arguments.delta"]
    delta: str


class ArgumentsDone(OfItem):
    type: Literal["response.function_call_arguments.done"]
    arguments: str


EVENT: TypeAdapter[Event] = TypeAdapter(
    Annotated[
        Whole | ItemTold | PartTold | Delta | TextDone | ArgumentsDelta | ArgumentsDone, Field(discriminator="type")
    ]
)


def says(role: str, content: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather at a place",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}
SEEN = [{"type": "input_text", "text": "What is in this picture?"}, {"type": "input_image", "image_url": PIXEL}]
CASES: dict[str, dict[str, Any]] = {
    "basic": {"input": [says("user", "Greet me in three words.")]},
    "counting": {"input": [says("user", "Count to five.")]},
    "system prompt": {"input": [says("system", "Speak like a pirate."), says("user", "Greet me.")]},
    "tool calling": {
        "input": [says("user", f"What is the weather?\n{call('get_weather', location='Rome')}")],
        "tools": [WEATHER],
    },
    "image": {"input": [says("user", SEEN)]},
    "several turns": {
        "input": [says("user", "I am Alice."), says("assistant", "Hello Alice."), says("user", "Who am I?")]
    },
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("open-responses"), apps=["minimal"]) as running:
        yield running


def answered(stack: Stack, body: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    """Return the response; a stream is read as the suite reads it, with every event held against its schema."""
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    body = {"model": "minimal", **body, "stream": stream}
    said = httpx.post(f"{stack.base_url}/responses", json=body, headers=headers, timeout=60)
    assert said.status_code == 200, said.text
    if not stream:
        return dict(said.json())
    lines = [line.removeprefix("data: ") for line in said.text.splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    events = [EVENT.validate_json(line) for line in lines]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return dict(json.loads(lines[-1])["response"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_case_of_the_suite(case: str, stream: bool, stack: Stack) -> None:
    response = Response.model_validate(answered(stack, CASES[case], stream=stream))
    assert response.status == "completed"
    kinds = [item.type for item in response.output]
    assert ("function_call" in kinds) if case == "tool calling" else ("message" in kinds)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_cut_off_says_so(stream: bool, stack: Stack) -> None:
    body = {**CASES["counting"], "input": [says("user", "!say one two three four five")], "max_output_tokens": 1}
    response = Response.model_validate(answered(stack, body, stream=stream))
    assert (response.status, response.incomplete_details) == ("incomplete", {"reason": "max_output_tokens"})


def test_another_result_is_refused_in_the_words_of_this_language(stack: Stack) -> None:
    headers = {"Authorization": f"Bearer {stack.client_token}"}

    def respond(*items: dict[str, Any]) -> httpx.Response:
        said = {"role": "user", "content": f"Two outputs.\n{call('look', at='it')}\n!then\n!say seen"}
        body = {"model": "minimal", "input": [said, *items], "tools": [{"type": "function", "name": "look"}]}
        return httpx.post(f"{stack.base_url}/responses", json=body | {"store": False}, headers=headers, timeout=60)

    asked = next(item for item in respond().json()["output"] if item["type"] == "function_call")
    output = {"type": "function_call_output", "call_id": asked["call_id"]}
    assert respond(asked, output | {"output": "one"}).status_code == 200
    refused = respond(asked, output | {"output": "other"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (409, "input")
    assert "again in the function_call_output with that call_id" in refused.json()["error"]["message"]


def test_what_is_asked_for_is_repeated(stack: Stack) -> None:
    asked = {"temperature": 0.5, "top_p": 0.5, "presence_penalty": 1, "frequency_penalty": -1.5, "metadata": {"a": "b"}}
    asked |= {"safety_identifier": "s", "max_tool_calls": 3, "prompt_cache_key": "k", "user": "u", "store": False}
    response = answered(stack, {**CASES["basic"], **asked}, stream=False)
    assert {name: response[name] for name in asked} == asked
