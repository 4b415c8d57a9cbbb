"""The audit trail: every step of a ticket or a call is a row, written with the step itself."""

from sqlalchemy import Connection, insert

from bridge.store import clock
from bridge.store import schema as t
from bridge.store.rows import Move, TicketRow


def note_ticket(connection: Connection, ticket: TicketRow, actor: str, event: str, after: str, detail: str) -> None:
    """Write what happened to a ticket."""
    before = "" if event == "open" else ticket.state
    _write(connection, ticket, None, actor=actor, event=event, before=before, after=after, detail=detail)


def note_call(connection: Connection, ticket: TicketRow, move: Move) -> None:
    """Write what happened to one of a ticket's calls."""
    values = {"actor": move.actor, "event": move.event, "before": move.before, "after": move.after}
    _write(connection, ticket, move.call_id, detail=move.detail, **values)


def _write(connection: Connection, ticket: TicketRow, call_id: str | None, **values: str) -> None:
    connection.execute(
        insert(t.events).values(
            at=clock.now(),
            run_id=ticket.run_id,
            ticket_id=ticket.id,
            call_id=call_id,
            **{name: str(value) for name, value in values.items()},
        )
    )
