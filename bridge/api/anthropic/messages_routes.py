"""The routes of the Messages API, and their answers as the OpenAPI document describes them.

`messages_response` makes the answers; tests hold these against the models here, and against the types of Anthropic's
SDK.
"""

import json
import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from typing import Annotated, Any, Literal

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, Field

from bridge.api.access import client_name
from bridge.api.anthropic.messages_request import (
    CountRequest,
    MessagesRequest,
    ask_of,
    parse_count_request,
    parse_messages_request,
    prompt_of,
)
from bridge.api.anthropic.messages_response import Body, MessageTeller, Told, ToldFailures, key_of
from bridge.api.anthropic.wording import error_body, in_their_words, status_of
from bridge.api.bodies import check_sizes, json_body
from bridge.api.openai.blueprint import app_of
from bridge.api.openai.keepalive import ClientGone, follow, reader_of, watched
from bridge.api.openai.schemas import Answer, Note
from bridge.api.openai.turns import Turns
from bridge.api.openapi.operation import RUN_ERRORS, ErrorForm, operation
from bridge.config import Config
from bridge.errors import BridgeError, NotFound
from bridge.runs import request_id
from bridge.runs.answers.view import prompt_tokens
from bridge.runs.core import Core
from bridge.runs.segments import Begun, Event, Failure, Segment, extent

_COUNT = Annotated[int, Field(ge=0)]


class AnsweredText(Answer):
    """Text."""

    type: Literal["text"]
    text: str


class AnsweredThinking(Answer):
    """What the model thought. The signature names what the bridge keeps of it."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class AnsweredToolUse(Answer):
    """A call that the client is to run."""

    type: Literal["tool_use"]
    id: str = Field(pattern=r"^[A-Za-z0-9]{1,40}$")
    name: str
    input: dict[str, Any]


class MessageUsage(Answer):
    """Tokens, as Anthropic counts them. Of the prompt's, none are known to be cached."""

    input_tokens: _COUNT
    cache_creation_input_tokens: Literal[0]
    cache_read_input_tokens: Literal[0]
    output_tokens: _COUNT


StopReason = Literal["end_turn", "tool_use", "max_tokens", "refusal"]


class AnthropicMessage(Answer):
    """A whole answer. `clawback` says what was odd about the request or the run."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[Annotated[AnsweredText | AnsweredThinking | AnsweredToolUse, Field(discriminator="type")]]
    stop_reason: StopReason | None
    stop_sequence: None
    usage: MessageUsage
    clawback: Note | None = None


class MessageEvent(BaseModel):
    """An event of a message's stream, as Anthropic's reference lists them. It ends with `message_stop`, or an error."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    type: Literal[
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
    ]


class TokenCount(Answer):
    """How many tokens a request is estimated to have, by the rule of `usage`."""

    input_tokens: _COUNT


class AnthropicErrorDetail(BaseModel):
    """What is wrong. `details` may hold the bridge's own code and the path of the field that is wrong."""

    type: str
    message: str
    details: dict[str, str] = {}


class AnthropicError(Answer):
    """An error in Anthropic's shape."""

    type: Literal["error"]
    error: AnthropicErrorDetail
    request_id: str


ANTHROPIC = ErrorForm(AnthropicError, lambda error: error_body(error) | {"request_id": "req_3vQ8rT2xLm"}, status_of)

log = logging.getLogger("clawback.endpoint")


def messages_blueprint(config: Config, core: Core, turns: Turns) -> Blueprint:
    """Return the blueprint of Anthropic's messages."""
    blueprint = Blueprint("messages", __name__, url_prefix="/v1/messages")
    limits = config.limits
    failures = ToldFailures()

    @blueprint.post("")
    @operation(
        "Ask for a message, whole or as a stream.",
        body=MessagesRequest,
        answer=AnthropicMessage,
        stream=MessageEvent,
        errors=(NotFound, *RUN_ERRORS),
        error_form=ANTHROPIC,
    )
    def create() -> Response:
        given = dict(request.headers)
        body = json_body(request, limits.request_bytes)
        check_sizes(body, limits)
        asked = parse_messages_request(body)
        app = app_of(config, asked.model)
        ask = ask_of(asked, body, app.max_output_tokens)
        if not asked.stream:
            failures.raise_again(client_name(), given, body)
        reader = reader_of(request.environ)
        reading = turns.respond(given, app, ask, reader.connection)
        told = Told(
            model=asked.model,
            run_id=reading.run_id,
            segment=reading.segment.number,
            prompt_tokens=prompt_tokens(ask.messages, ask.tools),
            context_window=app.context_window,
            thinking=bool(asked.thinking and asked.thinking.shown),
            note=asked.note,
        )
        if asked.stream:
            _wait_for_content(reading.segment, told, limits.first_event_seconds)
        events = follow(core.runs, reading.run_id, reading.segment, reader, limits)
        named = request_id.current()
        headers = {"X-Clawback-Run": reading.run_id, "X-Request-Id": named, "request-id": named}
        if not asked.stream:
            return _json(_whole(told, events), headers)
        headers |= {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        stream = _stream(MessageTeller(told), events, partial(failures.keep, key_of(client_name(), given, body)))
        response = Response(stream, content_type="text/event-stream; charset=utf-8", headers=headers)
        return watched(response, core.runs, reading.run_id, reading.segment, reader)

    @blueprint.post("/count_tokens")
    @operation(
        "Estimate how many tokens a request has.",
        body=CountRequest,
        answer=TokenCount,
        errors=(NotFound,),
        error_form=ANTHROPIC,
    )
    def count_tokens() -> Response:
        body = json_body(request, limits.request_bytes)
        check_sizes(body, limits)
        asked = parse_count_request(body)
        app_of(config, asked.model)
        messages, tools, _ = prompt_of(asked)
        return _json({"input_tokens": prompt_tokens(messages, tools)}, {"request-id": request_id.current()})

    return blueprint


def _wait_for_content(segment: Segment, told: Told, seconds: float) -> None:
    """Give what fails before it says anything the chance to do so with a proper status.

    Claude Code repeats a stream that ends in an error at once, and without `stream`, whatever the error is.
    """
    until, position = time.monotonic() + seconds, 0
    while (left := until - time.monotonic()) > 0:
        for event in segment.read(position, left):
            if isinstance(event, Failure):
                raise in_their_words(event.error.fresh(), told.prompt_tokens, told.context_window)
            if not isinstance(event, Begun):
                return
            position += extent(event)


def _json(body: Body, headers: dict[str, str]) -> Response:
    return Response(json.dumps(body, ensure_ascii=False), content_type="application/json", headers=headers)


def _whole(told: Told, events: Generator[Event | None]) -> Body:
    teller = MessageTeller(told)
    with closing(events):
        for event in events:
            for _ in teller.tell(event) if event is not None else ():
                pass
    if teller.error:
        raise teller.error.fresh()
    return teller.message()


def _stream(
    teller: MessageTeller, events: Generator[Event | None], keep_failure: Callable[[BridgeError], None]
) -> Iterator[str]:
    with closing(events):
        yield from map(_sse, teller.begin())
        try:
            for event in events:
                told = list(teller.keepalive() if event is None else teller.tell(event))
                if teller.error:
                    keep_failure(teller.error)
                yield from map(_sse, told)
        except ClientGone:
            log.info("the client went away")


def _sse(event: Body) -> str:
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False, separators=(',', ':'))}\n\n"
