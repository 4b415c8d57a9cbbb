"""What runs came to, in figures. Those that are over are added up once, a little later: however many runs a store
holds, its figures are a few rows for each quarter of an hour, and what is under way or has just ended.
"""

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Float,
    Integer,
    Select,
    Subquery,
    Table,
    case,
    cast,
    delete,
    func,
    literal,
    select,
    type_coerce,
    update,
)

from bridge.store import schema as t
from bridge.store.statements import Transaction
from tools.run_states import UNFINISHED

QUARTER_SECONDS = 900.0
"""In every zone, days begin with a quarter of an hour."""
SETTLED_SECONDS = 300.0
"""What ended so long ago is added up: by then it is committed, by whichever bridge."""
_AT_ONCE = 500
"""So many runs are added up in one transaction. Nobody else is served meanwhile."""

_KEY = ("quarter", "model", "client", "direction", "state")
_SUMS = ("runs", "seconds", "tokens")
IS_OVER = t.runs.c.state.not_in(sorted(UNFINISHED))
_COUNTED_UNTIL = select(t.store.c.counted_until)


class FigureStatements:
    """The part of the store that adds up what is over."""

    def __init__(self, transaction: Transaction, reading: Transaction, insert: Callable[[Table], Any]) -> None:
        self._transaction, self._reading, self._insert = transaction, reading, insert

    def counting(self, now: float) -> Iterator[None]:
        """Add up what has ended until a moment ago, a little in each transaction; yield after each."""
        until = now - SETTLED_SECONDS
        with self._reading() as connection:
            since = connection.execute(_COUNTED_UNTIL).scalar_one()
            later = select(func.min(t.runs.c.updated_at)).where(t.runs.c.updated_at >= since)
            oldest = connection.execute(later).scalar_one()
        if since > now:
            # A clock was wrong.
            self._begin_anew()
        elif oldest is None or oldest >= until:
            return
        while self._count(until):
            yield

    def _begin_anew(self) -> None:
        with self._transaction() as connection:
            connection.execute(delete(t.counted))
            connection.execute(update(t.store).values(counted_until=0.0))

    def _count(self, until: float) -> bool:
        with self._transaction() as connection:
            # Whoever takes runs out waits; another bridge that counts leaves it to this one.
            since = connection.execute(_COUNTED_UNTIL.with_for_update(skip_locked=True)).scalar_one_or_none()
            if since is None or since >= until:
                return False
            later = select(t.runs.c.updated_at).where(t.runs.c.updated_at > since, t.runs.c.updated_at < until)
            last = connection.execute(later.order_by(t.runs.c.updated_at).offset(_AT_ONCE).limit(1)).scalar()
            end = until if last is None else last
            self._add(connection, 1, t.runs.c.updated_at >= since, t.runs.c.updated_at < end)
            connection.execute(update(t.store).values(counted_until=end))
            return True

    def take_out(self, connection: Connection, run_ids: list[str], *, gone: int = 0) -> None:
        """Count these runs no longer: this transaction is about to change them, or to delete so many."""
        until = connection.execute(_COUNTED_UNTIL.with_for_update()).scalar_one()
        self._add(connection, -1, t.runs.c.id.in_(run_ids), t.runs.c.updated_at < until)
        if gone:
            connection.execute(update(t.store).values(forgotten=t.store.c.forgotten + gone))

    def drop_empty(self) -> None:
        """Forget what sums up no run any more."""
        with self._transaction() as connection:
            connection.execute(delete(t.counted).where(t.counted.c.runs <= 0))

    def _add(self, connection: Connection, sign: int, *conditions: ColumnElement[bool]) -> None:
        each = _each(connection, IS_OVER, *conditions).subquery()
        sums = [(sign * func.sum(each.c[name])).label(name) for name in _SUMS]
        summed = select(*(each.c[name] for name in _KEY), *sums).group_by(*(each.c[name] for name in _KEY))
        adding = self._insert(t.counted).from_select([*_KEY, *_SUMS], summed)
        together = {name: t.counted.c[name] + adding.excluded[name] for name in _SUMS}
        connection.execute(adding.on_conflict_do_update(index_elements=list(_KEY), set_=together))


def figures(connection: Connection, *, tokens: bool = True) -> Subquery:
    """Return all runs that are kept as rows of `counted`, which the runs that it does not hold are beside."""
    since = connection.execute(_COUNTED_UNTIL).scalar_one()
    # Only by a number does PostgreSQL see that these are few. More may have been counted meanwhile.
    later = (t.runs.c.updated_at >= since, t.runs.c.updated_at >= _COUNTED_UNTIL.scalar_subquery())
    counted = select(*(t.counted.c[name] for name in (*_KEY, *_SUMS)))
    just_ended = _each(connection, IS_OVER, *later, tokens=tokens)
    under_way = _each(connection, t.runs.c.state.in_(sorted(UNFINISHED)), tokens=tokens)
    return counted.union_all(just_ended, under_way).subquery()


def _each(connection: Connection, *conditions: ColumnElement[bool], tokens: bool = True) -> Select[Any]:
    used: ColumnElement[Any] = literal(0)
    if tokens:
        of_run = select(func.sum(tokens_of(connection))).where(t.segments.c.run_id == t.runs.c.id)
        used = func.coalesce(of_run.correlate(t.runs).scalar_subquery(), 0)
    seconds = case((IS_OVER, t.runs.c.updated_at - t.runs.c.created_at), else_=literal(0.0, Float))
    return select(
        cast(func.floor(t.runs.c.created_at / QUARTER_SECONDS), Integer).label("quarter"),
        *(t.runs.c[name] for name in _KEY[1:]),
        literal(1).label("runs"),
        seconds.label("seconds"),
        used.label("tokens"),
    ).where(*conditions)


def tokens_of(connection: Connection) -> ColumnElement[int]:
    """Return the tokens of a segment."""
    # SQLite reads JSON in any text; PostgreSQL wants to be told that it is some.
    text = t.segments.c.usage
    usage = type_coerce(text, JSON) if connection.dialect.name == "sqlite" else cast(text, JSON)
    both: ColumnElement[int] = usage["prompt_tokens"].as_integer() + usage["completion_tokens"].as_integer()
    return both
