"""The document: OpenAPI 3.1, made of the application's routes and of the models that check their bodies.

With a body of each kind, as one would send it or get it; tests check each against its model.
"""

import json
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

from flask import Blueprint, Flask, Response, current_app
from pydantic import BaseModel, TypeAdapter
from werkzeug.routing import Rule

from bridge.api.access import ANYBODY, LOGIN_COOKIE, Keys, keys_of, path_of_rule
from bridge.api.openapi.operation import Operation, operation, operation_of
from bridge.api.openapi.sentences import Described
from bridge.config import Token
from bridge.errors import (
    BridgeError,
    ContextTooLong,
    Forbidden,
    InvalidRequest,
    NotFound,
    TooLarge,
    TooManyRequests,
    TooSlow,
    Unauthorized,
    Unavailable,
    UnsupportedEncoding,
)

_READ: dict[str, Any] = {
    "name": "read",
    "description": "Read a file.",
    "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}
_CALL = {"id": "call4Xk2Lm9QpR7sTvWz", "name": "read", "arguments": '{"path": "notes.txt"}'}
_RUN = "8d2Kf0aLmQx3"
_INVOCATION = "inv7Hs2Kd9Lq"

EXAMPLES: dict[str, Any] = {
    "ChatRequest": {
        "model": "assistant",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What do my notes say?"},
        ],
        "tools": [{"type": "function", "function": _READ}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "prompt_cache_key": "my-session",
    },
    "ChatCompletion": {
        "id": "chatcmpl-3vQ8rT2",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "assistant",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "refusal": None,
                    "tool_calls": [
                        {
                            "id": _CALL["id"],
                            "type": "function",
                            "function": {"name": "read", "arguments": _CALL["arguments"]},
                        }
                    ],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 812, "completion_tokens": 17, "total_tokens": 829},
    },
    "ResponsesRequest": {
        "model": "assistant",
        "input": "What do my notes say?",
        "instructions": "Be brief.",
        "tools": [{"type": "function", **_READ}],
        "store": True,
    },
    "MessagesRequest": {
        "model": "assistant",
        "max_tokens": 1024,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "What do my notes say?"}],
        "tools": [{"name": "read", "description": _READ["description"], "input_schema": _READ["parameters"]}],
    },
    "CountRequest": {"model": "assistant", "messages": [{"role": "user", "content": "What do my notes say?"}]},
    "ModelList": {
        "object": "list",
        "data": [
            {
                "id": "assistant",
                "object": "model",
                "created": 0,
                "owned_by": "dify",
                "description": "Answers questions about the house.",
                "context_window": 128000,
                "max_output_tokens": 8192,
                "kind": "chatflow",
                "inputs": [{"name": "city", "type": "text-input", "required": True}],
                "opening_statement": "Hello! What shall we do?",
                "suggested_questions": ["What can you do?"],
                "input_modalities": ["text"],
                "type": "model",
                "display_name": "assistant",
                "created_at": "1970-01-01T00:00:00Z",
                "lifecycle": "active",
                "max_input_tokens": 128000,
                "max_tokens": 8192,
            }
        ],
        "first_id": "assistant",
        "last_id": "assistant",
        "has_more": False,
    },
    "AttachRequest": {
        "protocol": 1,
        "invocation_id": _INVOCATION,
        "fingerprint": "9f86d081884c7d65",
        "model": "main",
        "user": "3f1c0a5e-8a34-4e0f-9a2b-6a1f0d7c5b21",
    },
    "TicketRequest": {
        "run_id": _RUN,
        "invocation_id": _INVOCATION,
        "round": 0,
        "content": None,
        "calls": [_CALL],
        "usage": {"prompt_tokens": 812, "completion_tokens": 17},
        "wait_seconds": 300,
    },
    "CancelRequest": {"reason": "the node was stopped", "invocation_id": _INVOCATION},
    "DraftRequest": {
        "run_id": _RUN,
        "round": 0,
        "calls": [{"id": _CALL["id"], "name": "read", "offset": 0, "arguments": '{"path'}],
    },
    "RecordRequest": {"run_id": _RUN, "text": "They say: buy milk.", "rounds": 1},
    "Registration": {
        "name": "laptop",
        "tools": [{"type": "function", "function": _READ, "read_only": True}],
        "patterns": ["*"],
        "concurrency": 4,
    },
    "Heartbeat": {},
    "Claim": {"max": 4, "wait": 20},
    "LeaseIds": {"leases": ["5QmZ1xYbT0"]},
    "LeasedResults": {
        "results": [{"lease_id": "5QmZ1xYbT0", "tool_call_id": _CALL["id"], "output": "buy milk", "is_error": False}]
    },
    "Approve": {"by": "ada"},
    "Deny": {"by": "ada", "reason": "Not on this machine."},
    "AnswerForm": {"by": "ada", "action": "approve", "inputs": {"comment": "Looks good."}},
    "CancelRun": {"by": "ann"},
    "LoginLinkRequest": {"by": "ada"},
    "McpMessage": {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "tools/call",
        "params": {"name": "read", "arguments": {"path": "notes.txt"}, "_meta": {"progressToken": 7}},
    },
    "McpAnswer": {
        "jsonrpc": "2.0",
        "id": 7,
        "result": {"content": [{"type": "text", "text": "Buy milk."}], "isError": False},
    },
}


Json = dict[str, Any]

_TEMPLATE = "#/components/schemas/{model}"
_JSON = "application/json"
_EVENTS = "text/event-stream"

_SCHEMES = {
    "client": "The token of clients of the endpoint: `clawback token client`. Taken in `x-api-key`, too.",
    "plugin": "The token in the plugin's credential form in Dify: `clawback token plugin`.",
    "executor": "The token of executors: `clawback token executor`.",
    "operator": "The token of who may decide about calls: `clawback token operator`.",
    "metrics": "The token of who reads the figures: `clawback token metrics`.",
    "mcp": "The token of an MCP client: `clawback token add NAME --mcp`.",
    "local": "What the running bridge left in its data folder for commands on its own machine.",
    "login": "The cookie of who has logged in to the web page with the operator's token.",
}
_TAGS = {
    "endpoint": "OpenAI's chat completions and models.",
    "responses": "OpenAI's responses.",
    "messages": "Anthropic's messages.",
    "plugin": "What the plugin asks from inside Dify.",
    "executor": "What executors ask: who they are, and which calls to run.",
    "mcp": "The Model Context Protocol: the executors' tools, for MCP clients.",
    "tickets": "Tickets, for executors that look at them.",
    "operator": "What people see and decide.",
    "watch": "What people see as it happens.",
    "doctor": "What `clawback doctor` asks.",
    "health": "Whether the bridge lives and takes work.",
    "metrics": "The bridge's figures.",
    "openapi": "This document.",
    "page": "The web page, for people.",
}
_PATH_PARAMETERS = {
    "model": "The model id of an app.",
    "response_id": "The id of a response.",
    "ticket_id": "The id of a ticket; the plugin makes it up.",
    "invocation_id": "The id of an invocation of the plugin.",
    "executor_id": "What the executor was told when it registered.",
    "call_id": "A tool_call_id.",
    "run_id": "The id of a run.",
}

_PAGE = Operation(
    "A view of the web page, or what a form of it does.", answer=str, media="text/html", errors=(NotFound,)
)


def document(app: Flask) -> Json:
    """Return the document of all routes of which something was said."""
    schemas = _Schemas()
    paths: dict[str, Json] = {}
    for rule, method, said in described_routes(app):
        paths.setdefault(path_of_rule(rule), {})[method.lower()] = _operation(rule, method, said, schemas)
    tags = [name for name in _TAGS if any(name in each["tags"] for path in paths.values() for each in path.values())]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Clawback",
            "version": version("clawback"),
            "description": "A Dify chatflow as a model behind OpenAI's API, with the client's tools as its hands.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": _TAGS[name]} for name in tags],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas.all(),
            "securitySchemes": {name: _shown_as(name) | {"description": text} for name, text in _SCHEMES.items()},
        },
    }


def routes(app: Flask) -> Iterator[tuple[Rule, str]]:
    """Yield every route with each of its methods, but for those that Werkzeug adds by itself."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule, method


def described_routes(app: Flask) -> Iterator[tuple[Rule, str, Operation]]:
    """Yield every route of which something was said."""
    for rule, method in routes(app):
        view = app.view_functions[rule.endpoint]
        said = _PAGE if rule.endpoint.startswith("page.") else operation_of(view)
        if said:
            yield rule, method, said


def _shown_as(token: str) -> Json:
    cookie = {"type": "apiKey", "in": "cookie", "name": LOGIN_COOKIE}
    return cookie if token == Token.LOGIN else {"type": "http", "scheme": "bearer"}


class _Schemas:
    """The schemas of all models that the document mentions, each once."""

    def __init__(self) -> None:
        self._known: Json = {}

    def refer(self, kind: Any, mode: Literal["validation", "serialization"]) -> Json:
        """Return a schema of `kind`; what it is made of is kept for the document's components."""
        schema = TypeAdapter(kind).json_schema(ref_template=_TEMPLATE, schema_generator=Described, mode=mode)
        for name, definition in schema.pop("$defs", {}).items():
            self._keep(name, definition)
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)) or "$ref" in schema:
            return schema
        self._keep(kind.__name__, schema)
        return {"$ref": _TEMPLATE.format(model=kind.__name__)}

    def _keep(self, name: str, schema: Json) -> None:
        known = self._known.setdefault(name, schema)
        if known != schema:
            raise ValueError(f"two schemas are named {name}: what comes in and what goes out need names of their own")

    def all(self) -> Json:
        """Return the schemas by their names."""
        return dict(sorted(self._known.items()))


def _operation(rule: Rule, method: str, said: Operation, schemas: _Schemas) -> Json:
    keys = keys_of(rule, method) or ANYBODY
    told: Json = {
        "operationId": rule.endpoint.replace(".", "_"),
        "summary": said.summary,
        "tags": [rule.endpoint.partition(".")[0]],
        "security": [{key.value: []} for key in keys],
        "responses": _answers(rule, keys, said, schemas),
    }
    parameters = [*_path_parameters(rule), *_query_parameters(said, schemas)]
    if parameters:
        told["parameters"] = parameters
    if said.body:
        content = {"schema": schemas.refer(said.body, "validation"), **_example(said.body)}
        told["requestBody"] = {"required": True, "content": {_JSON: content}}
    return told


def _example(model: Any) -> Json:
    return {"example": EXAMPLES[model.__name__]} if getattr(model, "__name__", "") in EXAMPLES else {}


def _path_parameters(rule: Rule) -> Iterator[Json]:
    for name in sorted(rule.arguments):
        schema = {"type": "string", "minLength": 1}
        about = {"description": _PATH_PARAMETERS[name]} if name in _PATH_PARAMETERS else {}
        yield {"name": name, "in": "path", "required": True, **about, "schema": schema}


def _query_parameters(said: Operation, schemas: _Schemas) -> Iterator[Json]:
    if said.query is None:
        return
    whole = said.query.model_json_schema(ref_template=_TEMPLATE, schema_generator=Described)
    for name, definition in whole.get("$defs", {}).items():
        schemas._keep(name, definition)
    for name, schema in whole["properties"].items():
        yield {"name": name, "in": "query", "required": name in whole.get("required", ()), "schema": schema}


def _answers(rule: Rule, keys: Keys, said: Operation, schemas: _Schemas) -> Json:
    content: Json = {}
    if said.answer:
        schema = {"type": "string"} if said.answer is str else schemas.refer(said.answer, "serialization")
        content[said.media] = {"schema": schema, **_example(said.answer)}
    if said.stream:
        content[_EVENTS] = {"schema": _event(schemas.refer(said.stream, "serialization"), said.stream_end)}
    answer: Json = {"description": "As asked."} | ({"content": content} if content else {})
    answers = {str(status): answer for status in said.statuses}
    answers |= {str(status): {"description": "Taken."} for status in said.empty}
    for status, kinds in sorted(_errors(rule, keys, said).items()):
        meaning = "; ".join(dict.fromkeys(_meaning(kind) for kind in kinds))
        schema = schemas.refer(said.error_form.model, "serialization")
        example = said.error_form.example(_example_of(kinds[0]))
        error: Json = {"description": meaning, "content": {_JSON: {"schema": schema, "example": example}}}
        if any(issubclass(kind, TooManyRequests | Unavailable) for kind in kinds):
            retry = {"description": "When to try again, in seconds.", "schema": {"type": "string"}}
            error["headers"] = {"Retry-After": retry}
        answers.setdefault(str(status), error)
    return answers


def _event(told: Json, end: str | None) -> Json:
    """Return the schema of a server-sent event, for which OpenAPI has a word from 3.2 on: its data is JSON text."""
    data: Json = {"type": "string", "contentMediaType": _JSON, "contentSchema": told}
    if end is not None:
        data = {"anyOf": [{"const": end}, data]}
    return {"type": "object", "properties": {"event": {"type": "string"}, "data": data}, "required": ["data"]}


def _errors(rule: Rule, keys: Keys, said: Operation) -> dict[int, list[type[BridgeError]]]:
    """Return the errors that the route may answer with, by status."""
    kinds: list[type[BridgeError]] = []
    if keys and Token.LOGIN not in keys:
        kinds += [Forbidden if keys == (Token.LOCAL,) else Unauthorized]
    if said.body or said.query:
        kinds += [InvalidRequest]
    if said.body:
        kinds += [TooSlow, TooLarge, UnsupportedEncoding]
    if rule.arguments:
        kinds += [NotFound]
    kinds += said.errors
    by_status: dict[int, list[type[BridgeError]]] = {}
    for kind in kinds:
        by_status.setdefault(said.error_form.status(_example_of(kind)), []).append(kind)
    return by_status


def _meaning(kind: type[BridgeError]) -> str:
    return (kind.__doc__ or "").partition("\n")[0].rstrip(".")


def _example_of(kind: type[BridgeError]) -> BridgeError:
    return kind(_meaning(kind), code=ContextTooLong.code if kind is ContextTooLong else None)


def openapi_blueprint() -> Blueprint:
    """Return the blueprint, which asks for no token."""
    blueprint = Blueprint("openapi", __name__)

    @cache
    def written() -> str:
        return json.dumps(document(current_app), ensure_ascii=False)

    @blueprint.get("/openapi.json")
    @operation("Describe all routes of the bridge.", answer=dict[str, Any])
    def openapi() -> Response:
        return Response(written(), content_type="application/json")

    return blueprint
