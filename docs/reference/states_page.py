"""The page of the states of runs, tickets and calls, read from the tables that the code goes by."""

from collections.abc import Mapping
from enum import StrEnum

from tools.ticket_states import CALLS, PENDING, TICKETS, CallEvent, CallState, TicketEvent, TicketState

_CALL_STATES = {
    CallState.OPEN: "the model asked for it; nobody has judged it yet",
    CallState.AWAITING_APPROVAL: "a person has to decide, within `limits.approval_seconds`",
    CallState.READY: "it may run: the client has it, or an executor may claim it",
    CallState.LEASED: "an executor runs it, and says at least every `limits.lease_seconds` that it still does",
    CallState.RESOLVED: "its result is there; the first one counts",
    CallState.DENIED: "it is not run; the model is told why",
    CallState.EXPIRED: "nobody decided or answered in time; the model is told",
    CallState.CANCELLED: "nobody needs it any more",
}
_CALL_EVENTS = {
    CallEvent.ALLOW: "the policy lets one of the executors that are there run it, or the client",
    CallEvent.ASK: "the policy leaves it to a person",
    CallEvent.APPROVE: "a person lets it run",
    CallEvent.DENY: "the policy or a person refuses it",
    CallEvent.RECALL: "an executor asks for it that must not have it, and nobody else is there: it is judged again",
    CallEvent.CLAIM: "an executor takes it",
    CallEvent.EXTEND: "the executor says that it still runs it",
    CallEvent.LET_GO: "the executor gives it back, unrun",
    CallEvent.LOSE: "the executor was not heard of; another may have it, up to `limits.handouts` times",
    CallEvent.RESOLVE: "its result comes",
    CallEvent.REPEAT: "the same result or decision comes again: nothing changes",
    CallEvent.CONTRADICT: "a different result comes: it is refused",
    CallEvent.EXPIRE: "its time is up",
    CallEvent.CANCEL: "its run has ended without it",
}
_TICKET_STATES = {
    TicketState.OPEN: "results are missing; after `limits.ticket_seconds` it expires",
    TicketState.RESOLVED: "every call has its result, or was denied; the model goes on",
    TicketState.EXPIRED: "the results did not come in time",
    TicketState.CANCELLED: "the run has ended, or was run again, without it",
}
_TICKET_EVENTS = {
    TicketEvent.SETTLE: "the last of its calls is settled",
    TicketEvent.EXPIRE: "its time is up",
    TicketEvent.CANCEL: "nobody waits for it any more",
}


def states_page(note: str) -> str:
    """Return the page. Raises KeyError where a state or an event has no sentence here."""
    return _PAGE.format(
        note=note,
        call_states=_rows(CallState, _CALL_STATES, pending=True),
        call_events=_rows(CallEvent, _CALL_EVENTS),
        call_moves=_moves(CALLS, CallEvent),
        ticket_states=_rows(TicketState, _TICKET_STATES),
        ticket_moves=_moves(TICKETS, TicketEvent),
        ticket_events=_rows(TicketEvent, _TICKET_EVENTS),
    )


def _rows[Kind: StrEnum](kind: type[Kind], sentences: Mapping[Kind, str], *, pending: bool = False) -> str:
    rows = []
    for each in kind:
        end = "" if not pending or each in PENDING else " An end."
        rows.append(f"| `{each}` | {sentences[each]}.{end} |")
    return "\n".join(rows)


def _moves[State: StrEnum, Event: StrEnum](table: Mapping[State, Mapping[Event, State]], events: type[Event]) -> str:
    used = [event for event in events if any(event in moves for moves in table.values())]
    lines = ["| state | " + " | ".join(f"{event}" for event in used) + " |", "|---" * (len(used) + 1) + "|"]
    for state, moves in table.items():
        cells = [str(moves[event]) if event in moves else "" for event in used]
        lines.append(f"| `{state}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


_PAGE = """\
# States

{note}
A **run** is one agent turn as its client sees it. It is `running` while Dify runs its workflow, `suspended` after the
plugin has let go of that and the results are still missing, and ends `finished`, `failed` or `cancelled`. Each workflow
run is an *attempt*. A **ticket** is the pending tool calls of one round of a model. Each of its **calls** has a state
of its own.

## Calls

| state | |
|---|---|
{call_states}

| event | |
|---|---|
{call_events}

What each event leads to. Where a cell is empty, the event is refused and changes nothing:

{call_moves}

## Tickets

| state | |
|---|---|
{ticket_states}

| event | |
|---|---|
{ticket_events}

{ticket_moves}
"""
