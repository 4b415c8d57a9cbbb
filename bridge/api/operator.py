"""The routes for people who decide, and for what shows them what waits.

GET  /operator/v1/tickets?state=open         the newest tickets with their calls
GET  /operator/v1/tickets/{id}               one ticket, and what happened to it
GET  /operator/v1/approvals                  the calls that wait for a decision
POST /operator/v1/calls/{id}/approve         {by, arguments?}: run it, with other arguments if there are any
POST /operator/v1/calls/{id}/deny            {by, reason}: do not run it; the model is told why
GET  /operator/v1/forms                      the forms that wait for a person
POST /operator/v1/forms/{id}/answer          {by, action, inputs}: fill in a form, and its run goes on
GET  /operator/v1/executors                  who is there, and with which tools
GET  /operator/v1/runs/{id}                  all that is known of a run
GET  /operator/v1/runs/{id}/events           the audit trail of a run
POST /operator/v1/runs/{id}/cancel           {by}: end a run
POST /operator/v1/runs/{id}/again            {by}: ask once more what it was asked; executors run its calls
"""

import json
import logging
from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Any, Literal

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, Field

from bridge.api.bodies import checked, checked_query, json_answer, json_body
from bridge.api.openapi.operation import operation
from bridge.config import Config
from bridge.dify.forms import Form
from bridge.errors import Conflict, Gone, NotFound
from bridge.runs.core import Core
from bridge.runs.executors.registry import offers_of
from bridge.runs.forms import form_of
from bridge.runs.requests import RunRequests
from bridge.runs.runs import Runs
from bridge.runs.tickets.approvals import Approvals
from bridge.store import clock
from bridge.store.rows import CallRow, EventRow, ExecutorRow, FormRow, ModelCallRow, NodeRow, RunRow, TicketRow
from bridge.store.store import Store
from bridge.store.timeline import Dated, Timeline
from tools.run_states import UNFINISHED
from tools.ticket_states import CallState, TicketState

log = logging.getLogger("clawback.operator")

FormState = Literal["open", "answered", "submitted", "expired", "cancelled"]


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


class AnswerForm(BaseModel):
    """`action` is the id of a button, `inputs` are the fields by their names; one that is left out has its default."""

    model_config = ConfigDict(extra="forbid")

    by: str = Field(default="someone", min_length=1, max_length=100)
    action: str = Field(max_length=64)
    inputs: dict[str, str] = Field(default_factory=dict)


class CancelRun(BaseModel):
    """Who wants a run to end, or to be done again."""

    model_config = ConfigDict(extra="forbid")

    by: str = Field(default="someone", min_length=1, max_length=100)


class RunAgain(BaseModel):
    """A run that is done again. `path` leads to what comes of it on the web page."""

    id: str
    model: str
    path: str


class RunEnd(BaseModel):
    """A run that was cancelled."""

    id: str
    state: str
    error: str | None


class TicketsQuery(BaseModel):
    """Which tickets to list. `open` leaves out those that clients have left unanswered for `limits.abandoned_seconds`,
    which `abandoned` asks for."""

    state: TicketState | Literal["abandoned", "all"] = TicketState.OPEN


class CallView(BaseModel):
    """A call and where it stands. `asked` are the model's own arguments, where a person changed them.

    `executors` are the names of those that a person is or was asked about, and that an approval is for.
    `decide_until` is in seconds since the epoch, `handouts` counts its leases.
    """

    id: str
    ticket_id: str
    name: str
    arguments: str
    asked: str | None
    state: CallState
    verdict: str
    executors: list[str]
    decide_until: float | None
    handouts: int
    is_error: bool | None


class TicketView(BaseModel):
    """A ticket and its calls. Times are seconds since the epoch.

    `request_id` is that of the client's request that led to it, which the log and the client's response name too.
    """

    id: str
    run_id: str
    request_id: str | None
    state: TicketState
    reason: str | None
    created_at: float
    expires_at: float
    calls: list[CallView]


class TicketList(BaseModel):
    """The newest tickets."""

    tickets: list[TicketView]


class TicketHistory(TicketView):
    """A ticket, and what happened to it."""

    events: list[EventRow]


class EventList(BaseModel):
    """What happened, in its order."""

    events: list[EventRow]


class WaitingCall(CallView):
    """A call that waits for a decision, and its run."""

    run_id: str


class WaitingCalls(BaseModel):
    """The calls that wait for a decision, oldest first."""

    calls: list[WaitingCall]


class FormView(Form):
    """A form of a Human Input node, and where it stands. Times are seconds since the epoch."""

    id: str
    run_id: str
    model: str
    state: FormState
    answered_by: str | None
    created_at: float
    expires_at: float


class WaitingForms(BaseModel):
    """The forms that wait for a person, oldest first."""

    forms: list[FormView]


class ExecutorView(BaseModel):
    """An executor, how long it was silent, and how many calls it has in hand."""

    id: str
    name: str
    present: bool
    seconds_ago: float
    concurrency: int
    calls: int
    patterns: list[str]
    tools: list[str]


class ExecutorList(BaseModel):
    """Who is there."""

    executors: list[ExecutorView]


def operator_blueprint(config: Config, core: Core) -> Blueprint:
    """Return the blueprint for who watches and decides."""
    blueprint = Blueprint("operator", __name__, url_prefix="/operator/v1")
    store, registry = core.store, core.registry

    @blueprint.get("/tickets")
    @operation("List the newest tickets and their calls.", query=TicketsQuery, answer=TicketList)
    def list_tickets() -> Response:
        state = checked_query(TicketsQuery, request.args).state
        left_before = clock.now() - config.limits.abandoned_seconds
        match state:
            case "abandoned":
                found = store.abandoned_tickets(left_before)
            case "all":
                found = store.tickets()
            case _:
                found = store.tickets(state, left_before=left_before)
        return json_answer(TicketList(tickets=[TicketView(**_ticket(ticket)) for ticket in found]))

    @blueprint.get("/tickets/<ticket_id>")
    @operation("Look at a ticket, and at what happened to it.", answer=TicketHistory)
    def get_ticket(ticket_id: str) -> Response:
        ticket = store.ticket(ticket_id)
        if ticket is None:
            raise NotFound(f"there is no ticket {ticket_id}", code="ticket_not_found", param="ticket_id")
        return json_answer(TicketHistory(**_ticket(ticket), events=store.events(ticket_id)))

    @blueprint.get("/executors")
    @operation("List the executors and their tools.", answer=ExecutorList)
    def list_executors() -> Response:
        present = {executor.id for executor in registry.present()}
        loads = store.executors.loads()
        return json_answer(ExecutorList(executors=[_executor(each, present, loads) for each in store.executors.all()]))

    _add_runs(blueprint, config, core)
    _add_decisions(blueprint, core.approvals, config.limits.request_bytes)
    _add_forms(blueprint, core, config.limits.request_bytes)
    return blueprint


def _add_runs(blueprint: Blueprint, config: Config, core: Core) -> None:
    store = core.store

    @blueprint.get("/runs/<run_id>/events")
    @operation("Read the audit trail of a run; an unknown run has none.", answer=EventList)
    def list_events(run_id: str) -> Response:
        return json_answer(EventList(events=store.events_of_run(run_id)))

    timeline = Timeline(store, config.limits)

    @blueprint.get("/runs/<run_id>")
    @operation("Read all that is known of a run.", answer=RunDocument)
    def show_run(run_id: str) -> Response:
        return json_answer(run_document(store, timeline, run_id, content=config.log_content))

    @blueprint.post("/runs/<run_id>/cancel")
    @operation("End a run; its open calls end with it.", body=CancelRun, answer=RunEnd, errors=(Conflict,))
    def cancel(run_id: str) -> Response:
        asked = checked(CancelRun, json_body(request, config.limits.request_bytes))
        run = cancel_run(core.runs, store, run_id, f"operator {asked.by}")
        return json_answer(RunEnd(id=run.id, state=run.state, error=run.error))

    @blueprint.post("/runs/<run_id>/again")
    @operation("Ask once more what a run was asked; executors run its calls.", body=CancelRun, answer=RunAgain)
    def again(run_id: str) -> Response:
        asked = checked(CancelRun, json_body(request, config.limits.request_bytes))
        trial = core.trials.run_again(known_run(store, run_id))
        log.info("a run is done again", extra={"run": run_id, "operator": asked.by})
        return json_answer(RunAgain(id=run_id, model=trial.model, path=f"/try/{trial.id}"))


def _add_decisions(blueprint: Blueprint, approvals: Approvals, limit: int) -> None:
    @blueprint.get("/approvals")
    @operation("List the calls that wait for a decision.", answer=WaitingCalls)
    def list_approvals() -> Response:
        calls = [WaitingCall(**_call(call), run_id=ticket.run_id) for ticket, call in approvals.waiting()]
        return json_answer(WaitingCalls(calls=calls))

    @blueprint.post("/calls/<call_id>/approve")
    @operation("Let a call run.", body=Approve, answer=CallView, errors=(Conflict, Gone))
    def approve(call_id: str) -> Response:
        asked = checked(Approve, json_body(request, limit))
        return json_answer(CallView(**_call(approvals.approve(call_id, asked.by, asked.arguments))))

    @blueprint.post("/calls/<call_id>/deny")
    @operation("Do not let a call run.", body=Deny, answer=CallView, errors=(Conflict, Gone))
    def deny(call_id: str) -> Response:
        asked = checked(Deny, json_body(request, limit))
        return json_answer(CallView(**_call(approvals.deny(call_id, asked.by, asked.reason))))


def _add_forms(blueprint: Blueprint, core: Core, limit: int) -> None:
    def view(row: FormRow) -> FormView:
        run = core.store.run(row.run_id)
        told = {name: getattr(row, name) for name in FormView.model_fields if hasattr(row, name)}
        return FormView(**dict(form_of(row)), **told, model=run.model if run else "")

    @blueprint.get("/forms")
    @operation("List the forms that wait for a person.", answer=WaitingForms)
    def list_forms() -> Response:
        return json_answer(WaitingForms(forms=[view(row) for row in core.forms.waiting()]))

    @blueprint.post("/forms/<form_id>/answer")
    @operation("Fill in a form.", body=AnswerForm, answer=FormView, errors=(Conflict, Gone))
    def answer(form_id: str) -> Response:
        asked = checked(AnswerForm, json_body(request, limit))
        row = core.forms.answer(form_id, asked.action, asked.inputs, f"operator {asked.by}")
        return json_answer(view(row))


def _ticket(ticket: TicketRow) -> dict[str, Any]:
    return {
        "id": ticket.id,
        "run_id": ticket.run_id,
        "request_id": ticket.request_id,
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
        "executors": sorted(call.asks_for()),
        "decide_until": call.decide_until,
        "handouts": call.handouts,
        "is_error": call.is_error,
    }


def _executor(executor: ExecutorRow, present: set[str], loads: dict[str, int]) -> ExecutorView:
    return ExecutorView(
        id=executor.id,
        name=executor.name,
        present=executor.id in present,
        seconds_ago=round(clock.now() - executor.seen_at, 1),
        concurrency=executor.concurrency,
        calls=loads.get(executor.id, 0),
        patterns=json.loads(executor.patterns),
        tools=[offer.definition.name for offer in offers_of(executor)],
    )


_DIGESTS = ("session_key", "turn_key", "request_key", "idempotency", "query_digest", "request", "version")


class RunDocument(BaseModel):
    """A run, what it was asked, and all that happened. Times are seconds since the epoch.

    Without `log_content`, texts (messages, arguments, results, answers) are replaced by how long they are.
    """

    run: dict[str, Any]
    request: dict[str, Any]
    nodes: list[NodeRow]
    invocations: list[dict[str, Any]]
    tickets: list[dict[str, Any]]
    segments: list[dict[str, Any]]
    events: list[EventRow]
    model_calls: list[ModelCallRow]


def run_document(store: Store, timeline: Timeline, run_id: str, *, content: bool) -> RunDocument:
    """Return a run's document. Raises NotFound."""
    run = known_run(store, run_id)
    tickets = [asdict(ticket) for ticket in store.tickets_of_run(run_id)]
    for ticket in tickets:
        _show(ticket, ("content", "reasoning", "shown", "reply"), content=content)
        for call in ticket["calls"]:
            _show(call, ("arguments", "output", "images", "asked"), content=content)
            del call["digest"]
    return RunDocument(
        run={name: value for name, value in asdict(run).items() if name not in _DIGESTS},
        request=_request(store, run, content=content),
        nodes=store.nodes.of_run(run_id),
        invocations=[_dated(each, ("answer",), content=content) for each in timeline.invocations(run_id)],
        tickets=tickets,
        segments=[_dated(each, ("text", "reasoning"), content=content) for each in timeline.segments(run_id)],
        events=store.events_of_run(run_id),
        model_calls=_model_calls(store, run, content=content),
    )


def known_run(store: Store, run_id: str) -> RunRow:
    """Return a run. Raises NotFound."""
    run = store.run(run_id)
    if run is None:
        raise NotFound(f"there is no run {run_id}; finished runs are kept for limits.keep_days", code="run_not_found")
    return run


def cancel_run(runs: Runs, store: Store, run_id: str, who: str) -> RunRow:
    """End a run for somebody; once more changes nothing. Raises NotFound, and Conflict where it ended otherwise."""
    if known_run(store, run_id).state in UNFINISHED:
        runs.cancel(run_id, f"cancelled by {who}")
    run = known_run(store, run_id)
    if run.state != "cancelled":
        raise Conflict(f"run {run_id} is {run.state} already: there is nothing to cancel", code="run_over")
    return run


def _model_calls(store: Store, run: RunRow, *, content: bool) -> list[ModelCallRow]:
    if content:
        return store.model_calls.of_run(run.id, lambda: RunRequests(store).of(run).messages)
    calls = store.model_calls.of_run(run.id)
    return [replace(call, request=call.request and _hidden(call.request)) for call in calls]


def _request(store: Store, run: RunRow, *, content: bool) -> dict[str, Any]:
    request = RunRequests(store).of(run)
    if content:
        return request.model_dump(exclude={"given", "frame"}, exclude_none=True)
    tools = [tool.name for tool in request.tools]
    return {"messages": len(request.messages), "query": _hidden(request.query), "tools": tools}


def _dated(each: Dated[Any], names: Collection[str], *, content: bool) -> dict[str, Any]:
    values = asdict(each.row) | {"created_at": each.at}
    values.pop("fingerprint", None)
    if "usage" in values:
        values["usage"] = json.loads(values["usage"])
    _show(values, names, content=content)
    return values


def _show(values: dict[str, Any], names: Collection[str], *, content: bool) -> None:
    for name in names:
        if not content and values[name] is not None:
            values[name] = _hidden(values[name])


def _hidden(text: str) -> str:
    return f"({len(text)} characters, hidden)"
