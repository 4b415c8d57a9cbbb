"""How many runs one Dify does for this bridge at once: the others wait for their turn.

A run that only waits for its client's tools may give way to one that waits for a place. It goes on when it has its
results.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from bridge.config import App
from bridge.runs.live import LiveRuns
from bridge.runs.services import Services
from bridge.store.rows import TicketRow


class Slots:
    """The places at one Dify. `limit` may change at any time; who has a place keeps it.

    `on_crowded` is called when somebody begins to wait for a place.
    """

    def __init__(self, limit: int, on_crowded: Callable[[], None] = lambda: None) -> None:
        self._limit = limit
        self._on_crowded = on_crowded
        self._holders: list[str] = []
        self._leaving: set[str] = set()
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """How many places there are."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        with self._changed:
            self._limit = limit
            self._changed.notify_all()

    @property
    def used(self) -> int:
        """How many places are taken."""
        return len(self._holders)

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._queue)

    @property
    def holders(self) -> list[str]:
        """The runs that have a place, the oldest first."""
        with self._changed:
            return list(self._holders)

    @contextmanager
    def place(self, run_id: str) -> Iterator[None]:
        """Take a place, and wait for one where there is none; who came first is first."""
        self._enter(run_id)
        try:
            yield
        finally:
            with self._changed:
                self._holders.remove(run_id)
                self._leaving.discard(run_id)
                self._changed.notify_all()

    def _enter(self, run_id: str) -> None:
        turn = object()
        with self._changed:
            self._queue.append(turn)
            crowded = len(self._holders) + len(self._queue) > self._limit
        if crowded:
            self._on_crowded()
        with self._changed:
            try:
                self._changed.wait_for(lambda: self._queue[0] is turn and len(self._holders) < self._limit)
                self._holders.append(run_id)
            finally:
                self._queue.remove(turn)
                self._changed.notify_all()

    def gives_way(self, run_id: str) -> bool:
        """Say whether this run, which waits for tools, is to leave its place to another."""
        with self._changed:
            free = max(0, self._limit - len(self._holders))
            if run_id in self._holders and len(self._queue) > len(self._leaving) + free:
                self._leaving.add(run_id)
            return run_id in self._leaving

    def stays(self, run_id: str) -> None:
        """The run does not leave after all: it has its results."""
        with self._changed:
            known = run_id in self._leaving
            self._leaving.discard(run_id)
        if known and self._queue:
            self._on_crowded()


class DifySlots:
    """The places at each Dify of the configuration."""

    def __init__(self, services: Services, live_runs: LiveRuns) -> None:
        self._services = services
        self._live_runs = live_runs
        self._slots: dict[str, Slots] = {}
        self.reconfigure()

    def reconfigure(self) -> None:
        """Take the apps and the limit that the configuration holds now."""
        config = self._services.config
        for app in config.apps:
            self._slots.setdefault(app.base_url, Slots(config.limits.dify_streams, self._make_room))
        for slots in self._slots.values():
            slots.limit = config.limits.dify_streams

    def place(self, app: App, run_id: str) -> AbstractContextManager[None]:
        """Take a place at an app's Dify, and wait for one where there is none."""
        return self._slots[app.base_url].place(run_id)

    def each(self) -> list[tuple[str, Slots]]:
        """List the Difys by address."""
        return list(self._slots.items())

    @property
    def is_crowded(self) -> bool:
        """Whether a run waits for a place at its Dify."""
        return any(slots.waiting for slots in self._slots.values())

    def gives_way(self, ticket: TicketRow) -> bool:
        """Whether the plugin should let go of this ticket now, so that another run gets its place at Dify.

        A ticket is let go of only when its client has it: text that comes before it may be on its way through Dify.
        """
        live = self._live_runs.get(ticket.run_id)
        if live and live.holds(ticket.id):
            return False
        return any(slots.gives_way(ticket.run_id) for slots in self._slots.values())

    def stays(self, run_id: str) -> None:
        """The run has what it waited for, so it does not give way any more."""
        for slots in self._slots.values():
            slots.stays(run_id)

    def _make_room(self) -> None:
        """Ask the tickets that have waited longest to give way."""
        holders = {run_id for slots in self._slots.values() for run_id in slots.holders}
        tickets = [ticket for run_id in holders for ticket in self._services.store.tickets_of_run(run_id, "open")]
        for ticket in sorted(tickets, key=lambda ticket: ticket.created_at):
            if self._live_runs.polls.at(ticket.id) and self.gives_way(ticket):
                self._services.wakeups.wake(ticket.id)
