"""Who hears of what becomes of runs, tickets and calls: metrics, traces.

Each is told after it is written, in the thread that wrote it, and must neither wait nor fail.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from bridge.store.rows import FormRow, Move, RunRow, TicketRow
from tools.wire import Usage

log = logging.getLogger("clawback.observers")


class Observer:
    """Hears of everything and does nothing of it; whoever observes overrides what it wants."""

    def run_began(self, run: RunRow) -> None:
        """A run was written."""

    def run_moved(self, run_id: str, state: str) -> None:
        """A run is suspended, or runs again."""

    def run_ended(self, run: RunRow) -> None:
        """A run came to its end."""

    def run_failed(self, run: RunRow, code: str) -> None:
        """An attempt of a run failed with an error, and the run with it."""

    def trace_id(self, run_id: str) -> str | None:
        """Return the id of the trace that the run is part of, where it is part of one."""
        return None

    def dify_stream(self, run: RunRow) -> Callable[[], None]:
        """Dify begins to stream an attempt of a run. What is returned is called when the stream has ended."""
        return _nothing

    def ticket_opened(self, ticket: TicketRow) -> None:
        """A ticket was opened."""

    def calls_moved(self, ticket: TicketRow, moves: Sequence[Move]) -> None:
        """Calls of a ticket changed their state; `ticket` is what it is now."""

    def ticket_ended(self, ticket: TicketRow) -> None:
        """A ticket was resolved, expired or cancelled."""

    def form_opened(self, run: RunRow, form: FormRow, title: str) -> None:
        """A form waits for a person."""

    def used_upstream(self, run: RunRow, usage: Usage) -> None:
        """The plugin reported an upstream call of a run."""


class Observers(Observer):
    """Several, told one after the other. One that fails is logged and harms nobody."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def run_began(self, run: RunRow) -> None:
        self._tell(lambda observer: observer.run_began(run))

    def run_moved(self, run_id: str, state: str) -> None:
        self._tell(lambda observer: observer.run_moved(run_id, state))

    def run_ended(self, run: RunRow) -> None:
        self._tell(lambda observer: observer.run_ended(run))

    def run_failed(self, run: RunRow, code: str) -> None:
        self._tell(lambda observer: observer.run_failed(run, code))

    def trace_id(self, run_id: str) -> str | None:
        """Return what the first says that knows one."""
        return next((found for observer in self._observers if (found := observer.trace_id(run_id))), None)

    @contextmanager
    def dify_streams(self, run: RunRow) -> Iterator[None]:
        """Tell all when Dify begins to stream, and when it has ended."""
        with ExitStack() as ends:
            self._tell(lambda observer: ends.callback(observer.dify_stream(run)))
            yield

    def ticket_opened(self, ticket: TicketRow) -> None:
        self._tell(lambda observer: observer.ticket_opened(ticket))

    def calls_moved(self, ticket: TicketRow, moves: Sequence[Move]) -> None:
        self._tell(lambda observer: observer.calls_moved(ticket, moves))

    def ticket_ended(self, ticket: TicketRow) -> None:
        self._tell(lambda observer: observer.ticket_ended(ticket))

    def form_opened(self, run: RunRow, form: FormRow, title: str) -> None:
        self._tell(lambda observer: observer.form_opened(run, form, title))

    def used_upstream(self, run: RunRow, usage: Usage) -> None:
        self._tell(lambda observer: observer.used_upstream(run, usage))

    def _tell(self, tell: Callable[[Observer], object]) -> None:
        for observer in self._observers:
            try:
                tell(observer)
            except Exception:
                log.exception("%s could not be told of a change", type(observer).__name__)


def _nothing() -> None:
    pass
