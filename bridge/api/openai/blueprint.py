"""The routes of the OpenAI endpoint."""

import json
import logging
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, Field

from bridge.api.access import may_ask
from bridge.api.bodies import check_sizes, checked_query, json_body
from bridge.api.openai.chat_request import ChatRequest, ask_of, parse_chat_request
from bridge.api.openai.chat_response import CallForm, ChatStream, as_text, completion
from bridge.api.openai.keepalive import ClientGone, follow, reader_of, watched
from bridge.api.openai.schemas import ChatCompletion, ChatCompletionChunk, Model, ModelList
from bridge.api.openai.turns import Reading, Turns
from bridge.api.openapi.operation import RUN_ERRORS, Error, operation
from bridge.config import App, Config
from bridge.dify import InputField
from bridge.dify.apps import AppFacts
from bridge.errors import InvalidRequest, NotFound
from bridge.runs import request_id
from bridge.runs.core import Core
from bridge.runs.segments import Event, Failure

log = logging.getLogger("clawback.endpoint")


class ModelsQuery(BaseModel):
    """A page of the models, as Anthropic's clients ask for it; all of them by default."""

    limit: int | None = Field(default=None, ge=1, le=1000)
    after_id: str | None = None
    before_id: str | None = None


def endpoint_blueprint(config: Config, core: Core, turns: Turns) -> Blueprint:
    """Return the blueprint that clients of the OpenAI API talk to."""
    blueprint = Blueprint("endpoint", __name__, url_prefix="/v1")
    limits, catalogue = config.limits, core.services.apps.catalogue

    @blueprint.get("/models")
    @operation("List the apps, shown as models.", query=ModelsQuery, answer=ModelList)
    def list_models() -> Response:
        asked = checked_query(ModelsQuery, request.args)
        apps, more = _page([app for app in config.apps if may_ask(app.model)], asked)
        with ThreadPoolExecutor(max(1, len(apps))) as pool:
            known = list(pool.map(catalogue.of, apps))
        models = list(map(_model, apps, known))
        ids: list[str | None] = [app.model for app in apps] or [None]
        return jsonify({"object": "list", "data": models, "first_id": ids[0], "last_id": ids[-1], "has_more": more})

    @blueprint.get("/models/<path:model>")
    @operation("Look at one model.", answer=Model)
    def get_model(model: str) -> Response:
        app = app_of(config, model)
        return jsonify(_model(app, catalogue.of(app)))

    @blueprint.post("/chat/completions")
    @operation(
        "Ask for a chat completion, whole or as a stream.",
        body=ChatRequest,
        answer=ChatCompletion,
        stream=ChatCompletionChunk | Error,
        stream_end="[DONE]",
        errors=(NotFound, *RUN_ERRORS),
    )
    def chat_completions() -> Response:
        body = json_body(request, limits.request_bytes)
        check_sizes(body, limits)
        chat = parse_chat_request(body)
        app = app_of(config, chat.model)
        reader = reader_of(request.environ)
        ask = ask_of(chat, body, app.max_output_tokens)
        reading = turns.respond(dict(request.headers), app, ask, reader.connection)
        events = follow(core.runs, reading.run_id, reading.segment, reader, limits)
        form: CallForm = "function" if chat.legacy else "tools"
        if chat.tool_call_mode == "openclaw_text":
            form, events = "text", as_text(events)
        headers = {"X-Clawback-Run": reading.run_id, "X-Request-Id": request_id.current()}
        if not chat.stream:
            return jsonify_completion(chat, events, headers, form)
        if reading.fresh:
            wait_for_first(reading, limits.first_event_seconds)
        stream = stream_of(ChatStream(chat.model, chat.include_usage, form, chat.note), events)
        headers |= {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        response = Response(stream, content_type="text/event-stream; charset=utf-8", headers=headers)
        return watched(response, core.runs, reading.run_id, reading.segment, reader)

    return blueprint


def _page(apps: list[App], asked: ModelsQuery) -> tuple[list[App], bool]:
    """Return the apps of a page, and whether there are more in its direction."""
    ids = [app.model for app in apps]
    for field, model in (("after_id", asked.after_id), ("before_id", asked.before_id)):
        if model is not None and model not in ids:
            raise InvalidRequest(f"there is no model {model!r}", param=field)
    begin = 0 if asked.after_id is None else ids.index(asked.after_id) + 1
    end = len(ids) if asked.before_id is None else ids.index(asked.before_id)
    found = apps[begin:end]
    most = asked.limit or len(found)
    backwards = asked.before_id is not None
    return found[-most:] if backwards else found[:most], len(found) > most


def wait_for_first(reading: Reading, seconds: float) -> None:
    """Give a run that fails at once the chance to do so with a proper status, before the stream is committed to 200."""
    first = reading.segment.read(0, seconds)
    if first and isinstance(first[0], Failure):
        raise first[0].error.fresh()


def stream_of(stream: ChatStream, events: Generator[Event | None]) -> Iterator[str]:
    """Return the response's body."""
    with closing(events):
        yield stream.begin()
        try:
            for event in events:
                if event is None:
                    yield stream.keepalive()
                else:
                    yield from stream.chunks(event)
        except ClientGone:
            log.info("the client went away")


def jsonify_completion(
    chat: ChatRequest, events: Generator[Event | None], headers: dict[str, str], form: CallForm
) -> Response:
    """Return the whole answer as one body."""
    with closing(events):
        body = completion(chat.model, (event for event in events if event is not None), form, chat.note)
    return Response(json.dumps(body, ensure_ascii=False), content_type="application/json", headers=headers)


def app_of(config: Config, model: str) -> App:
    """Return the app that is shown as `model`, or has it among its aliases. Raises NotFound."""
    app = config.app_called(model)
    if app is None or not may_ask(app.model):
        known = (
            ", ".join(app.model for app in config.apps if may_ask(app.model))
            or "none: the configuration has no [[apps]]"
        )
        raise NotFound(f"there is no model {model!r}; this bridge has {known}", code="model_not_found", param="model")
    return app


def _model(app: App, facts: AppFacts) -> dict[str, object]:
    """Return the app as a model in OpenAI's form and in Anthropic's: neither minds the other's fields."""
    return {
        "id": app.model,
        "object": "model",
        "created": 0,
        "owned_by": "dify",
        "description": app.description,
        "context_window": app.context_window,
        "max_output_tokens": app.max_output_tokens,
        "kind": facts.kind,
        "inputs": None if facts.inputs is None else [_input(field, app) for field in facts.inputs],
        "opening_statement": facts.opening_statement,
        "suggested_questions": list(facts.suggested_questions),
        "input_modalities": _modalities(facts),
        # Anthropic's
        "type": "model",
        "display_name": app.model,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": app.context_window,
        "max_tokens": app.max_output_tokens,
    }


def _modalities(facts: AppFacts) -> list[str]:
    """Return what an app takes beside text. Dify calls a file that is no image, sound or film a document, or custom."""
    names = {"image": "image", "document": "file", "custom": "file", "audio": "audio"}
    return ["text", *dict.fromkeys(names[kind] for kind in names if kind in facts.files)]


def _input(field: InputField, app: App) -> dict[str, object]:
    given = field.name in {*app.inputs, *app.input_map, app.marker_input}
    return {"name": field.name, "type": field.kind, "required": field.required and not given}
