"""One run as the page shows it: what was asked, its attempts, and its steps in the order in which they happened."""

from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from bridge.runs.requests import Places, RunRequest
from bridge.store.rows import (
    CallRow,
    EventRow,
    FormRow,
    InvocationRow,
    ModelCallRow,
    NodeRow,
    RunRow,
    SegmentRow,
    TicketRow,
)
from bridge.store.timeline import Dated, together
from tools.definitions import ToolDefinition
from tools.ticket_states import PENDING, CallState
from tools.wire import Answer, Usage

_KEPT = 200
_TITLE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: how much it held, and what it said."""

    messages: int = 0
    characters: int = 0
    query: str = ""
    tools: dict[str, ToolDefinition] = field(default_factory=dict)
    places: Places = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The beginning of what was said: its first line."""
        first = next((line for line in self.query.splitlines() if line.strip()), "")
        return " ".join(first.split())[:_TITLE_CHARACTERS]


class RequestSummaries:
    """Summaries of the requests that were looked at last. A later attempt of a run may have another one."""

    def __init__(self) -> None:
        self._read: OrderedDict[tuple[str, int], Asked] = OrderedDict()

    def known(self, run_id: str, attempt: int) -> Asked | None:
        """Return a request that was read before."""
        return self._read.get((run_id, attempt))

    def read(self, run_id: str, attempt: int, request: str) -> Asked:
        """Return what is in a request, JSON text."""
        known = self._read.get((run_id, attempt))
        if known is None:
            known = self._read[run_id, attempt] = _asked(RunRequest.model_validate_json(request))
            if len(self._read) > _KEPT:
                self._read.popitem(last=False)
        return known


def _asked(request: RunRequest) -> Asked:
    return Asked(
        messages=len(request.messages),
        characters=len(request.query),
        query=request.query,
        tools={tool.name: tool for tool in request.tools},
        places=request.places or {},
    )


def description(definition: ToolDefinition | None) -> str:
    """Return what a tool says of itself."""
    return (definition.function.description or "") if definition else ""


def schema(definition: ToolDefinition | None) -> dict[str, Any] | None:
    """Return the schema of a tool's arguments, if it has one."""
    return definition.function.parameters if definition else None


Kind = Literal["request", "again", "model", "round", "call", "form", "response", "telling", "end"]


@dataclass(frozen=True, slots=True)
class Telling:
    """A response that is on its way: its number, and what it told so far."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Happened:
    """Everything that is known of a run."""

    run: RunRow
    asked: Asked
    nodes: Sequence[NodeRow] = ()
    invocations: Sequence[Dated[InvocationRow]] = ()
    tickets: Sequence[TicketRow] = ()
    segments: Sequence[Dated[SegmentRow]] = ()
    events: Sequence[EventRow] = ()
    forms: Sequence[FormRow] = ()
    model_calls: Sequence[ModelCallRow] = ()
    telling: Telling | None = None

    @property
    def over(self) -> bool:
        """Whether nothing will happen any more."""
        return self.run.state not in {"running", "suspended"}


@dataclass(frozen=True, slots=True)
class Trace:
    """Something that happened to a call: `event` at `after` seconds since its ticket was opened, by `actor`."""

    event: str
    actor: str
    after: float
    detail: str = ""


Trails = Mapping[str, Sequence[Trace]]


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `tone` is how it goes: busy, waiting, good, bad or quiet; `until` is None while it lasts."""

    key: str
    kind: Kind
    at: float
    tone: str
    until: float | None = None
    ticket: TicketRow | None = None
    call: CallRow | None = None
    form: FormRow | None = None
    model_call: ModelCallRow | None = None
    segment: SegmentRow | None = None
    telling: Telling | None = None
    usage: Usage | None = None
    trail: tuple[Trace, ...] = field(default=())
    attempt: int = 1


def steps_of(happened: Happened) -> list[Step]:
    """Return the steps of a run."""
    run = happened.run
    found = [Step("request", "request", run.created_at, "quiet")]
    found += _attempts(happened)
    found += [_model_call(each) for each in happened.model_calls]
    trails = trails_of(happened)
    for ticket in happened.tickets:
        found += _round(ticket, trails)
    found += [_form(form) for form in happened.forms]
    found += [_response(each) for each in happened.segments]
    # What happened at the same time stays in the order from above: a run is asked before its first node begins.
    found.sort(key=lambda step: step.at)
    if happened.telling and not happened.over:
        key = f"response-{happened.telling.number}"
        found.append(Step(key, "telling", found[-1].at, "busy", telling=happened.telling))
    if happened.over:
        tone = {"finished": "good", "failed": "bad"}.get(run.state, "quiet")
        found.append(Step("end", "end", max(run.updated_at, found[-1].at), tone, run.updated_at))
    return found


def _attempts(happened: Happened) -> Iterator[Step]:
    """Return where the workflow was run again: where the first thing of a later attempt stands."""
    begun = begun_at(happened)
    for attempt, at in sorted(begun.items()):
        # What a form had paused has gone on in an attempt of its own, to which all before belongs, too.
        if attempt > min(begun):
            yield Step(f"attempt-{attempt}", "again", at, "quiet", attempt=attempt)


def begun_at(happened: Happened) -> dict[int, float]:
    """Return when each attempt was first heard of."""
    begun: dict[int, float] = {}
    for attempt, at in [
        *((node.attempt, node.started_at) for node in happened.nodes),
        *((each.row.attempt, each.at) for each in happened.invocations),
    ]:
        begun[attempt] = min(at, begun.get(attempt, at))
    return begun


def model_key(call: ModelCallRow) -> str:
    """Return the key of a model call's step."""
    return f"asked-{call.invocation_id}-{call.number}"


def used_by(call: ModelCallRow) -> Usage | None:
    """Return the tokens of a model call, where it had an answer."""
    if call.prompt_tokens is None:
        return None
    return Usage(prompt_tokens=call.prompt_tokens, completion_tokens=call.completion_tokens or 0)


def _model_call(call: ModelCallRow) -> Step:
    tone, until = "bad" if call.error else "good", call.at + call.seconds
    return Step(model_key(call), "model", call.at, tone, until, model_call=call, usage=used_by(call))


def _round(ticket: TicketRow, trails: Trails) -> Iterator[Step]:
    tone = {"open": "waiting", "resolved": "good"}.get(ticket.state, "quiet")
    yield Step(f"round-{ticket.id}", "round", ticket.created_at, tone, ticket=ticket)
    for call in ticket.calls:
        trail = tuple(trails.get(call.id, ()))
        until = None if call.state in PENDING else ticket.created_at + (trail[-1].after if trail else 0.0)
        yield Step(
            f"call-{call.id}", "call", ticket.created_at, tone_of(call), until, call=call, ticket=ticket, trail=trail
        )


def _form(form: FormRow) -> Step:
    tone = {"open": "waiting", "answered": "busy", "submitted": "good"}.get(form.state, "quiet")
    until = None if form.state == "open" else form.answered_at or form.expires_at
    return Step(f"form-{form.id}", "form", form.created_at, tone, until, form=form)


def tone_of(call: CallRow) -> str:
    """Return how a call goes."""
    if call.state == CallState.RESOLVED:
        return "bad" if call.is_error else "good"
    if call.state == CallState.AWAITING_APPROVAL:
        return "waiting"
    return "busy" if call.state in PENDING else "bad" if call.state == CallState.DENIED else "quiet"


def trails_of(happened: Happened) -> Trails:
    """Return what happened to each call, by its id."""
    opened = {ticket.id: ticket.created_at for ticket in happened.tickets}
    trails: defaultdict[str, list[Trace]] = defaultdict(list)
    for event in happened.events:
        if event.call_id and event.ticket_id in opened:
            trace = Trace(event.event, event.actor, event.at - opened[event.ticket_id], event.detail)
            trails[event.call_id].append(trace)
    return trails


def _response(each: Dated[SegmentRow]) -> Step:
    usage = Usage.model_validate_json(each.row.usage)
    return Step(f"response-{each.row.number}", "response", each.at, "good", each.at, segment=each.row, usage=usage)


def shown_state(state: str, direction: str, places: Collection[str | None], undecided: int) -> str:
    """Return a run's state in the words of who watches: for whom it waits, if it waits for somebody.

    `places` are those of its pending calls.
    """
    if undecided:
        return "undecided"
    if state == "running" and places:
        return "client" if direction == "endpoint" and None in places else "executor"
    return state


@dataclass(frozen=True, slots=True)
class Totals:
    """What a run took so far. `costs` are sums by currency, as Dify counted them or the plugin did."""

    rounds: int
    calls: int
    usage: Usage
    costs: Mapping[str, str]


def totals(happened: Happened) -> Totals:
    """Add up what a run took. What an executors' run told its client the bridge does not see: its nodes count then."""
    usages = [Usage.model_validate_json(each.row.usage) for each in happened.segments]
    if not usages:
        answers = [each.row.answer for each in happened.invocations if each.row.answer]
        usages = [Answer.model_validate_json(answer).usage for answer in answers]
    usage = Usage()
    for each in usages:
        usage = together(usage, each)
    # Of a response that is not there yet, only the plugin tells.
    by_plugin = sum((used_by(call) or Usage() for call in happened.model_calls), Usage())
    usage = max(usage, by_plugin, key=lambda each: each.total_tokens)
    by_dify = _summed((node.price, node.currency) for node in happened.nodes if node.price)
    told = _summed(call.price.split() for call in happened.model_calls if call.price)
    # Neither may know of all: Dify counts other models, too, and the plugin what led to a node's failure.
    costs = {currency: max(by_dify[currency], told[currency]) for currency in {**by_dify, **told}}
    return Totals(
        rounds=len(happened.tickets),
        calls=sum(len(ticket.calls) for ticket in happened.tickets),
        usage=usage,
        costs={currency: f"{cost.normalize():f}" for currency, cost in costs.items()},
    )


def _summed(prices: Iterable[Sequence[str]]) -> defaultdict[str, Decimal]:
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for price, currency in prices:
        sums[currency] += Decimal(price)
    return sums
