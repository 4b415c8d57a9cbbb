"""A run on one axis of time: its nodes, the model calls inside them, their tool calls, and who was waited for."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bridge.page.views.run import Happened, Trace, Trails, begun_at, model_key, tone_of, trails_of, used_by
from bridge.store.rows import CallRow, InvocationRow, ModelCallRow, NodeRow, TicketRow
from bridge.store.timeline import Dated
from tools.ticket_states import PENDING
from tools.wire import Answer, Usage

CLOCKS_DIFFER_SECONDS = 1.0
"""An invocation may be heard of before the node that it belongs to."""
SHORTEST_WAIT_SECONDS = 0.05

Kind = Literal["queue", "again", "node", "model", "call"]
Doing = Literal["node", "model", "tool", "person", "wait", "queue", "suspended"]


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of time, and on what it was spent; `until` is None while it lasts."""

    doing: Doing
    at: float
    until: float | None


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of the waterfall. `step` is the key of the step with the details, `number` counts what has no name."""

    key: str
    kind: Kind
    depth: int
    parts: tuple[Part, ...]
    tone: str = "quiet"
    step: str = ""
    number: int = 0
    node: NodeRow | None = None
    call: CallRow | None = None
    usage: Usage | None = None
    price: str = ""
    error: str | None = None

    @property
    def at(self) -> float:
        """When it began."""
        return self.parts[0].at

    @property
    def until(self) -> float | None:
        """When it ended."""
        return self.parts[-1].until


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The lanes, in their order, and the axis. `end` is None for as long as time goes by."""

    begin: float
    end: float | None
    lanes: Sequence[Lane]


def waterfall_of(happened: Happened) -> Waterfall:
    """Return a run's waterfall."""
    by_node, rest = _nested(happened)
    roots = [[lane] for lane in _between(happened)]
    roots += [[_node(node, happened), *_deeper(by_node[node.id])] for node in happened.nodes]
    roots += rest
    roots.sort(key=lambda lanes: _place(lanes[0]))
    lanes = [lane for root in roots for lane in root]
    run = happened.run
    last = [part.until or part.at for lane in lanes for part in lane.parts]
    return Waterfall(run.created_at, max([run.updated_at, *last]) if happened.over else None, lanes)


def _place(lane: Lane) -> float:
    """Return when a line comes: a suspension where it ends, before what goes on then."""
    return lane.until if lane.kind == "again" and lane.until is not None else lane.at


def _deeper(groups: Sequence[Sequence[Lane]]) -> Iterator[Lane]:
    for group in groups:
        for lane in group:
            yield replace(lane, depth=lane.depth + 1)


def _node(node: NodeRow, happened: Happened) -> Lane:
    until = node.ended_at
    left = until is None and (happened.run.state != "running" or node.attempt < happened.run.attempt)
    if left:
        until = _left_at(node, happened)
    tone = {"succeeded": "good", "running": "busy", "failed": "bad", "exception": "bad"}.get(node.status, "quiet")
    part = Part("node", node.started_at, until)
    return Lane(f"node-{node.id}", "node", 0, (part,), "left" if left else tone, node=node, error=node.error)


def _left_at(node: NodeRow, happened: Happened) -> float:
    """Return when a node without an end was given up: with its last invocation, or with its run."""
    ends = [row.row.ended_at for row in happened.invocations if row.row.attempt == node.attempt and row.row.ended_at]
    return max([node.started_at, *ends]) if ends else max(node.started_at, happened.run.updated_at)


# Model calls


def _nested(happened: Happened) -> tuple[Mapping[int, list[list[Lane]]], list[list[Lane]]]:
    """Return the lanes of each invocation by the node that it belongs to, and those of nodes that nobody told of."""
    tickets, trails = _tickets_of(happened), trails_of(happened)
    by_node: defaultdict[int, list[list[Lane]]] = defaultdict(list)
    rest = []
    for invocation in happened.invocations:
        lanes = list(_invocation(invocation, tickets[invocation.row.id], trails, happened))
        node = _node_of(invocation, happened.nodes)
        if not lanes:
            continue
        if node:
            by_node[node.id].append(lanes)
        else:
            rest.append(lanes)
    return by_node, rest


def _node_of(invocation: Dated[InvocationRow], nodes: Sequence[NodeRow]) -> NodeRow | None:
    at = invocation.at
    around = [
        node
        for node in nodes
        if node.attempt == invocation.row.attempt
        and node.node_type in {"llm", "agent", "parameter-extractor", "question-classifier"}
        and node.started_at <= at + CLOCKS_DIFFER_SECONDS
        and (node.ended_at is None or node.ended_at >= at)
    ]
    return max(around, key=lambda node: node.started_at, default=None)


def _tickets_of(happened: Happened) -> Mapping[str, list[TicketRow]]:
    """Return the tickets of each invocation that opened them: a later try of the node has taken over the rows."""
    former = {each.row.successor: each for each in happened.invocations if each.row.successor}
    known = {each.row.id: each for each in happened.invocations}
    chains: dict[str, list[Dated[InvocationRow]]] = {}

    def chain(invocation_id: str) -> list[Dated[InvocationRow]]:
        """Return the tries of a node, the first one first."""
        if invocation_id not in chains:
            found = [known[invocation_id]] if invocation_id in known else []
            while found and found[0].row.id in former:
                found.insert(0, former[found[0].row.id])
            chains[invocation_id] = found
        return chains[invocation_id]

    tickets: defaultdict[str, list[TicketRow]] = defaultdict(list)
    for ticket in happened.tickets:
        tries = chain(ticket.invocation_id)
        number = bisect_right([each.at for each in tries], ticket.created_at)
        owner = tries[max(number - 1, 0)].row.id if tries else ticket.invocation_id
        tickets[owner].append(ticket)
    return tickets


def _invocation(
    each: Dated[InvocationRow], tickets: Sequence[TicketRow], trails: Trails, happened: Happened
) -> Iterator[Lane]:
    """Yield what an invocation did: a model call, the tool calls that it asked for, the next model call, and so on."""
    told = [call for call in happened.model_calls if call.invocation_id == each.row.id]
    if told:
        yield from _told(each.row, told, tickets, trails, happened)
        return
    row, at, number = each.row, each.at, 0
    if happened.run.direction == "mcp":
        # Its client asks, and no model is called.
        yield from (
            _call(ticket, call, trails.get(call.id, ()), happened) for ticket in tickets for call in ticket.calls
        )
        return
    for ticket in tickets:
        number += 1
        step = f"round-{ticket.id}"
        key = f"model-{row.id}-{number}"
        part = Part("model", min(at, ticket.created_at), ticket.created_at)
        yield Lane(key, "model", 0, (part,), "good", step, number=ticket.round + 1)
        ends = []
        for call in ticket.calls:
            lane = _call(ticket, call, trails.get(call.id, ()), happened)
            ends.append(lane.until)
            yield lane
        if ticket.state == "open" or None in ends:
            return
        at = max([at, *(end for end in ends if end is not None)])
    until = row.ended_at or (happened.run.updated_at if happened.over else None)
    # One that let go, or is replayed with its answer, asked its model nothing after the last round.
    if row.state == "stopped" or (row.successor and not row.error) or (row.state == "answered" and not row.ended_at):
        return
    usage = Answer.model_validate_json(row.answer).usage if row.answer else None
    tone = {"running": "busy", "answered": "good", "failed": "bad"}.get(row.state, "quiet")
    last = tickets[-1].round + 2 if tickets else 1
    part = Part("model", at, None if until is None else max(at, until))
    key = f"model-{row.id}-{number + 1}"
    yield Lane(key, "model", 0, (part,), tone, number=last, usage=usage, error=row.error)


def _told(
    row: InvocationRow,
    told: Sequence[ModelCallRow],
    tickets: Sequence[TicketRow],
    trails: Trails,
    happened: Happened,
) -> Iterator[Lane]:
    """Yield the model calls that the plugin told of, each try one, with the tool calls that they led to."""
    lanes = [_model(call) for call in told]
    if row.error and row.state == "failed" and not lanes[-1].error:
        lanes[-1] = replace(lanes[-1], tone="bad", error=row.error)
    lanes += [_call(ticket, call, trails.get(call.id, ()), happened) for ticket in tickets for call in ticket.calls]
    lanes.sort(key=lambda lane: lane.at)
    yield from lanes
    ends = [lane.until for lane in lanes]
    if row.state == "running" and not happened.over and all(ticket.state != "open" for ticket in tickets):
        since = max(end for end in ends if end is not None)
        yield Lane(f"model-{row.id}-next", "model", 0, (Part("model", since, None),), "busy", number=told[-1].round + 2)


def _model(call: ModelCallRow) -> Lane:
    part = Part("model", call.at, call.at + call.seconds)
    key, tone = f"model-{call.invocation_id}-{call.number + 1}", "bad" if call.error else "good"
    return Lane(
        key,
        "model",
        0,
        (part,),
        tone,
        model_key(call),
        number=call.round + 1,
        usage=used_by(call),
        price=call.price,
        error=call.error,
    )


def _call(ticket: TicketRow, call: CallRow, trail: Sequence[Trace], happened: Happened) -> Lane:
    runs_at_once = happened.run.direction == "endpoint" and call.place is None
    parts: list[Part] = []
    doing, at = _after("open", runs_at_once=runs_at_once), ticket.created_at
    for trace in trail:
        then, when = _after(trace.event, runs_at_once=runs_at_once), ticket.created_at + trace.after
        if trace.event in _ENDS:
            parts.append(Part(doing, at, when))
            break
        if then != doing:
            if when > at:
                parts.append(Part(doing, at, when))
            doing, at = then, when
    else:
        parts.append(Part(doing, at, None if call.state in PENDING else at))
    return Lane(f"call-{call.id}", "call", 1, tuple(parts), tone_of(call), f"call-{call.id}", call=call)


_ENDS = {"resolve", "deny", "expire", "cancel"}
_THEN: Mapping[str, Doing] = {"ask": "person", "claim": "tool", "extend": "tool"}


def _after(event: str, *, runs_at_once: bool) -> Doing:
    """Return what is waited for after this: a client runs its calls as soon as it is given them."""
    return _THEN.get(event, "tool" if runs_at_once else "wait")


# Between the nodes


def _between(happened: Happened) -> Iterator[Lane]:
    """Yield the waits for Dify's first sign of life, and those between two workflow runs."""
    begun = begun_at(happened)
    run = happened.run
    first = begun.get(1)
    if run.direction == "endpoint":
        until = first if first is not None else run.updated_at if happened.over else None
        if until is None or until - run.created_at >= SHORTEST_WAIT_SECONDS:
            yield Lane("queue", "queue", 0, (Part("queue", run.created_at, until),))
    for attempt, at in sorted(begun.items()):
        if attempt > 1:
            since = min(_let_go(happened, attempt - 1), at)
            yield Lane(f"again-{attempt}", "again", 0, (Part("suspended", since, at),), number=attempt)
    if run.state == "suspended":
        since = _let_go(happened, run.attempt)
        yield Lane(f"again-{run.attempt + 1}", "again", 0, (Part("suspended", since, None),), number=run.attempt + 1)


def _let_go(happened: Happened, attempt: int) -> float:
    """Return when the last thing of an attempt ended."""
    ends = [each.row.ended_at or each.at for each in happened.invocations if each.row.attempt == attempt]
    ends += [node.ended_at or node.started_at for node in happened.nodes if node.attempt == attempt]
    return max(ends, default=happened.run.updated_at)
