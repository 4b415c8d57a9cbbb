"""The routes of responses."""

import json
import logging
import threading
from collections.abc import Callable, Iterator

from flask import Blueprint, Response, g, request

from bridge.auth import guard
from bridge.config import Config, Limits
from bridge.endpoint.blueprint import app_of, wait_for_first
from bridge.endpoint.keepalive import ClientGone, connection_of, follow
from bridge.endpoint.responses import Opened, ResponseDesk
from bridge.endpoint.responses_request import ResponsesRequest, parse_responses_request
from bridge.endpoint.responses_response import Body
from bridge.endpoint.turns import Turns
from bridge.errors import InvalidRequest
from bridge.json_body import json_body
from bridge.runs import Runs
from bridge.segments import Event

log = logging.getLogger("clawback.endpoint")

_PAGE = 20
_LONGEST_PAGE = 100


def responses_blueprint(config: Config, runs: Runs, turns: Turns) -> Blueprint:
    """Return the blueprint of OpenAI's responses."""
    blueprint = Blueprint("responses", __name__, url_prefix="/v1/responses")
    check = guard(config.tokens, "client")
    desk = ResponseDesk(runs, turns)

    @blueprint.before_request
    def _authorize() -> None:
        check(request)

    @blueprint.post("")
    def create() -> Response:
        body = json_body(request, config.limits.request_bytes)
        asked = parse_responses_request(body)
        opened = desk.open(dict(request.headers), app_of(config, asked.model), asked, body)
        return _answer(runs, desk, config.limits, asked, opened)

    @blueprint.get("/<response_id>")
    def retrieve(response_id: str) -> Response:
        if request.args.get("stream") == "true":
            raise InvalidRequest("a response is retrieved as a whole: leave stream out", param="stream")
        return _json(desk.find(response_id))

    @blueprint.delete("/<response_id>")
    def delete(response_id: str) -> Response:
        desk.delete(response_id)
        return _json({"id": response_id, "object": "response", "deleted": True})

    @blueprint.post("/<response_id>/cancel")
    def cancel(response_id: str) -> Response:
        return _json(desk.cancel(response_id))

    @blueprint.get("/<response_id>/input_items")
    def input_items(response_id: str) -> Response:
        return _json(_page(desk.input_items(response_id)))

    return blueprint


def _answer(runs: Runs, desk: ResponseDesk, limits: Limits, asked: ResponsesRequest, opened: Opened) -> Response:
    reading, teller = opened.reading, opened.teller
    headers = {"X-Clawback-Run": reading.run_id, "X-Request-Id": g.request_id}
    if asked.background:
        _in_background(_follow_to_its_end, runs, desk, opened, limits.keepalive_seconds)
    events = follow(runs, reading.run_id, reading.segment, connection_of(request.environ), limits.keepalive_seconds)
    if asked.stream:
        if reading.fresh:
            wait_for_first(reading, limits.first_event_seconds)
        headers |= {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        stream = _stream(desk, opened, events)
        return Response(stream, content_type="text/event-stream; charset=utf-8", headers=headers)
    if not asked.background:
        teller.take(event for event in events if event is not None)
        desk.keep(opened)
        if teller.error:
            raise teller.error
    return _json(teller.response(), headers)


def _json(body: Body, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body, ensure_ascii=False), content_type="application/json", headers=headers)


def _sse(events: Iterator[Body]) -> Iterator[str]:
    for event in events:
        data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        yield f"event: {event['type']}\ndata: {data}\n\n"


def _stream(desk: ResponseDesk, opened: Opened, events: Iterator[Event | None]) -> Iterator[str]:
    teller = opened.teller
    yield from _sse(teller.begin())
    try:
        for event in events:
            if event is None:
                yield from _sse(teller.keepalive())
                continue
            told = list(teller.tell(event))
            if teller.status != "in_progress":
                desk.keep(opened)
            yield from _sse(iter(told))
    except ClientGone:
        log.info("the client went away", extra={"run": opened.reading.run_id})


def _in_background(work: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=work, args=arguments, daemon=True, name=f"clawback-{work.__name__}").start()


def _follow_to_its_end(runs: Runs, desk: ResponseDesk, opened: Opened, seconds: float) -> None:
    """Stay with a response whose client does not: a run without readers would end after the grace time."""
    for _ in follow(runs, opened.reading.run_id, opened.reading.segment, None, seconds):
        pass
    desk.find(opened.teller.id)


def _page(items: list[Body]) -> Body:
    """Return the page that the query asks for: newest first unless told otherwise."""
    if request.args.get("order", "desc") != "asc":
        items = items[::-1]
    after = request.args.get("after")
    if after:
        positions = [position for position, item in enumerate(items) if item["id"] == after]
        if not positions:
            raise InvalidRequest(f"there is no item {after!r}", param="after")
        items = items[positions[0] + 1 :]
    try:
        limit = int(request.args.get("limit", _PAGE))
    except ValueError:
        limit = 0
    if not 1 <= limit <= _LONGEST_PAGE:
        raise InvalidRequest(f"limit must be from 1 to {_LONGEST_PAGE}", param="limit")
    page = items[:limit]
    ids = [item["id"] for item in page] or [""]
    return {
        "object": "list",
        "data": page,
        "first_id": ids[0],
        "last_id": ids[-1],
        "has_more": len(items) > limit,
    }
