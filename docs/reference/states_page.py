"""The page of the states of runs, tickets and calls, read from the tables that the code goes by."""

from collections.abc import Mapping
from enum import StrEnum

from tools.ticket_states import CALLS, PENDING, TICKETS, CallEvent, CallState, TicketEvent, TicketState

_CALL_STATES = {
    CallState.OPEN: "The model asked for the call. The policy has not judged it yet",
    CallState.AWAITING_APPROVAL: "A person must decide within `limits.approval_seconds`",
    CallState.READY: "The call may run. The client has it, or an executor may claim it",
    CallState.LEASED: "An executor runs the call and extends its lease at least every `limits.lease_seconds`",
    CallState.RESOLVED: "The bridge has the result. If several arrive, the first counts",
    CallState.DENIED: "The call does not run. The bridge tells the model why",
    CallState.EXPIRED: "No decision or result arrived in time. The bridge tells the model",
    CallState.CANCELLED: "Nobody needs the result any more",
}
_CALL_EVENTS = {
    CallEvent.ALLOW: "The policy allows the client or one of the present executors to run the call",
    CallEvent.ASK: "The policy leaves the decision to a person",
    CallEvent.APPROVE: "A person approves the call",
    CallEvent.DENY: "The policy or a person denies the call",
    CallEvent.RECALL: "Only an executor that may not run the call asks for it, so the policy judges it again",
    CallEvent.CLAIM: "An executor takes the call",
    CallEvent.EXTEND: "The executor reports that it still runs the call",
    CallEvent.LET_GO: "The executor gives the call back without running it",
    CallEvent.LOSE: "The executor sent no sign of life. Another may claim the call, up to `limits.handouts` times",
    CallEvent.RESOLVE: "The result arrives",
    CallEvent.REPEAT: "The same result or decision arrives again. Nothing changes",
    CallEvent.CONTRADICT: "A different result arrives. The bridge refuses it",
    CallEvent.EXPIRE: "The call's time limit is over",
    CallEvent.CANCEL: "The run ended without the call",
}
_TICKET_STATES = {
    TicketState.OPEN: "Results are missing. The ticket expires after `limits.ticket_seconds`",
    TicketState.RESOLVED: "Every call has a result or was denied. The model continues",
    TicketState.EXPIRED: "The results did not arrive in time",
    TicketState.CANCELLED: "The run ended or started again without the ticket",
}
_TICKET_EVENTS = {
    TicketEvent.SETTLE: "The last open call of the ticket is settled",
    TicketEvent.EXPIRE: "The ticket's time limit is over",
    TicketEvent.CANCEL: "Nobody waits for the ticket any more",
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
        end = "" if not pending or each in PENDING else " Final state."
        rows.append(f"| `{each}` | {sentences[each]}.{end} |")
    return "\n".join(rows)


def _moves[State: StrEnum, Event: StrEnum](table: Mapping[State, Mapping[Event, State]], events: type[Event]) -> str:
    used = [event for event in events if any(event in moves for moves in table.values())]
    lines = ["| state | " + " | ".join(f"{event}" for event in used) + " |", "|---" * (len(used) + 1) + "|"]
    for state, moves in table.items():
        cells = [str(moves[event]) if event in moves else "–" for event in used]
        lines.append(f"| `{state}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


_PAGE = """\
# States

{note}
- A **run** is one agent turn as its client sees it. It is `running` while Dify runs its workflow. It is `suspended` if
  the plugin has ended the workflow while results are missing. It ends as `finished`, `failed` or `cancelled`.
- An **attempt** is one workflow run in Dify. A run can have several.
- A **ticket** holds the pending tool calls of one round of a model.
- A **call** is one tool call of a ticket. Each has its own state.

## Calls

| state | meaning |
|---|---|
{call_states}

| event | meaning |
|---|---|
{call_events}

The cells show the new state after each event. A dash means that the event is refused and changes nothing:

{call_moves}

## Tickets

| state | meaning |
|---|---|
{ticket_states}

| event | meaning |
|---|---|
{ticket_events}

The cells show the new state after each event:

{ticket_moves}
"""
