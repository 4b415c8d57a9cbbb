"""The routes for people who decide, and for what shows them what waits.

GET  /operator/v1/tickets?state=open         the newest tickets with their calls
GET  /operator/v1/tickets/{id}               one ticket, and what happened to it
GET  /operator/v1/approvals                  the calls that wait for a decision
POST /operator/v1/calls/{id}/approve         {by, arguments?}: run it, with other arguments if there are any
POST /operator/v1/calls/{id}/deny            {by, reason}: do not run it; the model is told why
GET  /operator/v1/executors                  who is there, and with which tools
GET  /operator/v1/runs/{id}/events           the audit trail of a run
"""

import json
import time
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, ConfigDict, Field

from bridge.approvals import Approvals
from bridge.auth import guard
from bridge.config import Config
from bridge.errors import InvalidRequest, NotFound
from bridge.json_body import json_body
from bridge.plugin_api import validated
from bridge.registry import Registry, offers_of
from bridge.runs import Runs
from bridge.store.rows import CallRow, ExecutorRow, TicketRow
from tools.ticket_states import TicketState


class Approve(BaseModel):
    """`arguments` replace the model's own; the model is told that they were changed."""

    model_config = ConfigDict(extra="forbid")

    by: str = Field(default="someone", min_length=1, max_length=100)
    arguments: dict[str, Any] | None = None


class Deny(BaseModel):
    """`reason` is what the model is told."""

    model_config = ConfigDict(extra="forbid")

    by: str = Field(default="someone", min_length=1, max_length=100)
    reason: str = Field(default="A person does not want it to be run.", max_length=2000)


def operator_blueprint(config: Config, runs: Runs, approvals: Approvals, registry: Registry) -> Blueprint:
    """Return the blueprint for who watches and decides."""
    blueprint = Blueprint("operator", __name__, url_prefix="/operator/v1")
    # Commands on this machine may look. They may not decide: what a model runs on this machine could be one of them.
    look, decide = guard(config.tokens, "operator", local=True), guard(config.tokens, "operator")
    store = runs.store

    @blueprint.before_request
    def _authorize() -> None:
        (look if request.method == "GET" else decide)(request)

    @blueprint.get("/tickets")
    def list_tickets() -> Response:
        state = request.args.get("state", "open")
        if state not in {*TicketState, "all"}:
            raise InvalidRequest(f"state must be all or one of {', '.join(TicketState)}", param="state")
        return jsonify({"tickets": [_ticket(ticket) for ticket in store.tickets(*([] if state == "all" else [state]))]})

    @blueprint.get("/tickets/<ticket_id>")
    def get_ticket(ticket_id: str) -> Response:
        ticket = store.ticket(ticket_id)
        if ticket is None:
            raise NotFound(f"there is no ticket {ticket_id}", code="ticket_not_found", param="ticket_id")
        return jsonify(_ticket(ticket) | {"events": [asdict(event) for event in store.events(ticket_id)]})

    @blueprint.get("/runs/<run_id>/events")
    def list_events(run_id: str) -> Response:
        return jsonify({"events": [asdict(event) for event in store.events_of_run(run_id)]})

    @blueprint.get("/executors")
    def list_executors() -> Response:
        present = {executor.id for executor in registry.present()}
        loads = store.executors.loads()
        return jsonify({"executors": [_executor(each, present, loads) for each in store.executors.all()]})

    _add_decisions(blueprint, approvals, config.limits.request_bytes)
    return blueprint


def _add_decisions(blueprint: Blueprint, approvals: Approvals, limit: int) -> None:
    @blueprint.get("/approvals")
    def list_approvals() -> Response:
        return jsonify({"calls": [_call(call) | {"run_id": ticket.run_id} for ticket, call in approvals.waiting()]})

    @blueprint.post("/calls/<call_id>/approve")
    def approve(call_id: str) -> Response:
        asked = validated(Approve, json_body(request, limit))
        return jsonify(_call(approvals.approve(call_id, asked.by, asked.arguments)))

    @blueprint.post("/calls/<call_id>/deny")
    def deny(call_id: str) -> Response:
        asked = validated(Deny, json_body(request, limit))
        return jsonify(_call(approvals.deny(call_id, asked.by, asked.reason)))


def _ticket(ticket: TicketRow) -> dict[str, Any]:
    return {
        "id": ticket.id,
        "run_id": ticket.run_id,
        "state": ticket.state,
        "reason": ticket.reason,
        "created_at": ticket.created_at,
        "expires_at": ticket.expires_at,
        "calls": [_call(call) for call in ticket.calls],
    }


def _call(call: CallRow) -> dict[str, Any]:
    return {
        "id": call.id,
        "ticket_id": call.ticket_id,
        "name": call.name,
        "arguments": call.arguments,
        "asked": call.asked,
        "state": call.state,
        "verdict": call.verdict,
        "decide_until": call.decide_until,
        "handouts": call.handouts,
        "is_error": call.is_error,
    }


def _executor(executor: ExecutorRow, present: set[str], loads: dict[str, int]) -> dict[str, Any]:
    return {
        "id": executor.id,
        "name": executor.name,
        "present": executor.id in present,
        "seconds_ago": round(time.time() - executor.seen_at, 1),
        "concurrency": executor.concurrency,
        "calls": loads.get(executor.id, 0),
        "patterns": json.loads(executor.patterns),
        "tools": [offer.definition.name for offer in offers_of(executor)],
    }
