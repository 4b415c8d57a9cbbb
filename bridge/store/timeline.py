"""The statements behind the web page, each with a sentence above it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, Table, and_, case, cast, func, or_, select

from bridge.config import Limits
from bridge.store import clock
from bridge.store import schema as t
from bridge.store.due import abandoned
from bridge.store.figures import QUARTER_SECONDS, figures, tokens_of
from bridge.store.rows import CallRow, InvocationRow, RunRow, SegmentRow
from bridge.store.store import Store
from tools.run_states import UNFINISHED
from tools.ticket_states import PENDING, CallState, TicketState
from tools.wire import Usage

SEARCHED_RUNS = 1_000
"""In how many runs, from the newest on, a text is looked for, or so many tokens."""
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs are asked for; what is empty does not matter. `content` is whether `text` may be looked for in it.

    `state` may also be `undecided`, or `abandoned`: such runs are left out where nothing is looked for. `session` is
    the beginning of a session's key, `began` and `before` are times between which a run began, `longer` is how many
    seconds it lasted at least, and `tokens` how many it took at least.
    """

    app: str = ""
    state: str = ""
    tool: str = ""
    text: str = ""
    client: str = ""
    session: str = ""
    began: float = 0.0
    before: float = 0.0
    longer: float = 0.0
    tokens: int = 0
    content: bool = False


@dataclass(frozen=True, slots=True)
class Glance:
    """A run as one line of the list.

    `pending` are the places of its calls without a result, `undecided` counts what waits for a person.
    """

    id: str
    model: str
    client: str
    direction: str
    auxiliary: str | None
    state: str
    attempt: int
    error: str | None
    created_at: float
    updated_at: float
    rounds: int
    tools: tuple[str, ...]
    calls: int
    pending: frozenset[str | None]
    undecided: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Day:
    """An app's runs that began on a day, counted from the epoch. `seconds` is the mean of those that ended."""

    day: int
    model: str
    direction: str
    runs: int
    failed: int
    seconds: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Dated[Row]:
    """A row, and when it was written."""

    row: Row
    at: float


@dataclass(frozen=True, slots=True)
class Undecided:
    """A call that waits for a person, and where it belongs. `asked_at` is when its ticket was opened."""

    call: CallRow
    run: RunRow
    asked_at: float


class Timeline:
    """What a store holds, as the web page shows it."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._reading = store.watching
        self._limits = limits
        self._outlines = store.pieces.outlines

    def runs(self, asked: Filter, limit: int, offset: int) -> list[Glance]:
        """List the runs that fit, newest first."""
        columns = [t.runs.c[name] for name in Glance.__slots__ if name in t.runs.c]
        newest = (t.runs.c.created_at.desc(), t.runs.c.id.desc())
        # What is passed over is read in an index alone.
        page = select(t.runs.c.id).where(*self._fitting(asked)).order_by(*newest).limit(limit).offset(offset).subquery()
        with self._reading() as connection:
            rows = connection.execute(select(*columns).join(page, page.c.id == t.runs.c.id).order_by(*newest)).all()
            ids = [row.id for row in rows]
            calls = connection.execute(
                select(t.tickets.c.run_id, t.tickets.c.id, t.calls.c.name, t.calls.c.state, t.calls.c.place)
                .join(t.calls)
                .where(t.tickets.c.run_id.in_(ids))
                .order_by(t.tickets.c.created_at, t.calls.c.position)
            ).all()
            forms = connection.execute(select(t.forms.c.run_id).where(t.forms.c.run_id.in_(ids), _OPEN_FORM)).scalars()
            asking = Counter(forms.all())
            used = connection.execute(
                select(t.segments.c.run_id, t.segments.c.usage).where(t.segments.c.run_id.in_(ids))
            ).all()
        usage: dict[str, Usage] = {}
        for run_id, text in used:
            usage[run_id] = together(usage.get(run_id, Usage()), Usage.model_validate_json(text))
        by_run: defaultdict[str, list[Any]] = defaultdict(list)
        for call in calls:
            by_run[call.run_id].append(call)
        return [_glance(row, by_run[row.id], asking[row.id], usage.get(row.id, Usage())) for row in rows]

    def _fitting(self, asked: Filter) -> list[ColumnElement[bool]]:
        conditions = _fitting(asked, _has_ticket(abandoned(self._left_before())))
        if asked.tokens:
            with self._reading() as connection:
                used = select(func.sum(tokens_of(connection))).where(t.segments.c.run_id == t.runs.c.id)
            conditions = [*_newest(conditions), used.correlate(t.runs).scalar_subquery() >= asked.tokens]
        if asked.text:
            conditions = [*_newest(conditions), _mentions(asked.text, content=asked.content)]
        return conditions

    def _left_before(self) -> float:
        return clock.now() - self._limits.abandoned_seconds

    def days(self, app: str, client: str, began: float, offset: float) -> list[Day]:
        """Count an app's and a client's runs since a time by the day, newest first; what is empty does not matter.

        `offset` is how far the days are from UTC's.
        """
        with self._reading() as connection:
            runs = figures(connection)
            is_over, has_failed = runs.c.state.not_in(sorted(UNFINISHED)), runs.c.state == "failed"
            seconds = func.sum(runs.c.seconds) / func.nullif(_sum_where(is_over, runs.c.runs), 0)
            figure = (func.sum(runs.c.runs), _sum_where(has_failed, runs.c.runs), seconds, func.sum(runs.c.tokens))
            day = cast(func.floor((runs.c.quarter * QUARTER_SECONDS + offset) / DAY_SECONDS), Integer).label("day")
            by = (day, runs.c.model, runs.c.direction)
            asked = select(*by, *figure).where(runs.c.quarter >= int(began // QUARTER_SECONDS))
            if app:
                asked = asked.where(runs.c.model == app)
            if client:
                asked = asked.where(runs.c.client == client)
            found = [_day(row) for row in connection.execute(asked.group_by("day", *by[1:]))]
        return sorted((each for each in found if each.runs), key=lambda each: (-each.day, -each.runs, each.model))

    def newest(self) -> tuple[object, ...]:
        """Return what differs whenever a run began, changed, went or was abandoned, or a step of one was made."""
        with self._reading() as connection:
            row = connection.execute(
                select(
                    select(func.max(t.runs.c.updated_at)).scalar_subquery(),
                    select(t.store.c.forgotten).scalar_subquery(),
                    select(func.max(t.events.c.id)).scalar_subquery(),
                    select(func.count()).select_from(t.tickets).where(abandoned(self._left_before())).scalar_subquery(),
                )
            ).one()
            return tuple(row)

    def parties(self) -> tuple[list[str], list[str]]:
        """List the apps that have had runs, and the clients."""
        with self._reading() as connection:
            runs = figures(connection, tokens=False)
            found = connection.execute(select(runs.c.model, runs.c.client).where(runs.c.runs > 0).distinct()).all()
        return sorted({row.model for row in found} - {""}), sorted({row.client for row in found} - {""})

    def requests(self, run_ids: Sequence[str]) -> dict[str, str]:
        """Return what started these runs, as JSON, by the run's id; its messages are counted, and empty."""
        with self._reading() as connection:
            columns = (t.runs.c.id, t.runs.c.session_key, t.runs.c.request)
            rows = connection.execute(select(*columns).where(t.runs.c.id.in_(run_ids))).all()
        return self._outlines({row.id: (row.session_key, row.request) for row in rows})

    def mark(self, run_id: str) -> tuple[object, ...] | None:
        """Return what differs whenever anything of a run has changed; None where there is no such run."""
        with self._reading() as connection:
            row = connection.execute(
                select(
                    t.runs.c.updated_at,
                    t.runs.c.state,
                    _of(run_id, func.max(t.events.c.id), t.events.c.run_id),
                    _of(run_id, func.count(), t.segments.c.run_id),
                    _of(run_id, func.count(), t.nodes.c.run_id),
                    _of(run_id, func.max(t.nodes.c.ended_at), t.nodes.c.run_id),
                    _of(run_id, func.sum(t.nodes.c.retries), t.nodes.c.run_id),
                    _of(run_id, func.count(), t.model_calls.c.run_id),
                    _of(run_id, func.count(), t.invocations.c.run_id),
                    _of(run_id, func.count(t.invocations.c.answer), t.invocations.c.run_id),
                ).where(t.runs.c.id == run_id)
            ).first()
            return tuple(row) if row else None

    def segments(self, run_id: str) -> list[Dated[SegmentRow]]:
        """List what the run has told its client, and when each response ended."""
        return self._dated(t.segments, SegmentRow, run_id, t.segments.c.number)

    def invocations(self, run_id: str) -> list[Dated[InvocationRow]]:
        """List the run's invocations, and when each attached."""
        return self._dated(t.invocations, InvocationRow, run_id, t.invocations.c.created_at)

    def _dated[Row: (SegmentRow, InvocationRow)](
        self, table: Table, kind: type[Row], run_id: str, order: ColumnElement[Any]
    ) -> list[Dated[Row]]:
        columns = [table.c[name] for name in kind.__slots__]
        with self._reading() as connection:
            rows = connection.execute(
                select(*columns, table.c.created_at).where(table.c.run_id == run_id).order_by(order)
            )
            return [Dated(kind(*row[:-1]), row[-1]) for row in rows]

    def goes_on(self, run_id: str) -> bool:
        """Whether a run is not over."""
        with self._reading() as connection:
            state = connection.execute(select(t.runs.c.state).where(t.runs.c.id == run_id)).scalar()
            return state in UNFINISHED

    def count_undecided(self, run_id: str = "") -> int:
        """Count the calls and the forms that wait for a person, of one run or of all."""
        calls = select(func.count()).select_from(t.calls).join(t.tickets).where(_WAITS)
        forms = select(func.count()).select_from(t.forms).where(_OPEN_FORM)
        if run_id:
            calls, forms = calls.where(t.tickets.c.run_id == run_id), forms.where(t.forms.c.run_id == run_id)
        with self._reading() as connection:
            both = connection.execute(select(calls.scalar_subquery(), forms.scalar_subquery())).one()
        return sum(both)

    def undecided_ids(self, limit: int) -> list[str]:
        """List the calls that have waited longest for a person, by their ids."""
        with self._reading() as connection:
            oldest = (t.tickets.c.created_at, t.tickets.c.id, t.calls.c.position)
            asked = select(t.calls.c.id).join(t.tickets).where(_WAITS).order_by(*oldest).limit(limit)
            return list(connection.execute(asked).scalars())

    def undecided(self, call_ids: Sequence[str]) -> list[Undecided]:
        """Read these calls and the runs that they belong to, in this order."""
        call_columns = [t.calls.c[name] for name in CallRow.__slots__]
        run_columns = [t.runs.c[name] for name in RunRow.__slots__]
        width = len(call_columns)
        with self._reading() as connection:
            rows = connection.execute(
                select(*call_columns, *run_columns, t.tickets.c.created_at)
                .join_from(t.calls, t.tickets)
                .join(t.runs, t.runs.c.id == t.tickets.c.run_id)
                .where(t.calls.c.id.in_(call_ids))
            )
            found = {row[0]: Undecided(CallRow(*row[:width]), RunRow(*row[width:-1]), row[-1]) for row in rows}
        return [found[call_id] for call_id in call_ids if call_id in found]


_OPEN_FORM = and_(t.forms.c.state == "open", t.forms.c.ticket_id.is_(None))
_WAITS = and_(t.calls.c.state == CallState.AWAITING_APPROVAL.value, t.tickets.c.state == TicketState.OPEN.value)


def _glance(row: Any, calls: Sequence[Any], forms: int, usage: Usage) -> Glance:
    return Glance(
        **row._mapping,
        rounds=len({call.id for call in calls}),
        tools=tuple(dict.fromkeys(call.name for call in calls)),
        calls=len(calls),
        pending=frozenset(call.place for call in calls if call.state in PENDING),
        undecided=sum(call.state == CallState.AWAITING_APPROVAL for call in calls) + forms,
        usage=usage,
    )


def together(one: Usage, other: Usage) -> Usage:
    """Return what two responses used together."""
    return Usage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
    )


def _of(run_id: str, figure: ColumnElement[Any], column: ColumnElement[str]) -> ColumnElement[Any]:
    return select(figure).where(column == run_id).scalar_subquery()


def _fitting(asked: Filter, is_abandoned: ColumnElement[bool]) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if asked.state == "undecided":
        of_calls = select(t.tickets.c.run_id).join_from(t.calls, t.tickets).where(_WAITS)
        conditions.append(t.runs.c.id.in_(of_calls.union(select(t.forms.c.run_id).where(_OPEN_FORM))))
    elif asked.state == "abandoned":
        conditions.append(is_abandoned)
    elif asked.state:
        conditions.append(t.runs.c.state == asked.state)
    elif not (asked.tool or asked.text):
        conditions.append(~is_abandoned)
    if asked.tool:
        conditions.append(_has_call(t.calls.c.name.icontains(asked.tool, autoescape=True)))
    return [*conditions, *_of_party(asked), *_of_time(asked)]


def _of_party(asked: Filter) -> Iterator[ColumnElement[bool]]:
    if asked.app:
        yield t.runs.c.model == asked.app
    if asked.client:
        yield t.runs.c.client == asked.client
    if asked.session:
        yield t.runs.c.session_key.startswith(asked.session, autoescape=True)


def _of_time(asked: Filter) -> Iterator[ColumnElement[bool]]:
    if asked.began:
        yield t.runs.c.created_at >= asked.began
    if asked.before:
        yield t.runs.c.created_at < asked.before
    if asked.longer:
        end = case((t.runs.c.state.in_(sorted(UNFINISHED)), clock.now()), else_=t.runs.c.updated_at)
        yield end - t.runs.c.created_at >= asked.longer


def _newest(conditions: Sequence[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
    newest = select(t.runs.c.id).where(*conditions).order_by(t.runs.c.created_at.desc()).limit(SEARCHED_RUNS)
    return [t.runs.c.id.in_(newest)]


def _sum_where(condition: ColumnElement[bool], figure: ColumnElement[int]) -> ColumnElement[int]:
    return func.sum(case((condition, figure), else_=0))


def _day(row: Sequence[Any]) -> Day:
    day, model, direction, runs, failed, seconds, tokens = row
    return Day(day, model, direction, int(runs), int(failed), float(seconds or 0), int(tokens))


def _has_ticket(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    # Few runs have such a ticket: they are found once, and what belongs to the others is not looked at.
    return t.runs.c.id.in_(select(t.tickets.c.run_id).where(condition))


def _has_call(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    # Asked run by run, from the newest on, so that a page of runs is found without looking at all of them.
    joined = t.calls.join(t.tickets)
    found = select(t.calls.c.id).select_from(joined).where(t.tickets.c.run_id == t.runs.c.id, condition)
    return found.correlate(t.runs).exists()


def _mentions(text: str, *, content: bool) -> ColumnElement[bool]:
    """Where the text stands: in what names things and says what went wrong, and in content only where that is shown."""
    runs = [t.runs.c.id, t.runs.c.model, t.runs.c.conversation_id, t.runs.c.workflow_run_id, t.runs.c.error]
    calls = [t.calls.c.id, t.calls.c.name, t.calls.c.ticket_id]
    if content:
        runs.append(t.runs.c.request)
        calls += [t.calls.c.arguments, t.calls.c.output]
    node = select(t.nodes.c.id).where(t.nodes.c.run_id == t.runs.c.id, _any_holds([t.nodes.c.title], text))
    found = [_any_holds(runs, text), _has_call(_any_holds(calls, text)), node.correlate(t.runs).exists()]
    if content:
        said = select(t.segments.c.number).where(
            t.segments.c.run_id == t.runs.c.id, _any_holds([t.segments.c.text], text)
        )
        found.append(said.correlate(t.runs).exists())
    return or_(*found)


def _any_holds(columns: Sequence[ColumnElement[str]], text: str) -> ColumnElement[bool]:
    return or_(*(column.icontains(text, autoescape=True) for column in columns))
