"""The routes that the plugin calls from inside Dify. `tools.wire` has their bodies."""

from importlib.metadata import version

from flask import Blueprint, Response, request
from pydantic import BaseModel, ValidationError

from bridge.attach import Invocations
from bridge.auth import guard
from bridge.config import Config
from bridge.errors import InvalidRequest
from bridge.json_body import json_body
from bridge.tickets import Tickets
from tools.wire import AttachRequest, CancelRequest, DraftRequest, PingResponse, RecordRequest, TicketRequest

MAX_WAIT_SECONDS = 30.0


def plugin_blueprint(config: Config, invocations: Invocations, tickets: Tickets) -> Blueprint:
    """Return the blueprint that the plugin talks to."""
    blueprint = Blueprint("plugin", __name__, url_prefix="/plugin/v1")
    check = guard(config.tokens, "plugin")

    @blueprint.before_request
    def _authorize() -> None:
        check(request)

    def body[Model: BaseModel](model: type[Model]) -> Model:
        return _body(config, model)

    @blueprint.get("/ping")
    def ping() -> Response:
        return answer(PingResponse(version=version("clawback")))

    @blueprint.post("/attach")
    def attach() -> Response:
        return answer(invocations.attach(body(AttachRequest)))

    @blueprint.put("/tickets/<ticket_id>")
    def open_ticket(ticket_id: str) -> Response:
        return answer(tickets.open(ticket_id, body(TicketRequest)))

    @blueprint.get("/tickets/<ticket_id>")
    def wait_ticket(ticket_id: str) -> Response:
        return answer(tickets.wait(ticket_id, request.args.get("invocation_id"), _wait_seconds()))

    @blueprint.post("/tickets/<ticket_id>/cancel")
    def cancel_ticket(ticket_id: str) -> Response:
        asked = body(CancelRequest)
        return answer(tickets.cancel(ticket_id, asked.reason, asked.invocation_id))

    @blueprint.post("/tickets/<ticket_id>/suspend")
    def suspend_ticket(ticket_id: str) -> Response:
        return answer(tickets.suspend(ticket_id, request.args.get("invocation_id")))

    _add_invocations(blueprint, config, invocations)
    return blueprint


def _add_invocations(blueprint: Blueprint, config: Config, invocations: Invocations) -> None:
    @blueprint.post("/invocations/<invocation_id>/drafts")
    def draft(invocation_id: str) -> Response:
        invocations.draft(invocation_id, _body(config, DraftRequest))
        return Response(status=204)

    @blueprint.post("/invocations/<invocation_id>/record")
    def record(invocation_id: str) -> Response:
        invocations.record(invocation_id, _body(config, RecordRequest))
        return Response(status=204)


def _body[Model: BaseModel](config: Config, model: type[Model]) -> Model:
    return validated(model, json_body(request, config.limits.request_bytes))


def answer(model: BaseModel) -> Response:
    """Return the model as a JSON response."""
    return Response(model.model_dump_json(), content_type="application/json")


def validated[Model: BaseModel](model: type[Model], values: object) -> Model:
    """Check `values`. Raises InvalidRequest that names the first field that is wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        param = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{param}: {first['msg']}", param=param or None) from None


def _wait_seconds() -> float:
    try:
        seconds = float(request.args.get("wait", "0"))
    except ValueError:
        raise InvalidRequest("wait must be a number of seconds", param="wait") from None
    if not 0 <= seconds <= MAX_WAIT_SECONDS:
        raise InvalidRequest(f"wait must be between 0 and {MAX_WAIT_SECONDS:g} seconds", param="wait")
    return seconds
