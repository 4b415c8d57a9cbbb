"""The store, and whoever observes what is written to it."""

from collections.abc import Sequence
from typing import Any

from bridge.runs.observing.observers import Observer
from bridge.store import Store
from bridge.store.rows import Move, RunRow, TicketRow
from tools.ticket_states import PENDING


class ObservedStore(Store):
    """A store that tells an observer what became of runs, tickets and calls: every path to it ends here."""

    def __init__(self, url: str, observer: Observer) -> None:
        super().__init__(url)
        self._observer = observer

    def insert_run(self, run: RunRow) -> None:
        """Write a new run."""
        super().insert_run(run)
        self._observer.run_began(run)

    def update_run(self, run_id: str, **values: Any) -> None:
        """Change some columns of a run."""
        super().update_run(run_id, **values)
        if "state" in values:
            self._observer.run_moved(run_id, values["state"])

    def end_run(self, run_id: str, state: str, error: str | None = None) -> bool:
        """Bring an unfinished run to its end and say whether it was still unfinished."""
        ended = super().end_run(run_id, state, error)
        if ended and (run := self.run(run_id)):
            self._observer.run_ended(run)
        return ended

    def open_ticket(self, ticket: TicketRow, moves: Sequence[Move]) -> TicketRow:
        """Write a ticket and its calls, and the first moves of these; one that is there already stays as it is."""
        opened = super().open_ticket(ticket, moves)
        self._observer.ticket_opened(opened)
        self._observe_moves(opened, moves)
        return opened

    def move_calls(self, ticket_id: str, moves: Sequence[Move], reply: str | None = None) -> TicketRow:
        """Move calls of a ticket; it resolves when none of them waits any more. All of the moves happen, or none."""
        changed = super().move_calls(ticket_id, moves, reply)
        self._observe_moves(changed, moves)
        return changed

    def _observe_moves(self, ticket: TicketRow, moves: Sequence[Move]) -> None:
        self._observer.calls_moved(ticket, moves)
        # A decision that is repeated moves nothing: only the step that settles the last call ends the ticket.
        if ticket.state != "open" and any(move.before in PENDING for move in moves):
            self._observer.ticket_ended(ticket)

    def close_ticket(self, ticket_id: str, state: str, reason: str, actor: str = "bridge") -> bool:
        """Bring an open ticket to an end without results, its calls with it, and say whether it was open."""
        closed = super().close_ticket(ticket_id, state, reason, actor)
        if closed and (ticket := self.ticket(ticket_id)):
            self._observer.ticket_ended(ticket)
        return closed
