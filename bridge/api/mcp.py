"""MCP over streamable HTTP: what executors offer, as one MCP server.

Nothing is kept of a session: its id tells the requests of one client process from another's, so that one cancels only
its own. A call whose client closes its connection is cancelled, since nothing else could bring it its result.
"""

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager

from flask import Blueprint, Response, g, request

from bridge.api.access import Origins, validity
from bridge.api.bodies import checked, json_body
from bridge.api.mcp_messages import (
    INTERNAL,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MODERN,
    Asked,
    Json,
    McpAnswer,
    McpMessage,
    Problem,
    as_event,
    discovery,
    error_body,
    outcome,
    spoken_version,
    tool_entry,
    welcome,
)
from bridge.api.openai.keepalive import connection_of, is_gone
from bridge.api.openapi.operation import ErrorForm, operation
from bridge.api.quotas import Quotas
from bridge.config import Config
from bridge.errors import BridgeError, Conflict, Forbidden, TooManyRequests, Unauthorized
from bridge.runs.executors.mcp_calls import CANCELLED, LEFT, McpCall, McpCalls
from bridge.store.faults import StoreUnavailable
from bridge.store.rows import ClientRow
from tools.ids import random_name
from tools.wire import TicketStatus

log = logging.getLogger("clawback.mcp")

SESSION = "Mcp-Session-Id"

LOOK_SECONDS = 1.0
"""How often it is looked whether a client is still there, and how its call stands."""

LIST_SECONDS = 2.0
"""How often it is looked whether a client is offered other tools than before."""

MOST_STREAMS = 200
MOST_STREAMS_EACH = 50
"""How many streams for changes there are at once: of all clients, and of one, which must not take the others'."""

LONGEST_SECONDS = 3600.0
"""How long a stream for changes lasts; the client opens the next one by itself."""

Told = Generator[Json | None]
"""What a client is told; None is a sign of life."""

_FORM = ErrorForm(McpAnswer, error_body, lambda error: error.status)


def mcp_blueprint(config: Config, calls: McpCalls, quotas: Quotas, stopping: threading.Event) -> Blueprint:
    """Return the blueprint of MCP clients."""
    blueprint, origins = Blueprint("mcp", __name__), Origins(config)
    streams = _Streams(config, calls, stopping)
    server = _Server(config, calls, quotas, streams, stopping)

    @blueprint.before_request
    def _check_names() -> None:
        origins.check_named(request)

    @blueprint.errorhandler(BridgeError)
    def _bridge_error(error: BridgeError) -> Response:
        g.error_code = error.code or error.type
        response = _json(error_body(error), error.status)
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
        statuses=(200, 404),
        empty=(202,),
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
        return streams.open(g.client, Asked(McpMessage(jsonrpc="2.0"), ""))

    return blueprint


class _Server:
    """Answers messages."""

    def __init__(
        self, config: Config, calls: McpCalls, quotas: Quotas, streams: "_Streams", stopping: threading.Event
    ) -> None:
        self._limits = config.limits
        self._calls = calls
        self._quotas = quotas
        self._streams = streams
        self._stopping = stopping

    def answer(self, client: ClientRow, message: McpMessage) -> Response:
        """Return the answer to a message."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            spoken = spoken_version(message, headers)
            if message.method is None or "id" not in message.model_fields_set:
                self._note(client, message)
                return Response(status=202)
            if message.id is None:
                raise Problem(INVALID_REQUEST, "id: a request has one that is not null", is_http=True)
            return self._answer(client, Asked(message, spoken))
        except Problem as problem:
            return _json(problem.body(message.id), problem.status(headers))

    def _note(self, client: ClientRow, message: McpMessage) -> None:
        """Take a notification in; all but one are of no matter here."""
        if message.method == "notifications/cancelled" and (key := _key(message.params.get("requestId"))):
            self._calls.cancel_named(client, key)

    def _answer(self, client: ClientRow, asked: Asked) -> Response:
        match asked.message.method, asked.spoken == MODERN:
            case "initialize", False:
                response = _json(asked.result(welcome(asked)))
                response.headers[SESSION] = random_name(24)
                return response
            case "ping", False:
                return _json(asked.result({}))
            case "server/discover", True:
                return _json(asked.listed(discovery()))
            case "subscriptions/listen", True:
                return self._streams.open(client, asked)
            case "tools/list", _:
                if asked.message.params.get("cursor") is not None:
                    raise Problem(INVALID_PARAMS, "cursor: all tools are on the first page")
                return _json(asked.listed({"tools": [tool_entry(offer) for offer in self._calls.offers(client)]}))
            case "tools/call", _:
                return self._call(client, asked)
            case method, _:
                raise Problem(METHOD_NOT_FOUND, f"there is no method {method}: this server has tools, and nothing else")

    def _call(self, client: ClientRow, asked: Asked) -> Response:
        wanted = asked.call()
        offer = next((each for each in self._calls.offers(client) if each.definition.name == wanted.name), None)
        if offer is None:
            raise Problem(
                INVALID_PARAMS, f"Unknown tool: {wanted.name}. No executor that is there offers it to this client"
            )
        may_begin = self._quotas.may_begin(client)
        arguments = json.dumps(wanted.arguments, ensure_ascii=False)
        try:
            call = self._calls.begin(client, _key(asked.id) or random_name(), offer, arguments, may_begin)
        except Conflict as error:
            raise Problem(INVALID_REQUEST, error.message, is_http=True) from None
        told = self._told(call, asked, _connection(), validity())
        if "text/event-stream" in request.headers.get("Accept", ""):
            return _stream(_with_refusal(told, asked))
        return _json(_last(told) or Problem(INTERNAL, CANCELLED).body(asked.id))

    def _told(self, call: McpCall, asked: Asked, has_left: Callable[[], bool], check: Callable[[], None]) -> Told:
        """Yield what a client is told of its call, the answer last. Raises Unauthorized once its token is not valid.

        Whatever ends this before the call has ended, ends the call.
        """
        wants_progress = asked.message.progress_token is not None
        why, progress, said, said_at = LEFT, 0, "", time.monotonic()
        try:
            # The head of the answer goes out with it.
            yield None
            while True:
                status = self._look(call)
                if status and status.state != "open":
                    why = ""
                    if status.reason != CANCELLED:
                        yield asked.result(outcome(status))
                    return
                if has_left():
                    return
                check()
                if self._stopping.is_set():
                    why = "the bridge was stopped"
                    yield Problem(INTERNAL, "the bridge stops, and this call was cancelled: make it again").body(
                        asked.id
                    )
                    return
                now, phase = time.monotonic(), self._phase(call) if wants_progress else ""
                if phase != said or now - said_at >= self._limits.keepalive_seconds:
                    said, said_at, progress = phase, now, progress + 1
                    yield asked.progress(progress, phase) if wants_progress else None
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
    """The streams on which clients learn that they are offered other tools."""

    def __init__(self, config: Config, calls: McpCalls, stopping: threading.Event) -> None:
        self._limits = config.limits
        self._calls = calls
        self._stopping = stopping
        self._open: Counter[str] = Counter()

    def open(self, client: ClientRow, asked: Asked) -> Response:
        """Return a stream. Raises TooManyRequests."""
        if self._open.total() >= MOST_STREAMS or self._open[client.name] >= MOST_STREAMS_EACH:
            raise TooManyRequests("too many MCP clients wait for changes", retry_after=10)
        changes = self._changes(client, asked, _connection(), validity())
        return _stream(self._acknowledged(asked, changes) if asked.spoken == MODERN else changes)

    @staticmethod
    def _acknowledged(asked: Asked, changes: Told) -> Told:
        filter_ = asked.message.params.get("notifications")
        wanted = isinstance(filter_, dict) and filter_.get("toolsListChanged") is True
        honoured = {"notifications": {"toolsListChanged": True} if wanted else {}}
        yield asked.notification("notifications/subscriptions/acknowledged", honoured)
        with closing(changes):
            for change in changes:
                yield change if wanted else None
        yield asked.result(asked.subscribed())

    def _changes(
        self, client: ClientRow, asked: Asked, has_left: Callable[[], bool], check: Callable[[], None]
    ) -> Told:
        end = time.monotonic() + LONGEST_SECONDS
        with self._one(client):
            known, said_at = self._mark(client), time.monotonic()
            yield None
            while time.monotonic() < end and not has_left() and not self._stopping.wait(LIST_SECONDS):
                try:
                    check()
                    mark = self._mark(client)
                except Unauthorized:
                    # The client opens the next one by itself, and is told then.
                    return
                except StoreUnavailable:
                    continue
                if mark != known:
                    known, said_at = mark, time.monotonic()
                    yield asked.notification("notifications/tools/list_changed")
                elif time.monotonic() - said_at >= self._limits.keepalive_seconds:
                    said_at = time.monotonic()
                    yield None

    def _mark(self, client: ClientRow) -> str:
        return json.dumps([tool_entry(offer) for offer in self._calls.offers(client)])

    @contextmanager
    def _one(self, client: ClientRow) -> Iterator[None]:
        self._open[client.name] += 1
        try:
            yield
        finally:
            self._open -= Counter((client.name,))


def _key(request_id: object) -> str:
    """Return the name of a request among all of its client's; empty where it has no session, and nobody can name it."""
    session = request.headers.get(SESSION, "")
    return f"{session}\n{json.dumps(request_id)}" if session and isinstance(request_id, str | int) else ""


def _connection() -> Callable[[], bool]:
    """Return what says whether the client of the request at hand has left."""
    connection = connection_of(request.environ)
    return lambda: is_gone(connection)


def _with_refusal(told: Told, asked: Asked) -> Told:
    """Tell a refusal as the answer, since the stream has its status already."""
    with closing(told):
        try:
            yield from told
        except Unauthorized as error:
            yield error_body(error) | {"id": asked.id}


def _last(told: Told) -> Json | None:
    with closing(told):
        return next(reversed([each for each in told if each]), None)


def _json(body: Json, status: int = 200) -> Response:
    return Response(json.dumps(body, ensure_ascii=False), status=status, content_type="application/json")


def _stream(told: Told) -> Response:
    def events() -> Iterator[str]:
        with closing(told):
            yield from map(as_event, told)

    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return Response(events(), content_type="text/event-stream", headers=headers)
