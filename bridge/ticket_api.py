"""The routes on which results are posted to a ticket itself, for calls that nobody has a lease on.

GET  /executor/v1/tickets/{id}
POST /executor/v1/tickets/{id}/results     {tool_results: [{tool_call_id, output, is_error}]}
"""

from typing import Any

from flask import Blueprint, Response, request
from pydantic import BaseModel, Field

from bridge.auth import guard
from bridge.config import Config
from bridge.errors import Conflict, Gone
from bridge.json_answer import json_answer
from bridge.json_body import json_body
from bridge.openapi.operation import operation
from bridge.sizes import check_sizes
from bridge.store.rows import TicketRow
from bridge.tickets import Tickets
from bridge.validation import checked
from tools.results import ToolResult
from tools.wire import TicketState


class ToolResults(BaseModel):
    """`tool_results`: one entry a call; not all of a ticket's calls need to come at once."""

    tool_results: list[ToolResult] = Field(min_length=1)


class TicketBody(BaseModel):
    """What a ticket looks like to who runs its calls. `missing` are the tool_call_ids that wait for a result.

    `request_id` is that of the client's request that led to it.
    """

    id: str
    run_id: str
    request_id: str | None
    state: TicketState
    reason: str | None
    tool_calls: list[dict[str, Any]]
    missing: list[str]


def ticket_blueprint(config: Config, tickets: Tickets) -> Blueprint:
    """Return the blueprint for whoever runs a ticket's calls without being the run's client."""
    blueprint = Blueprint("tickets", __name__, url_prefix="/executor/v1/tickets")
    check = guard(config.tokens, "executor", "client")

    @blueprint.before_request
    def _authorize() -> None:
        check(request)

    @blueprint.get("/<ticket_id>")
    @operation("Look at a ticket.", answer=TicketBody)
    def get_ticket(ticket_id: str) -> Response:
        return json_answer(ticket_body(tickets.known(ticket_id)))

    @blueprint.post("/<ticket_id>/results")
    @operation(
        "Answer calls of a ticket that nobody has a lease on.",
        body=ToolResults,
        answer=TicketBody,
        errors=(Conflict, Gone),
    )
    def post_results(ticket_id: str) -> Response:
        body = json_body(request, config.limits.request_bytes)
        check_sizes(body, config.limits)
        posted = checked(ToolResults, body)
        ticket = tickets.add_results(ticket_id, posted.tool_results, actor="executor")
        tickets.moved(ticket)
        return json_answer(ticket_body(ticket))

    return blueprint


def ticket_body(ticket: TicketRow) -> TicketBody:
    """Return what a ticket looks like to who runs its calls."""
    return TicketBody.model_validate(
        {
            "id": ticket.id,
            "run_id": ticket.run_id,
            "request_id": ticket.request_id,
            "state": ticket.state,
            "reason": ticket.reason,
            "tool_calls": [call.call().to_openai() for call in ticket.calls],
            "missing": ticket.missing(),
        }
    )
