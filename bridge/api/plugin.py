"""The routes that the plugin calls from inside Dify, and what was seen of it lately, for doctor.

`tools.wire` has the bodies.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from flask import Blueprint, Response, g, request
from pydantic import BaseModel, Field

from bridge.api.access import plugin
from bridge.api.bodies import checked, checked_query, json_answer, json_body
from bridge.api.openai.keepalive import connection_of, is_gone
from bridge.api.openapi.operation import operation
from bridge.config import Config
from bridge.errors import Gone, NotFound
from bridge.runs.tickets.attach import Invocations
from bridge.runs.tickets.tickets import Tickets
from bridge.store.faults import StoreUnavailable
from bridge.store.rows import RunRow
from bridge.store.store import Store
from tools.marker import marker_digest
from tools.wire import (
    AttachRequest,
    AttachResponse,
    CancelRequest,
    DraftRequest,
    PingResponse,
    RecordRequest,
    TicketRequest,
    TicketStatus,
)

MAX_WAIT_SECONDS = 30.0


class OfInvocation(BaseModel):
    """Who asks: an invocation whose ticket a later one has taken over hears that it is cancelled."""

    invocation_id: str | None = Field(default=None, max_length=64)


class Wait(BaseModel):
    """How many seconds to wait for a ticket that is still open."""

    wait: float = Field(default=0, ge=0, le=MAX_WAIT_SECONDS, allow_inf_nan=False)


class TicketWait(OfInvocation, Wait):
    """A long poll."""


def plugin_blueprint(config: Config, invocations: Invocations, tickets: Tickets) -> Blueprint:
    """Return the blueprint that the plugin talks to."""
    blueprint = Blueprint("plugin", __name__, url_prefix="/plugin/v1")

    def body[Model: BaseModel](model: type[Model]) -> Model:
        return _body(config, invocations, model)

    blueprint.before_request(lambda: _check_address(invocations))

    @blueprint.get("/ping")
    @operation("Ask whether the bridge is there and knows the token.", answer=PingResponse)
    def ping() -> Response:
        return json_answer(PingResponse(version=version("clawback")))

    @blueprint.post("/attach")
    @operation("Ask which run an invocation serves.", body=AttachRequest, answer=AttachResponse, errors=(Gone,))
    def attach() -> Response:
        return json_answer(invocations.attach(body(AttachRequest), plugin().opens))

    @blueprint.put("/tickets/<ticket_id>")
    @operation("Open a ticket for a round of calls.", body=TicketRequest, query=Wait, answer=TicketStatus)
    def open_ticket(ticket_id: str) -> Response:
        seconds = checked_query(Wait, request.args).wait
        return json_answer(tickets.open(ticket_id, body(TicketRequest), seconds, is_there=_is_there()))

    @blueprint.get("/tickets/<ticket_id>")
    @operation("Wait for a ticket's results.", query=TicketWait, answer=TicketStatus)
    def wait_ticket(ticket_id: str) -> Response:
        asked = checked_query(TicketWait, request.args)
        return json_answer(tickets.wait(ticket_id, asked.invocation_id, asked.wait, is_there=_is_there()))

    @blueprint.post("/tickets/<ticket_id>/cancel")
    @operation("Wait for a ticket no longer.", body=CancelRequest, answer=TicketStatus)
    def cancel_ticket(ticket_id: str) -> Response:
        asked = body(CancelRequest)
        return json_answer(tickets.cancel(ticket_id, asked.reason, asked.invocation_id))

    @blueprint.post("/tickets/<ticket_id>/suspend")
    @operation("Let go of the workflow until a ticket's results are in.", query=OfInvocation, answer=TicketStatus)
    def suspend_ticket(ticket_id: str) -> Response:
        return json_answer(tickets.suspend(ticket_id, checked_query(OfInvocation, request.args).invocation_id))

    @blueprint.post("/tickets/<ticket_id>/expire")
    @operation("Go on without the results that have not come.", query=OfInvocation, answer=TicketStatus)
    def expire_ticket(ticket_id: str) -> Response:
        return json_answer(tickets.expire(ticket_id, checked_query(OfInvocation, request.args).invocation_id))

    _add_invocations(blueprint, config, invocations)
    return blueprint


def _add_invocations(blueprint: Blueprint, config: Config, invocations: Invocations) -> None:
    @blueprint.post("/invocations/<invocation_id>/drafts")
    @operation("Let the client watch calls grow that the model still writes.", body=DraftRequest, statuses=(204,))
    def draft(invocation_id: str) -> Response:
        invocations.draft(invocation_id, _body(config, invocations, DraftRequest))
        return Response(status=204)

    @blueprint.post("/invocations/<invocation_id>/beat")
    @operation("Say that an invocation is alive, which has nothing else to ask for.", statuses=(204,))
    def beat(invocation_id: str) -> Response:
        invocations.beat(invocation_id)
        return Response(status=204)

    @blueprint.post("/invocations/<invocation_id>/record")
    @operation("Say how an invocation ended.", body=RecordRequest, statuses=(204,))
    def record(invocation_id: str) -> Response:
        invocations.record(invocation_id, _body(config, invocations, RecordRequest))
        return Response(status=204)


def _is_there() -> Callable[[], bool]:
    """Return what says whether anybody still waits for the answer to this request."""
    connection = connection_of(request.environ)
    return lambda: not is_gone(connection)


def _body[Model: BaseModel](config: Config, invocations: Invocations, model: type[Model]) -> Model:
    body = checked(model, json_body(request, config.limits.request_bytes))
    if (run_id := getattr(body, "run_id", None)) and not plugin().opens_all:
        _check(invocations.run_of(run_id=run_id, invocation_id=getattr(body, "invocation_id", None)))
    return body


def _check_address(invocations: Invocations) -> None:
    """Check whose the ticket or the invocation is that the address names."""
    if not plugin().opens_all:
        named = request.view_args or {}
        _check(invocations.run_of(ticket_id=named.get("ticket_id"), invocation_id=named.get("invocation_id")))


def _check(runs: Iterable[RunRow]) -> None:
    """Let a plugin's token open no other runs than its apps'; what is another's does not exist for it."""
    if not all(plugin().opens(run.model, run.direction) for run in runs):
        raise NotFound("there is no such run, ticket or invocation")


_KEPT = 200
_PATH = "/plugin/v1/"


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of the plugin. `found_by` is end_user, callback_key or marker, where it attached to a run."""

    at: float
    what: str
    address: str
    status: int
    run_id: str | None = None
    auxiliary: str | None = None
    dify_user: str | None = None
    end_user: str | None = None
    found_by: str | None = None
    reason: str | None = None
    agent: str = ""
    """How the plugin calls itself; one of a version before 0.2 does not."""


class Witness:
    """Remembers the plugin's last requests to attach, to be told a version, and all that were refused."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._visits: deque[Visit] = deque(maxlen=_KEPT)

    def visits(self, since: float) -> list[Visit]:
        """Return what was seen since then, oldest first."""
        return [visit for visit in self._visits if visit.at >= since]

    def see(self, response: Response) -> Response:
        """Look at a response on its way out."""
        what = request.path.removeprefix(_PATH)
        if request.path.startswith(_PATH) and (what in {"attach", "ping"} or response.status_code == 401):
            self._visits.append(self._visit(what, response))
        return response

    def _visit(self, what: str, response: Response) -> Visit:
        agent = request.headers.get("User-Agent", "")[:64]
        seen = Visit(time.time(), what, request.remote_addr or "", response.status_code, agent=agent)
        if what != "attach" or response.status_code != 200:
            return seen
        asked, answered = g.get("json_body") or {}, response.get_json(silent=True) or {}
        try:
            run = self._store.run(str(answered.get("run_id") or ""))
            found_by = self._found_by(asked, run) if run and run.direction == "endpoint" else None
        except StoreUnavailable:
            # The answer goes out all the same.
            return seen
        return Visit(
            seen.at,
            what,
            seen.address,
            seen.status,
            run_id=run.id if run else None,
            auxiliary=run.auxiliary if run else None,
            dify_user=run.dify_user if run else None,
            end_user=asked.get("user"),
            found_by=found_by,
            reason=answered.get("reason"),
            agent=agent,
        )

    def _found_by(self, asked: dict[str, Any], run: RunRow) -> str:
        user = str(asked.get("user") or "")
        if run.dify_user in {user, self._store.end_user(user)}:
            return "end_user"
        named = list(map(marker_digest, asked.get("markers") or ()))
        markers = self._store.markers(named) if named else ()
        return "marker" if any(marker.run_id == run.id for marker in markers) else "callback_key"


class VisitsQuery(BaseModel):
    """From when on, in seconds since the epoch."""

    since: float = Field(default=0, allow_inf_nan=False)


class Visits(BaseModel):
    """What the plugin asked, oldest first."""

    visits: list[Visit]


def doctor_blueprint(witness: Witness) -> Blueprint:
    blueprint = Blueprint("doctor", __name__, url_prefix="/doctor/v1")

    @blueprint.get("/visits")
    @operation("List what the bridge saw of the plugin.", query=VisitsQuery, answer=Visits)
    def visits() -> Response:
        return json_answer(Visits(visits=witness.visits(checked_query(VisitsQuery, request.args).since)))

    return blueprint
