"""The routes on which results are posted back to a ticket itself."""

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, Field

from bridge.auth import guard
from bridge.config import Config
from bridge.errors import NotFound
from bridge.json_body import json_body
from bridge.plugin_api import validated
from bridge.runs import Runs
from bridge.store.rows import TicketRow
from bridge.tickets import Tickets
from tools.results import ToolResult


class ToolResults(BaseModel):
    """`tool_results`: one entry a call; not all of a ticket's calls need to come at once."""

    tool_results: list[ToolResult] = Field(min_length=1)


def executor_blueprint(config: Config, runs: Runs, tickets: Tickets) -> Blueprint:
    """Return the blueprint for whoever runs a ticket's calls without being the run's client."""
    blueprint = Blueprint("executor", __name__, url_prefix="/executor/v1")
    check = guard(config.tokens, "executor", "client")

    @blueprint.before_request
    def _authorize() -> None:
        check(request)

    @blueprint.get("/tickets/<ticket_id>")
    def get_ticket(ticket_id: str) -> Response:
        ticket = runs.store.ticket(ticket_id)
        if ticket is None:
            raise NotFound(f"there is no ticket {ticket_id}", code="ticket_not_found", param="ticket_id")
        return jsonify(_body(ticket))

    @blueprint.post("/tickets/<ticket_id>/results")
    def post_results(ticket_id: str) -> Response:
        posted = validated(ToolResults, json_body(request, config.limits.request_bytes))
        with runs.lock:
            ticket = tickets.add_results(ticket_id, posted.tool_results)
            run = runs.store.run(ticket.run_id)
            app = runs.app(run.model) if run else None
            if run and app and ticket.state == "resolved" and run.state == "suspended":
                runs.resume(run, app)
        return jsonify(_body(ticket))

    return blueprint


def _body(ticket: TicketRow) -> dict[str, object]:
    return {
        "id": ticket.id,
        "run_id": ticket.run_id,
        "state": ticket.state,
        "reason": ticket.reason,
        "tool_calls": [call.call().to_openai() for call in ticket.calls],
        "missing": ticket.missing(),
    }
