"""The statements of those who only watch, each with a sentence above it. No content is read."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import func, select

from bridge.store import schema as t
from bridge.store.due import abandoned
from bridge.store.figures import figures
from bridge.store.rows import EventRow
from bridge.store.store import Store
from tools.ticket_states import CallState, TicketState


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run without what was said in it. Times are seconds since the epoch."""

    id: str
    model: str
    direction: str
    state: str
    attempt: int
    auxiliary: str | None
    error: str | None
    created_at: float
    updated_at: float
    client: str = ""
    tickets: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """The open tickets that are not abandoned, when the `oldest` was opened, and how many calls wait for a person."""

    tickets: int
    oldest: float | None
    undecided: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A step of a ticket, or of one of its calls, and the tool of that."""

    event: EventRow
    tool: str | None


_SUMMARY = [t.runs.c[name] for name in RunSummary.__slots__ if name in t.runs.c]


class Watching:
    """What a store holds, as those see it who only watch."""

    def __init__(self, store: Store) -> None:
        self._reading = store.reading
        self.clients = store.clients.all

    def run_states(self) -> dict[str, int]:
        """Count the runs that are kept, by state."""
        with self._reading() as connection:
            runs = figures(connection, tokens=False)
            rows = connection.execute(select(runs.c.state, func.sum(runs.c.runs)).group_by(runs.c.state))
            return {state: int(count) for state, count in rows if count}

    def waiting(self, left_before: float) -> Waiting:
        """Count what waits, and say since when, without what clients have left unanswered since a time."""
        with self._reading() as connection:
            tickets, oldest = connection.execute(
                select(func.count(), func.min(t.tickets.c.created_at)).where(
                    t.tickets.c.state == TicketState.OPEN.value, ~abandoned(left_before)
                )
            ).one()
            undecided = connection.execute(
                select(func.count())
                .select_from(t.calls)
                .join(t.tickets)
                .where(
                    t.calls.c.state == CallState.AWAITING_APPROVAL.value, t.tickets.c.state == TicketState.OPEN.value
                )
            ).scalar_one()
            return Waiting(tickets, oldest, undecided)

    def runs(self, states: Collection[str] = (), limit: int = 50) -> list[RunSummary]:
        """List the newest runs in one of these states, or in any, newest first."""
        with self._reading() as connection:
            asked = select(*_SUMMARY).order_by(t.runs.c.created_at.desc()).limit(limit)
            rows = connection.execute(asked.where(t.runs.c.state.in_(states)) if states else asked).all()
        return self._counted(rows)

    def changed_runs(self, since: float, limit: int = 200) -> list[RunSummary]:
        """List the runs that changed after a time, the one that changed first at the beginning."""
        with self._reading() as connection:
            changed = select(*_SUMMARY).where(t.runs.c.updated_at > since)
            rows = connection.execute(changed.order_by(t.runs.c.updated_at).limit(limit)).all()
        return self._counted(rows)

    def events_after(self, event_id: int, limit: int = 200) -> list[Seen]:
        """List the steps after this one, oldest first."""
        columns = [t.events.c[name] for name in EventRow.__slots__]
        with self._reading() as connection:
            rows = connection.execute(
                select(*columns, t.calls.c.name)
                .join(t.calls, t.calls.c.id == t.events.c.call_id, isouter=True)
                .where(t.events.c.id > event_id)
                .order_by(t.events.c.id)
                .limit(limit)
            )
            return [Seen(EventRow(*row[:-1]), row[-1]) for row in rows]

    def newest_event(self) -> int:
        """Return the id of the last step; 0 where there is none."""
        with self._reading() as connection:
            return connection.execute(select(func.max(t.events.c.id))).scalar_one() or 0

    def newest_change(self) -> float:
        """Return when a run changed last; 0 where there is none."""
        with self._reading() as connection:
            return connection.execute(select(func.max(t.runs.c.updated_at))).scalar_one() or 0.0

    def _counted(self, rows: Iterable[object]) -> list[RunSummary]:
        found = [dict(row._mapping) for row in rows]  # type: ignore[attr-defined]
        with self._reading() as connection:
            counts = connection.execute(
                select(t.tickets.c.run_id, func.count(t.tickets.c.id.distinct()), func.count(t.calls.c.id))
                .join(t.calls, isouter=True)
                .where(t.tickets.c.run_id.in_([row["id"] for row in found]))
                .group_by(t.tickets.c.run_id)
            )
            by_run = {run_id: {"tickets": tickets, "calls": calls} for run_id, tickets, calls in counts}
        return [RunSummary(**(row | by_run.get(row["id"], {}))) for row in found]
