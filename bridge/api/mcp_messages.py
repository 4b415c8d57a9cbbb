"""The messages of the Model Context Protocol, as far as a server of tools needs them, in each of its versions.

Sources: the protocol's specifications of 2025-03-26, 2025-06-18, 2025-11-25 and 2026-07-28. Before the last one, a
client begins with `initialize`. Since then each request says its version, in its body and in its head, and what it
names stands in both as well, so that proxies can tell requests apart; each result says that it is whole.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.errors import BridgeError
from bridge.runs.executors.mcp_calls import McpTool
from tools.results import ToolResult
from tools.wire import TicketStatus

Json = dict[str, Any]
RequestId = str | int

VERSION_HEADER, METHOD_HEADER, NAME_HEADER = "mcp-protocol-version", "mcp-method", "mcp-name"
"""Headers, in small letters."""

HANDSHAKES = ("2025-11-25", "2025-06-18", "2025-03-26")
"""The versions that begin with `initialize`, the newest first."""

MODERN = "2026-07-28"
"""The version in which each request says what it speaks."""

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022
_STATUSES = {INTERNAL: 200, METHOD_NOT_FOUND: 404}

_META = "io.modelcontextprotocol/"
_INSTRUCTIONS = (
    "Tools that run on machines behind Clawback. A call may wait until a person there has approved it; a call that was "
    "denied says so in its result."
)
_ENCODED = re.compile(r"=\?base64\?([A-Za-z0-9+/]*={0,2})\?=")


class McpMessage(BaseModel):
    """A JSON-RPC 2.0 message of a client: a request, a notification (without `id`), or an answer (without `method`)."""

    model_config = ConfigDict(extra="ignore")

    jsonrpc: Literal["2.0"]
    id: RequestId | None = None
    method: str | None = None
    params: Json = Field(default_factory=dict)

    @property
    def meta(self) -> Json:
        """What a request says of itself."""
        meta = self.params.get("_meta")
        return meta if isinstance(meta, dict) else {}

    @property
    def progress_token(self) -> RequestId | None:
        """What names the request in progress notifications; None where its client wants none."""
        token = self.meta.get("progressToken")
        return token if isinstance(token, str | int) else None


class McpError(BaseModel):
    """What is wrong, with a code of JSON-RPC's or MCP's."""

    code: int
    message: str
    data: Json | None = None


class McpAnswer(BaseModel):
    """A JSON-RPC 2.0 answer: `result` or `error`."""

    jsonrpc: Literal["2.0"] = "2.0"
    id: RequestId | None
    result: Json | None = None
    error: McpError | None = None


class CallParams(BaseModel):
    """What is to be called."""

    model_config = ConfigDict(extra="ignore")

    name: str
    arguments: Json = Field(default_factory=dict)


class Problem(Exception):
    """What a request is answered with instead of a result. `is_http` says that no version tells it with a 200."""

    def __init__(self, code: int, message: str, data: Json | None = None, *, is_http: bool = False) -> None:
        super().__init__(message)
        self.error = McpError(code=code, message=message, data=data)
        self.is_http = is_http

    def status(self, headers: Mapping[str, str]) -> int:
        """Return the status: before the last version, only what is wrong with the HTTP request itself has its own."""
        is_told = self.is_http or headers.get(VERSION_HEADER) == MODERN
        return _STATUSES.get(self.error.code, 400) if is_told else 200

    def body(self, request_id: RequestId | None) -> Json:
        """Return the answer."""
        return {"jsonrpc": "2.0", "id": request_id, "error": self.error.model_dump(exclude_none=True)}


def error_body(error: BridgeError) -> Json:
    """Return an error of the bridge as MCP's clients are told it."""
    code = PARSE_ERROR if error.code == "invalid_json" else INTERNAL if error.status >= 500 else INVALID_REQUEST
    return Problem(code, error.message).body(None)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and the version that it speaks."""

    message: McpMessage
    spoken: str

    @property
    def id(self) -> RequestId | None:
        """What names it among its client's requests."""
        return self.message.id

    def result(self, result: Json) -> Json:
        """Return the answer."""
        if self.spoken == MODERN:
            meta = {f"{_META}serverInfo": _server_info()} | result.get("_meta", {})
            result = {"resultType": "complete", **result, "_meta": meta}
        return {"jsonrpc": "2.0", "id": self.id, "result": result}

    def listed(self, result: Json) -> Json:
        """Return the answer that may be asked for again at any time: it may be another one then."""
        return self.result(result | ({"ttlMs": 0, "cacheScope": "private"} if self.spoken == MODERN else {}))

    def notification(self, method: str, params: Json | None = None) -> Json:
        """Return a notification on the stream that this request has opened."""
        if self.message.method == "subscriptions/listen":
            params = (params or {}) | self.subscribed()
        return {"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {})

    def subscribed(self) -> Json:
        """Return what names this request on the stream that it has opened."""
        return {"_meta": {f"{_META}subscriptionId": self.id}}

    def progress(self, progress: int, message: str) -> Json:
        """Return a progress notification."""
        params = {"progressToken": self.message.progress_token, "progress": progress, "message": message}
        return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}

    def call(self) -> CallParams:
        """Return what is to be called. Raises Problem."""
        try:
            return CallParams.model_validate(self.message.params, strict=True)
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, problem["loc"]))
            raise Problem(INVALID_PARAMS, f"params.{where}: {problem['msg']}") from None


def spoken_version(message: McpMessage, headers: Mapping[str, str]) -> str:
    """Return the version that a message speaks; the headers' names are in small letters. Raises Problem."""
    named = headers.get(VERSION_HEADER)
    if named == MODERN:
        if message.id is not None:
            _check_envelope(message, headers)
        return MODERN
    if named is None or named in HANDSHAKES or message.method == "initialize":
        return named or HANDSHAKES[-1]
    raise Problem(
        UNSUPPORTED_VERSION,
        f"Unsupported protocol version: this server speaks {', '.join((MODERN, *HANDSHAKES))}",
        {"supported": [MODERN, *HANDSHAKES], "requested": named},
        is_http=True,
    )


def _check_envelope(message: McpMessage, headers: Mapping[str, str]) -> None:
    """Raise Problem where a request says too little of itself, or something else in its head than in its body."""
    for name in ("protocolVersion", "clientCapabilities"):
        if f"{_META}{name}" not in message.meta:
            raise Problem(INVALID_PARAMS, f"params._meta: {_META}{name} is missing")
    expected = {VERSION_HEADER: message.meta[f"{_META}protocolVersion"], METHOD_HEADER: message.method}
    if message.method == "tools/call":
        expected[NAME_HEADER] = message.params.get("name")
    for name, value in expected.items():
        if _decoded(headers.get(name)) != value:
            raise Problem(HEADER_MISMATCH, f"the header {name} is missing, or not what the body says")


def _decoded(value: str | None) -> str | None:
    """Return a header's text, which is in base64 where no header could hold it. No text is what nothing equals."""
    found = _ENCODED.fullmatch(value or "")
    if not found:
        return value
    try:
        return base64.b64decode(found[1], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def welcome(asked: Asked) -> Json:
    """Return the result of `initialize`. A version that is not known is answered with the newest of its kind."""
    wanted = asked.message.params.get("protocolVersion")
    spoken = wanted if wanted in HANDSHAKES else HANDSHAKES[0]
    return {"protocolVersion": spoken, "serverInfo": _server_info(), **_offering()}


def discovery() -> Json:
    """Return the result of `server/discover`."""
    return {"supportedVersions": [MODERN, *HANDSHAKES], **_offering()}


def _offering() -> Json:
    return {"capabilities": {"tools": {"listChanged": True}}, "instructions": _INSTRUCTIONS}


def _server_info() -> Json:
    return {"name": "clawback", "title": "Clawback", "version": version("clawback")}


def tool_entry(tool: McpTool) -> Json:
    """Return a tool as it is listed."""
    function = tool.definition.function
    described = {"description": function.description} if function.description else {}
    schema = {"type": "object", "properties": {}} | _unrouted(function.parameters or {})
    return {
        "name": function.name,
        **described,
        "inputSchema": schema,
        "annotations": {"readOnlyHint": tool.read_only},
    }


def _unrouted(schema: Any) -> Any:
    """Return a schema without what asks for arguments in headers: no proxy stands between this server and the tool."""
    if isinstance(schema, list):
        return [_unrouted(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _unrouted(value)
        for name, value in schema.items()
        if not (name == "x-mcp-header" and isinstance(value, str))
    }


def outcome(status: TicketStatus) -> Json:
    """Return a call's result, or why it has none: the model can read both."""
    if status.state != "resolved":
        text = f"Error: this call has no result: {status.reason or status.state}."
        return {"content": [{"type": "text", "text": text}], "isError": True}
    result = status.results[0]
    return {"content": _content(result), "isError": result.is_error}


def _content(result: ToolResult) -> list[Json]:
    texts = [result.output] if result.output or not result.images else []
    content: list[Json] = [{"type": "text", "text": text} for text in texts]
    for url in result.images:
        kind, is_data, data = url.removeprefix("data:").partition(";base64,")
        image = {"type": "image", "data": data, "mimeType": kind}
        content.append(image if is_data else {"type": "text", "text": f"Image: {url}"})
    return content


def as_event(message: Json | None) -> str:
    """Return a message as a server-sent event; None is a sign of life."""
    return ": still here\n\n" if message is None else f"event: message\ndata: {json.dumps(message)}\n\n"
