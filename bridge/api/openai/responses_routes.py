"""The routes of responses."""

import json
import logging
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import Literal

from flask import Blueprint, Response, request
from pydantic import BaseModel, Field

from bridge.api.access import client_name
from bridge.api.bodies import check_sizes, checked_query, json_body
from bridge.api.openai.blueprint import app_of, wait_for_first
from bridge.api.openai.chat_response import DONE
from bridge.api.openai.keepalive import ClientGone, Reader, follow, reader_of, watched
from bridge.api.openai.responses import Opened, ResponseDesk
from bridge.api.openai.responses_request import ResponsesRequest, parse_responses_request
from bridge.api.openai.responses_response import Body
from bridge.api.openai.schemas import DeletedResponse, InputItemList, InputTokenCount, ResponseBody, ResponseEvent
from bridge.api.openai.turns import Turns
from bridge.api.openapi.operation import RUN_ERRORS, operation
from bridge.config import Config, Limits
from bridge.errors import BridgeError, InvalidRequest, NotFound
from bridge.runs import request_id
from bridge.runs.core import Core
from bridge.runs.segments import Event
from bridge.store.faults import StoreUnavailable

log = logging.getLogger("clawback.endpoint")

_PAGE = 20
_LONGEST_PAGE = 100


class RetrieveQuery(BaseModel):
    """Whether the response is told as a stream, and behind which of its events that goes on."""

    stream: Literal["true", "false"] = "false"
    starting_after: int | None = Field(default=None, ge=0)


class PageQuery(BaseModel):
    """Which items, newest first unless told otherwise."""

    after: str | None = None
    limit: int = Field(default=_PAGE, ge=1, le=_LONGEST_PAGE)
    order: Literal["asc", "desc"] = "desc"


def responses_blueprint(config: Config, core: Core, turns: Turns) -> Blueprint:
    """Return the blueprint of OpenAI's responses."""
    blueprint = Blueprint("responses", __name__, url_prefix="/v1/responses")
    desk = ResponseDesk(core, turns)

    @blueprint.post("")
    @operation(
        "Ask for a response, whole or as a stream.",
        body=ResponsesRequest,
        answer=ResponseBody,
        stream=ResponseEvent,
        stream_end="[DONE]",
        errors=(NotFound, *RUN_ERRORS),
    )
    def create() -> Response:
        body = json_body(request, config.limits.request_bytes)
        check_sizes(body, config.limits)
        asked = parse_responses_request(body)
        try:
            app, reader = app_of(config, asked.model), reader_of(request.environ)
            # What is told in the background is told whoever leaves.
            connection = None if asked.background else reader.connection
            opened = desk.open(dict(request.headers), app, asked, body, connection)
            return _answer(core, desk, config.limits, asked, opened, reader)
        except BridgeError as error:
            error.param = _own_field(error.param)
            raise

    @blueprint.post("/input_tokens")
    @operation(
        "Estimate how many tokens a request for a response has.",
        body=ResponsesRequest,
        answer=InputTokenCount,
        errors=(NotFound,),
    )
    def input_tokens() -> Response:
        body = json_body(request, config.limits.request_bytes)
        check_sizes(body, config.limits)
        asked = parse_responses_request(body)
        count = desk.count(app_of(config, asked.model), asked, body)
        return _json({"object": "response.input_tokens", "input_tokens": count})

    @blueprint.get("/<response_id>")
    @operation(
        "Retrieve a response as it stands, or its stream.",
        query=RetrieveQuery,
        answer=ResponseBody,
        stream=ResponseEvent,
        stream_end="[DONE]",
    )
    def retrieve(response_id: str) -> Response:
        asked = checked_query(RetrieveQuery, request.args)
        if asked.stream == "false":
            return _json(desk.find(response_id))
        opened = desk.reopen(response_id, asked.starting_after)
        after = -1 if asked.starting_after is None else asked.starting_after
        return _sse_response(
            _stream(opened, _events(core, config.limits, opened, reader_of(request.environ)), after), opened
        )

    @blueprint.delete("/<response_id>")
    @operation("Forget a response.", answer=DeletedResponse)
    def delete(response_id: str) -> Response:
        desk.delete(response_id)
        return _json({"id": response_id, "object": "response", "deleted": True})

    @blueprint.post("/<response_id>/cancel")
    @operation("Cancel a response that is in progress.", answer=ResponseBody, errors=(InvalidRequest,))
    def cancel(response_id: str) -> Response:
        return _json(desk.cancel(response_id))

    @blueprint.get("/<response_id>/input_items")
    @operation("List the input of a response.", query=PageQuery, answer=InputItemList)
    def input_items(response_id: str) -> Response:
        return _json(_page(desk.input_items(response_id), checked_query(PageQuery, request.args)))

    return blueprint


def _answer(
    core: Core, desk: ResponseDesk, limits: Limits, asked: ResponsesRequest, opened: Opened, reader: Reader
) -> Response:
    reading, telling = opened.reading, opened.telling
    if asked.background:
        _in_background(_follow_to_its_end, core, desk, opened, limits, client_name())
    events = _events(core, limits, opened, reader)
    if asked.stream:
        if reading.fresh:
            wait_for_first(reading, limits.first_event_seconds)
        response = _sse_response(_stream(opened, events, -1), opened)
        return watched(response, core.runs, reading.run_id, reading.segment, reader)
    if not asked.background:
        with closing(events):
            for _ in telling.tell(events):
                pass
        if telling.teller.error:
            raise telling.teller.error.fresh()
    return _json(telling.teller.response(), _headers(opened))


_FIELDS = (
    ("messages", "input"),
    ("tool_results", "input"),
    ("max_completion_tokens", "max_output_tokens"),
    ("max_tokens", "max_output_tokens"),
    ("reasoning_effort", "reasoning.effort"),
    ("response_format", "text.format"),
    ("verbosity", "text.verbosity"),
)


def _own_field(param: str | None) -> str | None:
    """Return the field of the client's own request: the rest of the bridge speaks of those of chat completions."""
    named = (param or "").partition("[")[0].partition(".")[0]
    return dict(_FIELDS).get(named, param)


def _events(core: Core, limits: Limits, opened: Opened, reader: Reader) -> Generator[Event | None]:
    return follow(core.runs, opened.reading.run_id, opened.reading.segment, reader, limits)


def _headers(opened: Opened) -> dict[str, str]:
    return {"X-Clawback-Run": opened.reading.run_id, "X-Request-Id": request_id.current()}


def _sse_response(stream: Iterator[str], opened: Opened) -> Response:
    headers = _headers(opened) | {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return Response(stream, content_type="text/event-stream; charset=utf-8", headers=headers)


def _json(body: Body, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body, ensure_ascii=False), content_type="application/json", headers=headers)


def _stream(opened: Opened, events: Generator[Event | None], after: int) -> Iterator[str]:
    with closing(events):
        try:
            for event in opened.telling.tell(events, after):
                data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
                yield f"event: {event['type']}\ndata: {data}\n\n"
            # Open Responses asks for it; OpenAI's SDKs and Codex stop reading before it, or at it.
            yield DONE
        except ClientGone:
            log.info("the client went away", extra={"run": opened.reading.run_id})


def _in_background(work: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=work, args=arguments, daemon=True, name=f"clawback-{work.__name__}").start()


def _follow_to_its_end(core: Core, desk: ResponseDesk, opened: Opened, limits: Limits, client: str) -> None:
    """Stay with a response whose client does not: a run without readers would end after the grace time."""
    for _ in follow(core.runs, opened.reading.run_id, opened.reading.segment, Reader(), limits):
        pass
    with suppress(StoreUnavailable):
        desk.find(opened.telling.teller.id, client)


def _page(items: list[Body], asked: PageQuery) -> Body:
    if asked.order == "desc":
        items = items[::-1]
    if asked.after:
        positions = [position for position, item in enumerate(items) if item["id"] == asked.after]
        if not positions:
            raise InvalidRequest(f"there is no item {asked.after!r}", param="after")
        items = items[positions[0] + 1 :]
    page = items[: asked.limit]
    ids = [item["id"] for item in page] or [""]
    return {
        "object": "list",
        "data": page,
        "first_id": ids[0],
        "last_id": ids[-1],
        "has_more": len(items) > asked.limit,
    }
