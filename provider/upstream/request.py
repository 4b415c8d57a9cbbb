"""The upstream request: a node's settings as fields of a chat completion."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from provider.credentials import json_object, read_headers
from provider.errors import Refused
from provider.settings import NodeSettings

SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "seed",
    "thinking",
    "reasoning_effort",
)
_OF_CLIENT = frozenset({*SAMPLING, "verbosity", "logprobs", "top_logprobs", "max_tokens", "stop", "response_format"})
FROM_CLIENT = "from_client"
"""Under this name a request says which of its fields only the client asked for: those may be left out."""


def base_request(
    model: str, settings: NodeSettings, stop: Sequence[str] | None, user: str | None = None
) -> dict[str, Any]:
    """Return the fields that every upstream call of the invocation has, in our own terms (`dialect`). Raises Refused.

    The calls stream wherever the upstream can, whatever Dify asked for: a stream shows that the upstream is alive.
    """
    body: dict[str, Any] = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    body |= {name: value for name in SAMPLING if (value := getattr(settings, name)) is not None}
    if settings.max_tokens is not None:
        body["max_tokens"] = settings.max_tokens
    if stop:
        body["stop"] = list(stop)
    if user:
        body["user"] = user
    if settings.extra_body:
        body["extra_body"] = _extra_body(settings.extra_body)
    response_format = _response_format(settings)
    if response_format:
        body["response_format"] = response_format
    return body


def with_client(request: Mapping[str, Any], parameters: Mapping[str, Any], settings: NodeSettings) -> dict[str, Any]:
    """Return the fields of every upstream call, with what the client asks of the model."""
    asked = {name: parameters[name] for name in parameters.keys() & _OF_CLIENT}
    if settings.parameters_from == "client":
        return {**request, **asked, FROM_CLIENT: sorted(asked)}
    if settings.response_format:
        # Text is what a request without the field means, so the field alone does not tell that the node wants it.
        asked.pop("response_format", None)
    return {**asked, **request, FROM_CLIENT: sorted(asked.keys() - request.keys())}


def node_headers(settings: NodeSettings) -> dict[str, str]:
    """Return the node's own headers. Raises Refused."""
    try:
        return read_headers(settings.extra_headers or "")
    except ValueError as error:
        raise Refused(f"The node's extra_headers cannot be used: {error}") from None


def _extra_body(text: str) -> dict[str, Any]:
    try:
        return json_object(text)
    except ValueError as error:
        raise Refused(f"The node's extra_body {error}") from None


def _response_format(settings: NodeSettings) -> dict[str, Any] | None:
    if settings.response_format in {None, "text"}:
        return None
    if settings.response_format != "json_schema":
        return {"type": settings.response_format}
    try:
        schema = json.loads(settings.json_schema or "")
    except ValueError as error:
        raise Refused(f"The node's json_schema is not valid JSON: {error}") from None
    if not isinstance(schema, Mapping):
        raise Refused("The node's json_schema must be a JSON object")
    if isinstance(schema.get("schema"), Mapping):
        return {"type": "json_schema", "json_schema": {"name": "answer"} | dict(schema)}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema)}}
