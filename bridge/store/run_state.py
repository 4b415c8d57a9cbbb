"""A run as it is stored, in memory; and a change of it, which is written in one transaction or not at all.

A decision is made on a RunState, and what follows from it is collected in a Change of that state. The store writes a
change only where the run is still as it was read: its `version` rises with each. Whoever is second reads and decides
again, in this process or in another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, bindparam, select

from bridge.store import clock
from bridge.store import schema as t
from bridge.store.rows import CallRow, InvocationRow, Move, RunRow, SegmentRow, TicketRow
from bridge.store.statements import Statement, columns_of, inserting, updating, values_of
from tools.ticket_states import CallEvent, TicketEvent, TicketState


class Overtaken(Exception):
    """The run was changed by somebody else since it was read; what it is now has to be read, and decided on, again."""


class CallMoved(Overtaken):
    """A call is not in the state any more that it was to be moved from."""


@dataclass(slots=True)
class RunState:
    """A run with its invocations, tickets (their calls in them) and segments, each oldest first. Rows never change."""

    run: RunRow
    invocations: dict[str, InvocationRow] = field(default_factory=dict)
    tickets: dict[str, TicketRow] = field(default_factory=dict)
    segments: dict[int, SegmentRow] = field(default_factory=dict)

    def tickets_in(self, *states: str) -> list[TicketRow]:
        """List the tickets in one of these states, or all of them."""
        return [ticket for ticket in self.tickets.values() if not states or ticket.state in states]

    def tickets_of(self, invocation_id: str) -> list[TicketRow]:
        """List the tickets of an invocation."""
        return [ticket for ticket in self.tickets.values() if ticket.invocation_id == invocation_id]

    def calls(self) -> Iterator[CallRow]:
        """Yield all calls, oldest first."""
        for ticket in self.tickets.values():
            yield from ticket.calls

    def copy(self) -> "RunState":
        """Return a state that can change without this one."""
        return RunState(self.run, dict(self.invocations), dict(self.tickets), dict(self.segments))


class Change:
    """What a decision changes of a run. `state` is the run as it will be; `was` is what the decision was made on."""

    def __init__(self, was: RunState) -> None:
        self.was = was
        self.state = was.copy()
        self._now = clock.now()
        self._values: dict[str, Any] = {}
        self._writes: list[Statement] = []
        self._events: list[dict[str, Any]] = []
        self.is_written = False
        self.moves: dict[str, list[Move]] = {}
        """The moves of calls, by ticket."""

    @property
    def run_id(self) -> str:
        """The run that changes."""
        return self.state.run.id

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._values or self._writes or self._events)

    # What changes

    def run(self, **values: Any) -> None:
        """Change columns of the run."""
        self._values |= values
        self.state.run = replace(self.state.run, **values)

    def end(self, state: str, error: str | None = None) -> bool:
        """Bring an unfinished run to its end; say whether it was still unfinished."""
        if self.state.run.state not in {"running", "suspended"}:
            return False
        self.run(state=state, error=error)
        return True

    def attach(self, invocation_id: str, fingerprint: str) -> InvocationRow:
        """Add an invocation; it takes over the rounds and the answer of an earlier try of the same node.

        An earlier try is one with the same fingerprint that belongs to a former attempt, or that failed in this one
        (Dify retried the node). Each has one successor.
        """
        run, invocations = self.state.run, self.state.invocations
        former = next((row for row in invocations.values() if _is_earlier_try(row, fingerprint, run.attempt)), None)
        row = InvocationRow(
            id=invocation_id,
            run_id=run.id,
            attempt=run.attempt,
            fingerprint=fingerprint,
            successor=None,
            state="answered" if former and former.answer else "running",
            answer=former.answer if former else None,
            error=None,
        )
        invocations[row.id] = row
        self.also(inserting(t.invocations, values_of(row) | {"created_at": self._now}))
        if former:
            self._inherit(former, row)
        return row

    def _inherit(self, former: InvocationRow, heir: InvocationRow) -> None:
        self.state.invocations[former.id] = replace(former, successor=heir.id)
        self.also(updating(t.invocations, {"id": former.id}, {"successor": heir.id}))
        for ticket in self.state.tickets_of(former.id):
            self._ticket(ticket, invocation_id=heir.id)

    def end_invocation(self, invocation_id: str, state: str, answer: str | None, error: str | None) -> None:
        """Write how an invocation ended."""
        if row := self.state.invocations.get(invocation_id):
            self.state.invocations[invocation_id] = replace(row, state=state, answer=answer, error=error)
            values = {"state": state, "answer": answer, "error": error}
            self.also(updating(t.invocations, {"id": invocation_id}, values))

    def open_ticket(self, ticket: TicketRow, moves: Sequence[Move]) -> TicketRow:
        """Add a ticket with its calls, and make their first moves."""
        values = values_of(ticket, but=["calls"]) | {"updated_at": self._now}
        self._note(ticket, None, "plugin", "open", "", TicketState.OPEN)
        self.moves.setdefault(ticket.id, []).extend(moves)
        opened = replace(ticket, calls=self._moved(ticket, moves))
        resolved = not any(call.pending for call in opened.calls)
        if resolved:
            opened = replace(opened, state=TicketState.RESOLVED.value)
            self._note(ticket, None, "bridge", TicketEvent.SETTLE, TicketState.OPEN, TicketState.RESOLVED)
        self.also(inserting(t.tickets, values | {"state": opened.state}))
        rows = [
            {"resolved_at": None, **values_of(call), "position": number} for number, call in enumerate(opened.calls)
        ]
        for row in rows:
            row |= {name: value for move in moves if move.call_id == row["id"] for name, value in move.values.items()}
        self.also(inserting(t.calls, *rows))
        self.state.tickets[opened.id] = opened
        return opened

    def move_calls(self, ticket_id: str, moves: Sequence[Move], reply: str | None = None) -> TicketRow:
        """Move calls of a ticket; it resolves when none of them waits any more.

        Raises CallMoved where a call is not in the state that it is moved from.
        """
        ticket = self.state.tickets[ticket_id]
        self.moves.setdefault(ticket.id, []).extend(moves)
        changed = replace(ticket, calls=self._moved(ticket, moves))
        columns: dict[str, Any] = {} if reply is None else {"reply": reply}
        if ticket.state == TicketState.OPEN and not any(call.pending for call in changed.calls):
            columns |= {"state": TicketState.RESOLVED.value, "reason": None}
            self._note(ticket, None, "bridge", TicketEvent.SETTLE, ticket.state, TicketState.RESOLVED)
        for move in moves:
            self.also(updating(t.calls, {"id": move.call_id}, {"state": str(move.after), **move.values}))
        self._ticket(changed, **columns)
        return self.state.tickets[ticket_id]

    def _moved(self, ticket: TicketRow, moves: Sequence[Move]) -> list[CallRow]:
        calls = {call.id: call for call in ticket.calls}
        for move in moves:
            call = calls[move.call_id]
            if call.state != move.before:
                raise CallMoved(f"call {move.call_id} is no longer {move.before}")
            known = {name: value for name, value in move.values.items() if name in CallRow.__slots__}
            calls[move.call_id] = replace(call, state=str(move.after), **known)
            self._note(ticket, move.call_id, move.actor, move.event, move.before, move.after, move.detail)
        return list(calls.values())

    def close_ticket(self, ticket_id: str, state: str, reason: str, actor: str = "bridge") -> bool:
        """Bring an open ticket to an end without results, its calls with it; say whether it was open."""
        ticket_event, call_event = _ENDS[TicketState(state)]
        ticket = self.state.tickets.get(ticket_id)
        if ticket is None or ticket.state != TicketState.OPEN:
            return False
        moves = [Move(call.id, call_event, call.state, state, actor) for call in ticket.calls if call.pending]
        closed = replace(ticket, calls=self._moved(ticket, moves))
        for move in moves:
            self.also(updating(t.calls, {"id": move.call_id}, {"state": state}))
        self._note(ticket, None, actor, ticket_event, ticket.state, state)
        self._ticket(closed, state=state, reason=reason)
        return True

    def add_segment(self, segment: SegmentRow) -> None:
        """Add what a response told its client, before the client is told that it is complete."""
        values = values_of(segment) | {"created_at": self._now}
        if segment.number in self.state.segments:
            # A response that failed half-way is told again.
            self.also(updating(t.segments, {"run_id": segment.run_id, "number": segment.number}, values))
        else:
            self.also(inserting(t.segments, values))
        self.state.segments[segment.number] = segment
        if segment.ticket_id and (ticket := self.state.tickets.get(segment.ticket_id)):
            self._ticket(ticket, segment=segment.number)

    def also(self, statement: Statement) -> None:
        """Write this in the same transaction."""
        self._writes.append(statement)

    # Writing

    def write(self, connection: Connection) -> None:
        """Write all of it. Raises Overtaken where the run is not as it was read."""
        run = self.was.run
        values = self._values | {"version": run.version + 1, "updated_at": self._now}
        if not connection.execute(*updating(t.runs, {"id": run.id, "version": run.version}, values)).rowcount:
            raise Overtaken(f"run {run.id} was changed since")
        for statement in self._writes:
            connection.execute(*statement)
        if self._events:
            connection.execute(*inserting(t.events, *self._events))
        self.state.run = replace(run, **values)

    def _ticket(self, ticket: TicketRow, **columns: Any) -> None:
        self.state.tickets[ticket.id] = replace(ticket, **columns)
        self.also(updating(t.tickets, {"id": ticket.id}, columns | {"updated_at": self._now}))

    def _note(
        self, ticket: TicketRow, call_id: str | None, actor: str, event: str, before: str, after: str, detail: str = ""
    ) -> None:
        texts = {"actor": actor, "event": event, "before": before, "after": after, "detail": detail}
        where = {"at": self._now, "run_id": ticket.run_id, "ticket_id": ticket.id, "call_id": call_id}
        self._events.append(where | {name: str(text) for name, text in texts.items()})


_ENDS = {
    TicketState.EXPIRED: (TicketEvent.EXPIRE, CallEvent.EXPIRE),
    TicketState.CANCELLED: (TicketEvent.CANCEL, CallEvent.CANCEL),
}


def _is_earlier_try(row: InvocationRow, fingerprint: str, attempt: int) -> bool:
    return row.fingerprint == fingerprint and row.successor is None and (row.attempt < attempt or row.state == "failed")


def load(connection: Connection, run_id: str) -> RunState | None:
    """Read a run with all that belongs to it."""
    row = connection.execute(_RUN, {"at": run_id}).first()
    if row is None:
        return None
    state = RunState(RunRow(*row))
    state.invocations = {each.id: InvocationRow(*each) for each in connection.execute(_INVOCATIONS, {"at": run_id})}
    calls: dict[str, list[CallRow]] = {}
    for each in connection.execute(_CALLS, {"at": run_id}):
        calls.setdefault(each.ticket_id, []).append(CallRow(*each))
    for each in connection.execute(_TICKETS, {"at": run_id}):
        ticket = TicketRow(**each._mapping, calls=calls.get(each.id, []))
        state.tickets[ticket.id] = ticket
    state.segments = {each.number: SegmentRow(*each) for each in connection.execute(_SEGMENTS, {"at": run_id})}
    return state


def version_of(connection: Connection, run_id: str) -> int | None:
    """Read the version of a run."""
    version: int | None = connection.execute(_VERSION, {"at": run_id}).scalar_one_or_none()
    return version


# Statements, made once: to make one takes longer than to run it.


_RUN = select(*columns_of(t.runs, RunRow)).where(t.runs.c.id == bindparam("at"))
_VERSION = select(t.runs.c.version).where(t.runs.c.id == bindparam("at"))
_INVOCATIONS = (
    select(*columns_of(t.invocations, InvocationRow))
    .where(t.invocations.c.run_id == bindparam("at"))
    .order_by(t.invocations.c.created_at)
)
_TICKETS = (
    select(*columns_of(t.tickets, TicketRow))
    .where(t.tickets.c.run_id == bindparam("at"))
    .order_by(t.tickets.c.created_at, t.tickets.c.round)
)
_CALLS = (
    select(*columns_of(t.calls, CallRow))
    .join(t.tickets, t.tickets.c.id == t.calls.c.ticket_id)
    .where(t.tickets.c.run_id == bindparam("at"))
    .order_by(t.calls.c.position)
)
_SEGMENTS = (
    select(*columns_of(t.segments, SegmentRow))
    .where(t.segments.c.run_id == bindparam("at"))
    .order_by(t.segments.c.number)
)
