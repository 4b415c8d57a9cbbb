"""Holds what the bridge sends against the OpenAI SDK's own types: no field of a wrong type, and none beyond theirs.

The SDK itself is lenient: it takes whatever comes and never validates. Here its pydantic types validate strictly.
"""

import json
from collections.abc import Iterator
from typing import Any, get_args

import httpx2
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

# The bridge's own fields, which other servers have too or which clients ignore; docs/reference/endpoint.md lists them.
OWN_FIELDS = {
    "ChatCompletion": {"clawback"},
    "ChatCompletionChunk": {"clawback"},
    "ChatCompletionMessage": {"reasoning_content"},
    "ChoiceDelta": {"reasoning_content"},
    "Model": {
        *("context_window", "description", "input_modalities", "inputs", "kind", "max_output_tokens"),
        *("opening_statement", "suggested_questions"),
        *("type", "display_name", "created_at", "lifecycle", "max_input_tokens", "max_tokens"),
    },
    # The last three are Open Responses', which other servers have too.
    "Response": {"clawback", "frequency_penalty", "presence_penalty", "store"},
}
_EVENTS = {
    literal: kind
    for kind in get_args(get_args(ResponseStreamEvent)[0])
    for literal in get_args(kind.model_fields["type"].annotation)
}


def check(kind: type[BaseModel], body: dict[str, Any]) -> None:
    """Fail unless `body` is exactly a `kind`."""
    _known_fields_alone(kind.model_validate(body, strict=True), "")


def check_event(body: dict[str, Any]) -> None:
    """Fail unless `body` is one of the events of a response's stream."""
    assert body["type"] in _EVENTS, f"{body['type']} is no event of a response"
    check(_EVENTS[body["type"]], body)


def check_error(body: dict[str, Any]) -> None:
    """Fail unless `body` is an error as OpenAI's servers send it."""
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert isinstance(body["error"]["message"], str)
    assert body["error"]["message"]
    assert isinstance(body["error"]["type"], str)
    assert isinstance(body["error"]["param"], str | None)
    assert isinstance(body["error"]["code"], str | None)


def _known_fields_alone(value: object, path: str) -> None:
    if isinstance(value, BaseModel):
        unknown = set(value.model_extra or {}) - OWN_FIELDS.get(type(value).__name__, set())
        assert not unknown, f"{path or type(value).__name__} has fields that the SDK does not know: {unknown}"
        for name in type(value).model_fields:
            _known_fields_alone(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _known_fields_alone(item, f"{path}[{index}]")


def check_answer(path: str, status: int, content_type: str, body: bytes) -> None:
    """Fail unless a whole HTTP answer of the endpoint is what OpenAI's servers would send."""
    if status >= 400:
        check_error(json.loads(body))
    elif content_type.startswith("text/event-stream"):
        _check_stream(path, body.decode())
    elif path.endswith("/chat/completions"):
        check(ChatCompletion, json.loads(body))
    elif "/responses" in path and not path.endswith("/input_items") and body:
        answer = json.loads(body)
        if answer.get("object") == "response" and "deleted" not in answer:
            check(Response, answer)
    elif path.endswith("/models"):
        for model in json.loads(body)["data"]:
            check(Model, model)


def _check_stream(path: str, text: str) -> None:
    events = [event for event in text.split("\n\n") if event]
    if "/responses" in path:
        numbers = []
        ended = events[-1] == "data: [DONE]"
        for event in events[:-1] if ended else events:
            name, data = event.split("\n")
            body = json.loads(data.removeprefix("data: "))
            assert name == f"event: {body['type']}"
            check_event(body)
            numbers.append(body["sequence_number"])
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        # A reader may have left before the end.
        assert ended == (body.get("response", {}).get("status", "in_progress") != "in_progress")
        return
    reasons = []
    for event in events:
        if event == "data: [DONE]":
            break
        body = json.loads(event.removeprefix("data: "))
        if "error" in body:
            # The SDK stops reading here.
            check_error(body)
            return
        check(ChatCompletionChunk, body)
        reasons += [choice["finish_reason"] for choice in body["choices"] if choice["finish_reason"]]
    assert events[-1] == "data: [DONE]"
    assert len(reasons) == 1, "a stream has exactly one finish_reason"


class StrictTransport(httpx2.BaseTransport):
    """Passes requests on, and checks each answer as a whole once the SDK has read it."""

    def __init__(self) -> None:
        self._inner = httpx2.HTTPTransport()
        self.checked = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = self._inner.handle_request(request)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Checked(self, request.url.path, response),
            extensions=response.extensions,
        )

    def close(self) -> None:
        self._inner.close()


class _Checked(httpx2.SyncByteStream):
    def __init__(self, transport: StrictTransport, path: str, response: httpx2.Response) -> None:
        self._transport = transport
        self._path = path
        self._response = response
        self._pieces: list[bytes] = []

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._response.stream:  # type: ignore[union-attr]
            self._pieces.append(piece)
            yield piece

    def close(self) -> None:
        """The SDK closes a stream at its `[DONE]`, before its end."""
        self._response.close()
        assert "content-encoding" not in self._response.headers
        kind = self._response.headers.get("content-type", "")
        check_answer(self._path, self._response.status_code, kind, b"".join(self._pieces))
        self._transport.checked += 1
