"""A run as it is stored, in memory; and a change of it, which is written in one transaction or not at all.

A decision is made on a RunRecord, and what follows from it is collected in a Change of that state. The store writes a
change only where the run is still as it was read: its `version` rises with each. Whoever is second reads and decides
again, in this process or in another.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import starmap
from typing import Any

from sqlalchemy import Connection, Table, bindparam, select

from bridge.store import clock
from bridge.store import schema as t
from bridge.store.figures import SETTLED_SECONDS
from bridge.store.rows import CallRow, InvocationRow, Move, RunRow, SegmentRow, TicketRow, new_user
from bridge.store.statements import (
    Statement,
    columns_of,
    execute_fenced,
    fetch,
    fetch_together,
    inserting,
    updating,
    values_of,
)
from tools.run_states import RAISES_ATTEMPT, UNFINISHED, RunEvent, run_after
from tools.ticket_states import CallEvent, TicketEvent, TicketState

BEGINNING_SECONDS = 10.0
"""How long a workflow that has begun may take until a node of it attaches."""


LEFT, TAKEN_OVER = 0.0, -1.0
"""Since when an attempt is driven whose client has left the bridge that did; and one with which nobody has gone on."""


class Overtaken(Exception):
    """The run was changed by somebody else since it was read; what it is now has to be read, and decided on, again."""


class CallMoved(Overtaken):
    """A call is not in the state any more that it was to be moved from."""


@dataclass(slots=True)
class RunRecord:
    """A run with its invocations, tickets (their calls in them) and segments, each oldest first. Rows never change."""

    run: RunRow
    invocations: dict[str, InvocationRow] = field(default_factory=dict)
    tickets: dict[str, TicketRow] = field(default_factory=dict)
    segments: dict[int, SegmentRow] = field(default_factory=dict)

    @property
    def is_beginning(self) -> bool:
        """Whether the first node of its attempt's workflow may yet attach: it has just begun, or is not known to.

        Where the attempt was only taken over, there is no such workflow yet.
        """
        run = self.run
        if run.began_at is None or run.driven_at == TAKEN_OVER:
            return False
        if any(row.attempt == run.attempt for row in self.invocations.values()):
            return False
        return not run.task_id or clock.now() - run.began_at < BEGINNING_SECONDS

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

    def copy(self) -> "RunRecord":
        """Return a state that can change without this one."""
        return RunRecord(self.run, dict(self.invocations), dict(self.tickets), dict(self.segments))


class Change:
    """What a decision changes of a run. `state` is the run as it will be; `was` is what the decision was made on."""

    def __init__(self, was: RunRecord) -> None:
        self.was = was
        self.state = was.copy()
        self._now = clock.now()
        self._also: list[Statement] = []
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
        was, state = self.was, self.state
        tables = ((was.invocations, state.invocations), (was.tickets, state.tickets), (was.segments, state.segments))
        changed = state.run is not was.run or any(_differ(before, after) for before, after in tables)
        return changed or bool(self._also or self._events)

    @property
    def was_over(self) -> bool:
        """Whether the run had ended a while ago: its figures may have been added up since."""
        run = self.was.run
        return run.state not in UNFINISHED and self._now - run.updated_at > SETTLED_SECONDS / 2

    # What changes

    def run(self, **values: Any) -> None:
        """Change columns of the run."""
        self.state.run = replace(self.state.run, **values)

    def step(self, event: RunEvent, attempt: int | None = None, **values: Any) -> bool:
        """Do with the run what the table of its states says; return whether it was so.

        Where an `attempt` is given, it is so only in that one; what raises the attempt has to give the one it read.
        """
        run = self.state.run
        then = run_after(run.state, event)
        if then is None or (attempt != run.attempt and (attempt is not None or event in RAISES_ATTEMPT)):
            return False
        if event in RAISES_ATTEMPT:
            driven_at = self._now if event == RunEvent.RESUME else TAKEN_OVER
            values |= {"attempt": run.attempt + 1, "began_at": self._now, "driven_at": driven_at}
        if then != run.state:
            values["state"] = str(then)
        if values:
            self.run(**values)
        return True

    def leave_user(self) -> str | None:
        """Let the session go on as another Dify user where a node of this run's workflow may yet attach; return whom.

        Such a node finds its run by its user: it would take part in the next one, beside that one's own. Dify stops no
        workflow at once, and none that has not begun. The user's conversation stays behind.
        """
        run = self.was.run
        if run.direction != "endpoint" or not self.was.is_beginning:
            return None
        user = new_user()
        at = {"key": run.session_key, "dify_user": run.dify_user}
        self.also(updating(t.sessions, at, {"dify_user": user, "conversation_id": "", "updated_at": self._now}))
        return user

    def cancel_tickets(self, reason: str) -> list[str]:
        """Cancel the open tickets; return which they were."""
        return [
            ticket.id for ticket in self.state.tickets_in("open") if self.close_ticket(ticket.id, "cancelled", reason)
        ]

    def attach(self, invocation_id: str, fingerprint: str) -> InvocationRow:
        """Add an invocation; it takes over the rounds and the answer of an earlier try of the same node.

        An earlier try is one with the same fingerprint that belongs to a former attempt, or that failed in this one
        (Dify retried the node). Each has one successor. Of several, the one that has come furthest counts: a node that
        Dify had given up may have begun once more in the same attempt.
        """
        run, invocations = self.state.run, self.state.invocations
        former = max(
            (row for row in invocations.values() if _is_earlier_try(row, fingerprint, run.attempt)),
            key=self._progress,
            default=None,
        )
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
        if former:
            invocations[former.id] = replace(former, successor=row.id)
            for ticket in self.state.tickets_of(former.id):
                self.state.tickets[ticket.id] = replace(ticket, invocation_id=row.id)
        return row

    def _progress(self, row: InvocationRow) -> tuple[bool, int, int]:
        """Return how far an invocation has come: to its answer, by rounds that are done, by one that waits."""
        states = [ticket.state for ticket in self.state.tickets_of(row.id)]
        return bool(row.answer), states.count(TicketState.RESOLVED), states.count(TicketState.OPEN)

    def move_invocations(self, former: int) -> None:
        """Let those of a former attempt belong to this one: it goes on in the same workflow run."""
        attempt = self.state.run.attempt
        for row in list(self.state.invocations.values()):
            if row.attempt == former:
                self.state.invocations[row.id] = replace(row, attempt=attempt)
        self.run(began_at=self.was.run.began_at)

    def end_invocation(self, invocation_id: str, state: str, answer: str | None, error: str | None) -> None:
        """Write how an invocation ended."""
        if row := self.state.invocations.get(invocation_id):
            self.state.invocations[invocation_id] = replace(
                row, state=state, answer=answer, error=error, ended_at=self._now
            )

    def open_ticket(self, ticket: TicketRow, moves: Sequence[Move]) -> TicketRow:
        """Add a ticket with its calls, and make their first moves."""
        actor = "client" if self.state.run.direction == "mcp" else "plugin"
        self._note(ticket, None, actor, "open", "", TicketState.OPEN)
        self.state.tickets[ticket.id] = ticket
        return self.move_calls(ticket.id, moves)

    def move_calls(self, ticket_id: str, moves: Sequence[Move], reply: str | None = None) -> TicketRow:
        """Move calls of a ticket; it resolves when none of them waits any more.

        Raises CallMoved where a call is not in the state that it is moved from.
        """
        ticket = self.state.tickets[ticket_id]
        self.moves.setdefault(ticket.id, []).extend(moves)
        changed = replace(ticket, calls=self._moved(ticket, moves), reply=ticket.reply if reply is None else reply)
        if ticket.state == TicketState.OPEN and not any(call.pending for call in changed.calls):
            changed = replace(changed, state=TicketState.RESOLVED.value, reason=None)
            self._note(ticket, None, "bridge", TicketEvent.SETTLE, ticket.state, TicketState.RESOLVED)
            if self.state.run.direction == "mcp":
                # It is all that the run is for.
                self.step(RunEvent.FINISH)
        self.state.tickets[ticket_id] = changed
        return changed

    def _moved(self, ticket: TicketRow, moves: Sequence[Move]) -> list[CallRow]:
        calls = {call.id: call for call in ticket.calls}
        for move in moves:
            call = calls[move.call_id]
            if call.state != move.before or move.lease not in {None, call.lease}:
                raise CallMoved(f"call {move.call_id} is no longer {move.before}, or not under this lease")
            calls[move.call_id] = replace(call, state=str(move.after), **move.values)
            self._note(ticket, move.call_id, move.actor, move.event, move.before, move.after, move.detail)
        return list(calls.values())

    def close_ticket(self, ticket_id: str, state: str, reason: str, actor: str = "bridge") -> bool:
        """Bring an open ticket to an end without results, its calls with it; say whether it was open."""
        ticket_event, call_event = _ENDS[TicketState(state)]
        ticket = self.state.tickets.get(ticket_id)
        if ticket is None or ticket.state != TicketState.OPEN:
            return False
        moves = [Move(call.id, call_event, call.state, state, actor) for call in ticket.calls if call.pending]
        self._note(ticket, None, actor, ticket_event, ticket.state, state)
        self.state.tickets[ticket_id] = replace(ticket, calls=self._moved(ticket, moves), state=state, reason=reason)
        return True

    def add_segment(self, segment: SegmentRow) -> None:
        """Add what a response told its client, before the client is told that it is complete."""
        self.state.segments[segment.number] = segment
        if segment.ticket_id and (ticket := self.state.tickets.get(segment.ticket_id)):
            self.state.tickets[ticket.id] = replace(ticket, segment=segment.number)

    def also(self, statement: Statement) -> None:
        """Write this in the same transaction."""
        self._also.append(statement)

    # Writing

    def write(self, connection: Connection, also: Iterable[Statement] = ()) -> None:
        """Write all of it, and what else is to be written. Raises Overtaken where the run is not as it was read."""
        was, state = self.was, self.state
        state.run = replace(state.run, version=was.run.version + 1, updated_at=self._now)
        fence = {"id": was.run.id, "version": was.run.version}
        changed = _changed(was.run, state.run)
        if "attempt" in changed:
            # The store has been told since that the attempt before is driven.
            changed["driven_at"] = state.run.driven_at
        fenced = updating(t.runs, fence, changed)
        if not execute_fenced(connection, fenced, *self._belongings(), *also):
            raise Overtaken(f"run {was.run.id} was changed since")

    def begin(self, connection: Connection) -> None:
        """Write a run that is new, and all of it."""
        self.state.run = replace(self.state.run, version=self.was.run.version + 1)
        execute_fenced(connection, inserting(t.runs, values_of(self.state.run)), *self._belongings())

    def _belongings(self) -> Iterator[Statement]:
        yield from self._rows()
        yield from self._also
        if self._events:
            yield inserting(t.events, *self._events)

    def _rows(self) -> Iterator[Statement]:
        """Yield what writes the rows that are new or changed; what others refer to comes first."""
        was, state, now = self.was, self.state, self._now
        for row in _differing(was.invocations, state.invocations):
            yield _written(t.invocations, was.invocations.get(row.id), row, ["id"], created_at=now)
        for ticket in _differing(was.tickets, state.tickets):
            before = was.tickets.get(ticket.id)
            yield _written(t.tickets, before, ticket, ["id"], but=["calls"], each={"updated_at": now})
            if before is None:
                yield inserting(t.calls, *(values_of(call) | {"position": n} for n, call in enumerate(ticket.calls)))
                continue
            for call, earlier in zip(ticket.calls, before.calls, strict=True):
                if call is not earlier:
                    yield _written(t.calls, earlier, call, ["id"])
        for segment in _differing(was.segments, state.segments):
            before_it = was.segments.get(segment.number)
            yield _written(t.segments, before_it, segment, ["run_id", "number"], created_at=now)

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


def _differ(before: dict[Any, Any], after: dict[Any, Any]) -> bool:
    return next(_differing(before, after), None) is not None


def _differing[Key, Row](before: dict[Key, Row], after: dict[Key, Row]) -> Iterator[Row]:
    """Yield the rows that are new or changed."""
    return (row for key, row in after.items() if before.get(key) is not row)


def _changed(before: Any, after: Any, but: Sequence[str] = ()) -> dict[str, Any]:
    """Return the columns in which two rows differ."""
    known = values_of(before, but)
    return {name: value for name, value in values_of(after, but).items() if known[name] != value}


def _written(
    table: Table,
    before: Any,
    row: Any,
    key: Sequence[str],
    but: Sequence[str] = (),
    each: Mapping[str, Any] | None = None,
    **once: Any,
) -> Statement:
    """Return what writes a row: `each` are columns that every change sets, `once` those of a new row."""
    if before is None:
        return inserting(table, values_of(row, but) | once | dict(each or {}))
    at = {name: getattr(row, name) for name in key}
    return updating(table, at, _changed(before, row, but) | dict(each or {}))


def _is_earlier_try(row: InvocationRow, fingerprint: str, attempt: int) -> bool:
    return row.fingerprint == fingerprint and row.successor is None and (row.attempt < attempt or row.state == "failed")


def load(connection: Connection, run_id: str) -> RunRecord | None:
    """Read a run with all that belongs to it."""
    at = {"at": run_id}
    runs, invocations, calls, tickets, segments = fetch_together(
        connection, (_RUN, at), (_INVOCATIONS, at), (_CALLS, at), (_TICKETS, at), (_SEGMENTS, at)
    )
    if not runs:
        return None
    state = RunRecord(RunRow(*runs[0]))
    state.invocations = {each.id: each for each in starmap(InvocationRow, invocations)}
    of_ticket: dict[str, list[CallRow]] = {}
    for call in starmap(CallRow, calls):
        of_ticket.setdefault(call.ticket_id, []).append(call)
    for ticket in map(ticket_of, tickets):
        state.tickets[ticket.id] = replace(ticket, calls=of_ticket.get(ticket.id, []))
    state.segments = {each.number: each for each in starmap(SegmentRow, segments)}
    return state


def ticket_of(row: Sequence[Any]) -> TicketRow:
    """Return a ticket as it was read, without its calls."""
    return TicketRow(**dict(zip(_TICKET, row, strict=True)))


def version_of(connection: Connection, run_id: str) -> int | None:
    """Read the version of a run."""
    found = fetch(connection, _VERSION, at=run_id)
    return int(found[0][0]) if found else None


# Statements, made once: to make one takes longer than to run it.


_RUN = select(*columns_of(t.runs, RunRow)).where(t.runs.c.id == bindparam("at"))
_VERSION = select(t.runs.c.version).where(t.runs.c.id == bindparam("at"))
_TICKET = [column.name for column in columns_of(t.tickets, TicketRow)]
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


FRESH_SECONDS = 0.05
"""For so long whoever began before does not ask the store again what it holds of a run."""


VISITED = 200
"""So many runs that another bridge drives are kept as well: the plugin, say, asks for one again and again."""


class HeldRuns:
    """Each run as it was last read or written here. `as_of` are times of `time.monotonic` when it was so."""

    def __init__(self) -> None:
        self._states: dict[str, RunRecord] = {}
        self._visited: OrderedDict[str, None] = OrderedDict()
        self._as_of: dict[str, float] = {}
        self._run_of: dict[str, str] = {}

    def get(self, run_id: str) -> RunRecord | None:
        """Return a run that is held."""
        return self._states.get(run_id)

    def of_ticket(self, ticket_id: str) -> RunRecord | None:
        """Return the run of a ticket."""
        return self._found("ticket", ticket_id)

    def of_call(self, call_id: str) -> RunRecord | None:
        """Return the run of a call."""
        return self._found("call", call_id)

    def of_invocation(self, invocation_id: str) -> RunRecord | None:
        """Return the run of an invocation."""
        return self._found("invocation", invocation_id)

    def of_user(self, dify_user: str) -> list[RunRecord]:
        """Return the newest run of a Dify user, if it is held."""
        state = self._found("user", dify_user)
        return [state] if state else []

    def _found(self, kind: str, name: str) -> RunRecord | None:
        return self._states.get(self._run_of.get(f"{kind} {name}", ""))

    def driven(self) -> dict[str, RunRecord]:
        """Return those that this process drives."""
        return {run_id: state for run_id, state in self._states.items() if run_id not in self._visited}

    def drive(self, state: RunRecord, as_of: float) -> None:
        """Hold a run until it is dropped: this process drives it."""
        self._visited.pop(state.run.id, None)
        self.put(state, as_of)

    def visit(self, state: RunRecord, as_of: float) -> None:
        """Hold a run that is under way for a while."""
        if state.run.id in self._states or state.run.state not in UNFINISHED:
            return
        self._visited[state.run.id] = None
        self.put(state, as_of)
        if len(self._visited) > VISITED:
            self.drop(next(iter(self._visited)))

    def is_fresh(self, run_id: str) -> bool:
        """Whether a run is known as it was after the work at hand began."""
        as_of = self.as_of(run_id)
        return clock.looking_since() <= as_of and time.monotonic() - as_of < FRESH_SECONDS

    def as_of(self, run_id: str) -> float:
        """Return when a run was last known to be as it is held; 0 for never."""
        return self._as_of.get(run_id, 0.0)

    def confirm(self, state: RunRecord, as_of: float) -> None:
        """The store held a run like this."""
        if self._states.get(state.run.id) is state:
            self._as_of[state.run.id] = as_of

    def newest(self, state: RunRecord) -> RunRecord:
        """Return a run as it was read, or as it is held if that is newer."""
        held = self._states.get(state.run.id)
        return held if held and held.run.version > state.run.version else state

    def put(self, state: RunRecord, as_of: float) -> RunRecord:
        """Hold a run, or what has become of it; return what is held. What was read may be older than that by now."""
        if (newest := self.newest(state)) is not state:
            return newest
        former = self._states.get(state.run.id)
        if former and former.run.dify_user != state.run.dify_user:
            self._run_of.pop(f"user {former.run.dify_user}", None)
        self._states[state.run.id] = state
        self._as_of[state.run.id] = as_of
        self._run_of |= dict.fromkeys(_names(state), state.run.id)
        return state

    def renew(self, state: RunRecord, as_of: float) -> None:
        """Take what has become of a run, if it is held and nothing newer is known. One that is over may be long."""
        known = self._states.get(state.run.id)
        if known and known.run.version < state.run.version:
            if state.run.state in UNFINISHED:
                self.put(state, as_of)
            else:
                self.drop(state.run.id)

    def drop(self, run_id: str) -> None:
        """Hold a run no longer."""
        self._visited.pop(run_id, None)
        self._as_of.pop(run_id, None)
        if state := self._states.pop(run_id, None):
            for name in _names(state):
                if self._run_of.get(name) == run_id:
                    del self._run_of[name]

    def __len__(self) -> int:
        return len(self._states)


def _names(state: RunRecord) -> Iterable[str]:
    yield f"user {state.run.dify_user}"
    yield from (f"invocation {each}" for each in state.invocations)
    yield from (f"ticket {each}" for each in state.tickets)
    yield from (f"call {call.id}" for call in state.calls())
