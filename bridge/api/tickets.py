"""GET /executor/v1/tickets/{id}: a ticket, as executors see it. Results come with the leases that they belong to."""

from typing import Any

from flask import Blueprint, Response
from pydantic import BaseModel

from bridge.api.json_answer import json_answer
from bridge.api.openapi.operation import operation
from bridge.runs.tickets.tickets import Tickets
from bridge.store.rows import TicketRow
from tools.wire import TicketState


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


def ticket_blueprint(tickets: Tickets) -> Blueprint:
    """Return the blueprint for executors that look at tickets."""
    blueprint = Blueprint("tickets", __name__, url_prefix="/executor/v1/tickets")

    @blueprint.get("/<ticket_id>")
    @operation("Look at a ticket.", answer=TicketBody)
    def get_ticket(ticket_id: str) -> Response:
        return json_answer(ticket_body(tickets.known(ticket_id)))

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
