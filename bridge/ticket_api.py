"""The routes on which results are posted to a ticket itself, for calls that nobody has a lease on.

GET  /executor/v1/tickets/{id}
POST /executor/v1/tickets/{id}/results     {tool_results: [{tool_call_id, output, is_error}]}
"""

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, Field

from bridge.auth import guard
from bridge.config import Config
from bridge.json_body import json_body
from bridge.plugin_api import validated
from bridge.store.rows import TicketRow
from bridge.tickets import Tickets
from tools.results import ToolResult


class ToolResults(BaseModel):
    """`tool_results`: one entry a call; not all of a ticket's calls need to come at once."""

    tool_results: list[ToolResult] = Field(min_length=1)


def ticket_blueprint(config: Config, tickets: Tickets) -> Blueprint:
    """Return the blueprint for whoever runs a ticket's calls without being the run's client."""
    blueprint = Blueprint("tickets", __name__, url_prefix="/executor/v1/tickets")
    check = guard(config.tokens, "executor", "client")

    @blueprint.before_request
    def _authorize() -> None:
        check(request)

    @blueprint.get("/<ticket_id>")
    def get_ticket(ticket_id: str) -> Response:
        return jsonify(ticket_body(tickets.known(ticket_id)))

    @blueprint.post("/<ticket_id>/results")
    def post_results(ticket_id: str) -> Response:
        posted = validated(ToolResults, json_body(request, config.limits.request_bytes))
        ticket = tickets.add_results(ticket_id, posted.tool_results, actor="executor")
        tickets.moved(ticket)
        return jsonify(ticket_body(ticket))

    return blueprint


def ticket_body(ticket: TicketRow) -> dict[str, object]:
    """Return what a ticket looks like to who runs its calls."""
    return {
        "id": ticket.id,
        "run_id": ticket.run_id,
        "state": ticket.state,
        "reason": ticket.reason,
        "tool_calls": [call.call().to_openai() for call in ticket.calls],
        "missing": ticket.missing(),
    }
