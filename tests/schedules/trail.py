"""The audit trail leads from the first state of each ticket and call to the last, by steps that the tables have."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from bridge.store.rows import CallRow, EventRow, TicketRow
from tools.ticket_states import CALLS, PENDING, TICKETS, CallEvent, CallState, TicketEvent, TicketState


def breaks_in_trail(tickets: Iterable[TicketRow], events: Iterable[EventRow]) -> Iterator[str]:
    """Yield what is wrong with the trail of these tickets."""
    of_ticket: dict[str, list[EventRow]] = defaultdict(list)
    for event in events:
        of_ticket[event.ticket_id].append(event)
    for ticket in tickets:
        own = of_ticket[ticket.id]
        yield from _ticket_trail(ticket, [event for event in own if event.call_id is None])
        for call in ticket.calls:
            yield from _call_trail(call, [event for event in own if event.call_id == call.id])
        if ticket.state == "resolved" and any(CallState(call.state) in PENDING for call in ticket.calls):
            yield f"ticket {ticket.id} is resolved, and a call of it waits"


def _ticket_trail(ticket: TicketRow, events: list[EventRow]) -> Iterator[str]:
    first, *steps = events or [None]
    if first is None or first.event != "open":
        yield f"ticket {ticket.id} has no beginning in its trail"
        return
    yield from _followed(f"ticket {ticket.id}", TICKETS, TicketState.OPEN, TicketEvent, steps, ticket.state)


def _followed[State: StrEnum, Event: StrEnum](
    what: str,
    table: Mapping[State, Mapping[Event, State]],
    state: State,
    kind: type[Event],
    events: list[EventRow],
    end: str,
) -> Iterator[str]:
    """Go the way that the events tell through the table, and say where it leaves it or ends elsewhere."""
    for event in events:
        after = table[state].get(kind(event.event))
        if after is None or (event.before, event.after) != (state, after):
            yield f"{what}: {event.event} leads from {event.before} to {event.after}, and it was {state}"
            return
        state = after
    if state != end:
        yield f"{what} is {end}, and its trail ends in {state}"


def _call_trail(call: CallRow, events: list[EventRow]) -> Iterator[str]:
    yield from _followed(f"call {call.id}", CALLS, CallState.OPEN, CallEvent, events, call.state)
    if sum(event.event == CallEvent.RESOLVE for event in events) > 1:
        yield f"call {call.id} was resolved more than once"
