"""MCP over streamable HTTP: what executors offer, as one MCP server.

Sources: the Model Context Protocol's specifications of 2025-03-26, 2025-06-18, 2025-11-25 and 2026-07-28. The last one
has no handshake: each request says its version, and a stream that the server sends to is asked for by
`subscriptions/listen`. Before, a client begins with `initialize`, gets a session's id, and opens a stream by GET.

Nothing is kept of a session: its id tells the requests of one client process from another's, so that one cancels only
its own. A call whose client closes its connection is cancelled, since nothing else could bring it its result.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from typing import Any, Literal

from flask import Blueprint, Response, g, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.api.access import begin_turn
from bridge.api.bodies import checked, json_body
from bridge.api.cors import Origins
from bridge.api.openai.keepalive import connection_of, is_gone
from bridge.api.openapi.operation import ErrorForm, operation
from bridge.config import Config
from bridge.errors import BridgeError, Forbidden, TooManyRequests
from bridge.runs.executors.mcp_calls import CANCELLED, LEFT, McpCall, McpCalls
from bridge.runs.executors.registry import Offer
from bridge.store.faults import StoreUnavailable
from bridge.store.rows import ClientRow
from tools.ids import random_name
from tools.results import ToolResult
from tools.wire import TicketStatus

log = logging.getLogger("clawback.mcp")

Json = dict[str, Any]

SESSION = "Mcp-Session-Id"
VERSION = "MCP-Protocol-Version"
HANDSHAKES = ("2025-11-25", "2025-06-18", "2025-03-26")
"""The versions that begin with `initialize`, the newest first."""

LOOK_SECONDS = 1.0
"""How often it is looked whether a client is still there, and how its call stands."""

LIST_SECONDS = 2.0
"""How often it is looked whether a client is offered other tools than before."""

MOST_STREAMS = 200
LONGEST_SECONDS = 3600.0
"""How long a stream for changes lasts; the client opens the next one by itself."""

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
UNSUPPORTED_VERSION = -32022

_INSTRUCTIONS = (
    "Tools that run on machines behind Clawback. A call may wait until a person there has approved it; a call that was "
    "denied says so in its result."
)


class McpMessage(BaseModel):
    """A JSON-RPC 2.0 message of a client: a request, a notification (without `id`), or an answer (without `method`)."""

    model_config = ConfigDict(extra="ignore")

    jsonrpc: Literal["2.0"]
    id: str | int | None = None
    method: str | None = None
    params: Json = Field(default_factory=dict)


class McpError(BaseModel):
    """What is wrong, with a code of JSON-RPC's or MCP's."""

    code: int
    message: str
    data: Json | None = None


class McpAnswer(BaseModel):
    """A JSON-RPC 2.0 answer: `result` or `error`."""

    jsonrpc: Literal["2.0"] = "2.0"
    id: str | int | None
    result: Json | None = None
    error: McpError | None = None


class CallParams(BaseModel):
    """What is to be called."""

    model_config = ConfigDict(extra="ignore")

    name: str
    arguments: Json = Field(default_factory=dict)


class _Problem(Exception):
    """What a request is answered with instead of a result."""

    def __init__(self, code: int, message: str, status: int = 200, data: Json | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.data = code, message, status, data

    def to_json(self) -> Json:
        """Return the error."""
        error: Json = {"code": self.code, "message": self.message}
        return error | ({"data": self.data} if self.data is not None else {})


def _of_bridge(error: BridgeError) -> _Problem:
    """Return an error of the bridge as MCP's clients are told it."""
    code = PARSE_ERROR if error.code == "invalid_json" else INTERNAL if error.status >= 500 else INVALID_REQUEST
    return _Problem(code, error.message, error.status)


def _error_body(error: BridgeError) -> Json:
    return {"jsonrpc": "2.0", "id": None, "error": _of_bridge(error).to_json()}


_FORM = ErrorForm(McpAnswer, _error_body, lambda error: error.status)


def mcp_blueprint(
    config: Config, calls: McpCalls, may_ask: Callable[[ClientRow], bool], stopping: threading.Event
) -> Blueprint:
    """Return the blueprint of MCP clients; `may_ask` says whether a client's token is still valid."""
    blueprint, origins = Blueprint("mcp", __name__), Origins(config)
    server = _Server(config, calls, stopping)
    streams = _Streams(config, calls, may_ask, stopping)

    @blueprint.before_request
    def _check_names() -> None:
        origins.check_named(request)

    @blueprint.errorhandler(BridgeError)
    def _bridge_error(error: BridgeError) -> Response:
        g.error_code = error.code or error.type
        response = _json(_error_body(error), error.status)
        response.headers.extend(error.headers())
        return response

    @blueprint.post("/mcp")
    @operation(
        "Take a message of an MCP client.",
        body=McpMessage,
        answer=McpAnswer,
        stream=McpAnswer,
        errors=(Forbidden, TooManyRequests),
        error_form=_FORM,
        statuses=(200, 202),
    )
    def message() -> Response:
        return server.answer(g.client, checked(McpMessage, json_body(request, config.limits.request_bytes)))

    @blueprint.get("/mcp")
    @operation(
        "Follow what an MCP client is offered.",
        stream=McpAnswer,
        errors=(Forbidden, TooManyRequests),
        error_form=_FORM,
    )
    def listen() -> Response:
        return streams.open(g.client)

    return blueprint


class _Server:
    """Answers requests."""

    def __init__(self, config: Config, calls: McpCalls, stopping: threading.Event) -> None:
        self._limits = config.limits
        self._calls = calls
        self._stopping = stopping

    def answer(self, client: ClientRow, message: McpMessage) -> Response:
        """Return the answer to a message."""
        try:
            self._check_version(message)
            if message.method is None or "id" not in message.model_fields_set:
                self._note(client, message)
                return Response(status=202)
            if message.id is None:
                raise _Problem(INVALID_REQUEST, "id: a request has one that is not null", 400)
            return self._answer(client, message)
        except _Problem as problem:
            return _json({"jsonrpc": "2.0", "id": message.id, "error": problem.to_json()}, problem.status)

    @staticmethod
    def _check_version(message: McpMessage) -> None:
        named = request.headers.get(VERSION)
        if named is not None and named not in HANDSHAKES and message.method != "initialize":
            raise _Problem(
                UNSUPPORTED_VERSION,
                f"Unsupported protocol version: this server speaks {', '.join(HANDSHAKES)}",
                400,
                {"supported": list(HANDSHAKES), "requested": named},
            )

    def _note(self, client: ClientRow, message: McpMessage) -> None:
        """Take a notification in; all but one are of no matter here."""
        if message.method == "notifications/cancelled" and (key := _key(message.params.get("requestId"))):
            self._calls.cancel_named(client, key)

    def _answer(self, client: ClientRow, message: McpMessage) -> Response:
        match message.method:
            case "initialize":
                response = _json(_result(message, _welcome(message.params)))
                response.headers[SESSION] = random_name(24)
                return response
            case "ping":
                return _json(_result(message, {}))
            case "tools/list":
                if message.params.get("cursor") is not None:
                    raise _Problem(INVALID_PARAMS, "cursor: there is one page alone")
                return _json(_result(message, {"tools": [_tool(offer) for offer in self._calls.offers(client)]}))
            case "tools/call":
                return self._call(client, message)
            case _:
                raise _Problem(METHOD_NOT_FOUND, f"there is no method {message.method}; this server has tools alone")

    def _call(self, client: ClientRow, message: McpMessage) -> Response:
        try:
            asked = CallParams.model_validate(message.params, strict=True)
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False)[0]
            raise _Problem(INVALID_PARAMS, f"params.{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
        offer = next((each for each in self._calls.offers(client) if each.definition.name == asked.name), None)
        if offer is None:
            raise _Problem(
                INVALID_PARAMS, f"Unknown tool: {asked.name}. No executor that is there offers it to this client"
            )
        begin_turn()
        key = _key(message.id) or random_name()
        call = self._calls.begin(client, key, offer, json.dumps(asked.arguments, ensure_ascii=False))
        told = self._told(call, message, _connection())
        if "text/event-stream" in request.headers.get("Accept", ""):
            return _stream(_events(told))
        return _json(_last(told))

    def _told(self, call: McpCall, message: McpMessage, is_left: Callable[[], bool]) -> Generator[Json | None]:
        """Yield what the client is told of its call, the answer last; None is a sign of life.

        Whatever ends this before its answer ends the call.
        """
        why, token = LEFT, _progress_token(message.params)
        progress, said, said_at = 0, "", time.monotonic()
        try:
            # The head of the answer goes out with it.
            yield None
            while True:
                status = self._look(call)
                if status and status.state != "open":
                    why = ""
                    if status.reason != CANCELLED:
                        yield _result(message, _outcome(status))
                    return
                if is_left():
                    return
                if self._stopping.is_set():
                    why = "the bridge was stopped"
                    yield _failed(message, "the bridge is about to stop. This call was cancelled; make it again")
                    return
                now, phase = time.monotonic(), self._phase(call) if token is not None else ""
                if phase != said or now - said_at >= self._limits.keepalive_seconds:
                    said, said_at, progress = phase, now, progress + 1
                    yield _progress(token, progress, phase) if token is not None else None
        finally:
            if why:
                self._cancel(call, why)

    def _look(self, call: McpCall) -> TicketStatus | None:
        try:
            return self._calls.look(call, LOOK_SECONDS)
        except StoreUnavailable:
            time.sleep(LOOK_SECONDS)
            return None

    def _phase(self, call: McpCall) -> str:
        try:
            return self._calls.phase(call)
        except StoreUnavailable:
            return ""

    def _cancel(self, call: McpCall, why: str) -> None:
        try:
            self._calls.cancel(call, why)
        except StoreUnavailable:
            # Nobody asks for it any more: the sweeper finds it.
            log.warning("a call could not be cancelled", extra={"run": call.run_id})


class _Streams:
    """The streams that tell clients that they are offered other tools."""

    def __init__(
        self, config: Config, calls: McpCalls, may_ask: Callable[[ClientRow], bool], stopping: threading.Event
    ) -> None:
        self._limits = config.limits
        self._calls = calls
        self._may_ask = may_ask
        self._stopping = stopping
        self._open = 0

    def open(self, client: ClientRow) -> Response:
        """Return a stream. Raises TooManyRequests."""
        if self._open >= MOST_STREAMS:
            raise TooManyRequests("too many MCP clients wait for changes", retry_after=10)
        return _stream(_events(self._changes(client, _connection())))

    def _changes(self, client: ClientRow, is_left: Callable[[], bool]) -> Generator[Json | None]:
        end = time.monotonic() + LONGEST_SECONDS
        with self._one():
            known, said_at = self._mark(client), time.monotonic()
            yield None
            while time.monotonic() < end and not is_left() and not self._stopping.wait(LIST_SECONDS):
                try:
                    if not self._may_ask(client):
                        return
                    mark = self._mark(client)
                except StoreUnavailable:
                    continue
                if mark != known:
                    known, said_at = mark, time.monotonic()
                    yield {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
                elif time.monotonic() - said_at >= self._limits.keepalive_seconds:
                    said_at = time.monotonic()
                    yield None

    def _mark(self, client: ClientRow) -> str:
        return json.dumps([_tool(offer) for offer in self._calls.offers(client)])

    @contextmanager
    def _one(self) -> Iterator[None]:
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


# What is said


def _welcome(params: Json) -> Json:
    asked = params.get("protocolVersion")
    return {
        "protocolVersion": asked if asked in HANDSHAKES else HANDSHAKES[0],
        "capabilities": {"tools": {"listChanged": True}},
        "serverInfo": {"name": "clawback", "title": "Clawback", "version": version("clawback")},
        "instructions": _INSTRUCTIONS,
    }


def _tool(offer: Offer) -> Json:
    function = offer.definition.function
    described = {"description": function.description} if function.description else {}
    schema = {"type": "object", "properties": {}} | (function.parameters or {})
    return {
        "name": function.name,
        **described,
        "inputSchema": schema,
        "annotations": {"readOnlyHint": offer.read_only},
    }


def _outcome(status: TicketStatus) -> Json:
    """Return a call's result, or why it has none."""
    if status.state != "resolved":
        text = f"Error: this call has no result: {status.reason or status.state}."
        return {"content": [{"type": "text", "text": text}], "isError": True}
    result = status.results[0]
    return {"content": _content(result), "isError": result.is_error}


def _content(result: ToolResult) -> list[Json]:
    content: list[Json] = [{"type": "text", "text": result.output}] if result.output or not result.images else []
    for url in result.images:
        kind, _, data = url.removeprefix("data:").partition(";base64,")
        is_data = url.startswith("data:")
        content.append(
            {"type": "image", "data": data, "mimeType": kind} if is_data else {"type": "text", "text": f"Image: {url}"}
        )
    return content


def _result(message: McpMessage, result: Json) -> Json:
    return {"jsonrpc": "2.0", "id": message.id, "result": result}


def _failed(message: McpMessage, why: str) -> Json:
    return {"jsonrpc": "2.0", "id": message.id, "error": {"code": INTERNAL, "message": why}}


def _progress(token: str | int, progress: int, message: str) -> Json:
    params = {"progressToken": token, "progress": progress, "message": message}
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}


def _progress_token(params: Json) -> str | int | None:
    meta = params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    return token if isinstance(token, str | int) else None


def _key(request_id: object) -> str:
    """Return the name of a request among all of its client's; empty where it has no session, and nobody can name it."""
    session = request.headers.get(SESSION, "")
    return f"{session}\n{json.dumps(request_id)}" if session and isinstance(request_id, str | int) else ""


def _connection() -> Callable[[], bool]:
    """Return what says whether the client of the request at hand has left."""
    connection = connection_of(request.environ)
    return lambda: is_gone(connection)


def _last(told: Iterator[Json | None]) -> Json:
    last = next(reversed([each for each in told if each]), None)
    return last or {"jsonrpc": "2.0", "id": None, "error": {"code": INTERNAL, "message": CANCELLED}}


def _json(body: Json, status: int = 200) -> Response:
    return Response(json.dumps(body, ensure_ascii=False), status=status, content_type="application/json")


def _events(told: Generator[Json | None]) -> Iterator[str]:
    with closing(told):
        for each in told:
            yield ": still here\n\n" if each is None else f"event: message\ndata: {json.dumps(each)}\n\n"


def _stream(events: Iterator[str]) -> Response:
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return Response(events, content_type="text/event-stream", headers=headers)
