"""What executors ask: they register, claim calls under a lease, and answer them."""

from dataclasses import replace
from typing import Any, Protocol

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, Field

from bridge.api.access import executor_name, executor_tools, validity
from bridge.api.bodies import check_sizes, checked, json_answer, json_body
from bridge.api.openapi.operation import operation
from bridge.api.plugin import MAX_WAIT_SECONDS
from bridge.config import Config
from bridge.errors import Conflict, Forbidden, Gone, NotFound
from bridge.runs.executors.leases import Lease, Leases
from bridge.runs.executors.registry import OfferedTool, Registration, Registry, is_executor_of
from bridge.runs.services import breathe
from bridge.runs.tickets.tickets import Tickets
from bridge.store.rows import TicketRow
from tools.results import ToolResult
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
        return json_answer(_own_part(tickets.known(ticket_id)))

    return blueprint


def _own_part(ticket: TicketRow) -> TicketBody:
    """Return what a ticket looks like to the executor that asks. Raises NotFound where none of its calls is its own.

    One with a token of its own sees the calls that it has or had in hand.
    """
    name = executor_name()
    if name is None:
        return ticket_body(ticket)
    own = [call for call in ticket.calls if is_executor_of(name, call.executor or "")]
    if not own:
        raise NotFound(f"there is no ticket {ticket.id}")
    return ticket_body(replace(ticket, calls=own))


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


HEARTBEATS_PER_LIFE = 3
GONE = (Gone,)


class TakeBody(Protocol):
    """Reads and checks the body of the request at hand."""

    def __call__[Model: BaseModel](self, model: type[Model]) -> Model:
        """Return the body. Raises InvalidRequest or TooLarge."""
        ...


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Heartbeat(_Body):
    """`tools` only where they are others than before."""

    tools: list[OfferedTool] | None = None


class Claim(_Body):
    """How many calls the executor could take, and how many seconds it would wait for the first."""

    max: int = Field(default=1, ge=1, le=1000)
    wait: float = Field(default=0, ge=0, le=MAX_WAIT_SECONDS, allow_inf_nan=False)


class LeaseIds(_Body):
    """Leases by their ids."""

    leases: list[str] = Field(max_length=1000)


class LeasedResult(ToolResult):
    """A result, and the lease under which its call was run."""

    lease_id: str


class LeasedResults(_Body):
    """One entry a call."""

    results: list[LeasedResult] = Field(min_length=1, max_length=1000)


class Registered(BaseModel):
    """Who the executor is from now on, and how often it has to be heard of, in seconds."""

    executor_id: str
    lease_seconds: float
    heartbeat_seconds: float
    max_wait_seconds: float


class LeasedCall(BaseModel):
    """A call that is the executor's to run. `tool_call_id` is the same each time that the call is handed out."""

    lease_id: str
    tool_call_id: str
    name: str
    arguments: str
    handout: int
    ticket_id: str
    run_id: str
    leased_until: float


class LeasedCalls(BaseModel):
    """The calls that were claimed; none where there was none in time."""

    calls: list[LeasedCall]


class Extended(BaseModel):
    """Until when each lease lasts now, in seconds since the epoch, and which are over."""

    until: dict[str, float]
    lost: list[str]


class ChangedTickets(BaseModel):
    """The tickets that the results belonged to."""

    tickets: list[TicketBody]


class Nothing(BaseModel):
    """There is nothing to say."""

    model_config = ConfigDict(extra="forbid")


def executor_blueprint(config: Config, registry: Registry, leases: Leases) -> Blueprint:
    """Return the blueprint for the executors."""
    blueprint = Blueprint("executor", __name__, url_prefix="/executor/v1/executors")

    def body[Model: BaseModel](model: type[Model]) -> Model:
        read = json_body(request, config.limits.request_bytes)
        check_sizes(read, config.limits)
        return checked(model, read)

    @blueprint.before_request
    def check_own() -> None:
        """What belongs to another token does not exist for this one."""
        registry.check_own(executor_name(), (request.view_args or {}).get("executor_id"))

    @blueprint.post("")
    @operation("Register an executor and its tools.", body=Registration, answer=Registered, errors=(Forbidden,))
    def register() -> Response:
        executor, former = registry.register(body(Registration), executor_name(), executor_tools())
        if former:
            leases.lose_all(former)
        return json_answer(
            Registered(
                executor_id=executor.id,
                lease_seconds=config.limits.lease_seconds,
                heartbeat_seconds=config.limits.executor_seconds / HEARTBEATS_PER_LIFE,
                max_wait_seconds=MAX_WAIT_SECONDS,
            )
        )

    @blueprint.post("/<executor_id>/heartbeat")
    @operation("Give a sign of life, and say which tools there are now.", body=Heartbeat, answer=Nothing, errors=GONE)
    def heartbeat(executor_id: str) -> Response:
        tools = body(Heartbeat).tools
        registry.seen(executor_id, None if tools is None else registry.allowed(tools, executor_tools()))
        return json_answer(Nothing())

    @blueprint.delete("/<executor_id>")
    @operation("Leave. What the executor held is handed out again.", answer=Nothing)
    def leave(executor_id: str) -> Response:
        registry.leave(executor_id)
        leases.lose_all(executor_id)
        return json_answer(Nothing())

    _add_lease_routes(blueprint, leases, body)
    return blueprint


def _add_lease_routes(blueprint: Blueprint, leases: Leases, body: TakeBody) -> None:
    @blueprint.post("/<executor_id>/claim")
    @operation("Claim calls, and wait for the first.", body=Claim, answer=LeasedCalls, errors=GONE)
    def claim(executor_id: str) -> Response:
        asked = body(Claim)
        claimed = leases.claim(executor_id, asked.max, asked.wait, validity())
        return json_answer(LeasedCalls(calls=[_leased(lease) for lease in claimed]))

    @blueprint.post("/<executor_id>/extend")
    @operation("Prolong leases.", body=LeaseIds, answer=Extended, errors=GONE)
    def extend(executor_id: str) -> Response:
        until, lost = leases.extend(executor_id, body(LeaseIds).leases)
        return json_answer(Extended(until=until, lost=lost))

    @blueprint.post("/<executor_id>/results")
    @operation("Answer leased calls.", body=LeasedResults, answer=ChangedTickets, errors=(Conflict, Gone))
    def take_results(executor_id: str) -> Response:
        results = [(result.lease_id, result) for result in body(LeasedResults).results]
        changed = leases.resolve(executor_id, results)
        # Whoever waits for them goes first.
        breathe()
        return json_answer(ChangedTickets(tickets=[_own_part(ticket) for ticket in changed]))

    @blueprint.post("/<executor_id>/let_go")
    @operation("Give calls back, unrun.", body=LeaseIds, answer=Nothing, errors=GONE)
    def let_go(executor_id: str) -> Response:
        leases.let_go(executor_id, body(LeaseIds).leases)
        return json_answer(Nothing())


def _leased(lease: Lease) -> LeasedCall:
    return LeasedCall(
        lease_id=lease.lease_id,
        tool_call_id=lease.call.id,
        name=lease.call.own_name,
        arguments=lease.call.arguments,
        handout=lease.call.handouts + 1,
        ticket_id=lease.call.ticket_id,
        run_id=lease.run_id,
        leased_until=lease.until,
    )
