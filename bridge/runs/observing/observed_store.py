"""The store, and whoever observes what is written to it."""

from bridge.runs.observing.observers import Observer
from bridge.store import Store
from bridge.store.engine import CONNECTIONS, Durability
from bridge.store.rows import RunRow
from bridge.store.run_record import Change
from tools.run_states import UNFINISHED


class ObservedStore(Store):
    """A store that tells an observer what became of runs, tickets and calls: every path to it ends here."""

    def __init__(
        self, url: str, observer: Observer, connections: int = CONNECTIONS, durability: Durability = "power"
    ) -> None:
        super().__init__(url, connections, durability)
        self._observer = observer

    def _began(self, run: RunRow) -> None:
        """Hold a new run."""
        super()._began(run)
        self._observer.run_began(run)

    def commit(self, change: Change) -> None:
        """Write a change. Raises Overtaken where the run is not as it was read."""
        super().commit(change)
        was, now = change.was, change.state
        for ticket_id in now.tickets.keys() - was.tickets.keys():
            self._observer.ticket_opened(now.tickets[ticket_id])
        for ticket_id, moves in change.moves.items():
            self._observer.calls_moved(now.tickets[ticket_id], moves)
        for ticket in now.tickets.values():
            before = was.tickets.get(ticket.id)
            if ticket.state != "open" and (before is None or before.state == "open"):
                self._observer.ticket_ended(ticket)
        if now.run.state == was.run.state:
            return
        if now.run.state in UNFINISHED:
            self._observer.run_moved(now.run.id, now.run.state)
        else:
            self._observer.run_ended(now.run)
