"""The store, which tells what it writes, and what an operator asks first, in figures."""

from dataclasses import dataclass

from bridge.config import Limits
from bridge.runs.dify_slots import DifySlots
from bridge.runs.executors.registry import Registry
from bridge.runs.observing.observers import Observer
from bridge.store import clock
from bridge.store.engine import CONNECTIONS, Durability
from bridge.store.run_record import Change, RunRecord
from bridge.store.store import Store
from bridge.store.watching import Waiting, Watching
from tools.run_states import UNFINISHED


@dataclass(frozen=True, slots=True)
class ExecutorFigures:
    """An executor that is there, and how many of the calls that it can take at once it holds."""

    name: str
    calls: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """How many of the places at a Dify are taken, and how many runs wait for one."""

    dify: str
    used: int
    limit: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All figures at one moment. `runs` counts those that are kept, by state."""

    runs: dict[str, int]
    waiting: Waiting
    executors: list[ExecutorFigures]
    streams: list[StreamFigures]

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest open ticket has waited; 0 where none is open."""
        return max(0.0, clock.now() - self.waiting.oldest) if self.waiting.oldest else 0.0


class Figures:
    """Reads them. What the store says holds for all bridges that share it, the places at Dify for this one."""

    def __init__(self, store: Store, limits: Limits, slots: DifySlots, registry: Registry) -> None:
        self._store = store
        self._limits = limits
        self._slots = slots
        self._registry = registry
        self._watching = Watching(store)

    def read(self) -> Snapshot:
        """Read them now."""
        loads = self._store.executors.loads()
        return Snapshot(
            runs=self._watching.run_states(),
            waiting=self._watching.waiting(clock.now() - self._limits.abandoned_seconds),
            executors=[
                ExecutorFigures(each.name, loads.get(each.id, 0), each.concurrency) for each in self._registry.present()
            ],
            streams=[StreamFigures(dify, slots.used, slots.limit, slots.waiting) for dify, slots in self._slots.each()],
        )


class ObservedStore(Store):
    """A store that tells an observer what became of runs, tickets and calls: every path to it ends here."""

    def __init__(
        self, url: str, observer: Observer, connections: int = CONNECTIONS, durability: Durability = "power"
    ) -> None:
        super().__init__(url, connections, durability)
        self._observer = observer

    def _began(self, record: RunRecord, as_of: float) -> None:
        """Hold a new run."""
        super()._began(record, as_of)
        self._observer.run_began(record.run)

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
