"""Statements that are made once and run with values: to make one takes longer than to run it.

Some may be late: they go with the next commit, or are written by themselves a moment later. They are of use to who
watches, or are learned again where they are lost: a process that is killed takes what it has not written with it.
"""

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import batched
from typing import Any

from sqlalchemy import Boolean, Connection, Dialect, Executable, Table, bindparam, literal_column, select, text, update
from sqlalchemy import insert as plain_insert
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from bridge.store.engine import limits_of, without_nul
from bridge.store.faults import StoreUnavailable

log = logging.getLogger("clawback.store")

Transaction = Callable[[], AbstractContextManager[Connection]]
"""Begins a transaction, or a connection that only reads."""

Statement = tuple[Executable, Mapping[str, Any]]
"""A statement and the values of its parameters."""


def inserting(table: Table, *rows: Mapping[str, Any], insert: Callable[[Table], Any] | None = None) -> Statement:
    """Return the statement that writes these rows, each with a value for every column that does not count itself.

    With the `insert` of the database's dialect, those that are there already stay as they are.
    """
    values = {f"{name}_{number}": value for number, row in enumerate(rows) for name, value in row.items()}
    return _insert(table, len(rows), insert), values


def updating(table: Table, at: Mapping[str, Any], values: Mapping[str, Any]) -> Statement:
    """Return the statement that changes the rows whose columns have the values of `at`."""
    where = {f"{name}_at": value for name, value in at.items()}
    return _update(table, tuple(at), tuple(values)), {**values, **where}


def execute(connection: Connection, statement: Statement) -> int:
    """Run a statement; return how many rows it changed."""
    changed: int = _run(connection, *statement).rowcount
    return changed


def fetch(connection: Connection, query: Executable, **values: Any) -> list[Sequence[Any]]:
    """Run a query that was made once; return its rows."""
    rows: list[Sequence[Any]] = _run(connection, query, values).fetchall()
    truths = _truths(query) if rows and connection.dialect.name == "sqlite" else ()
    return [_with_truths(row, truths) for row in rows] if truths else rows


@lru_cache(maxsize=1000)
def _truths(query: Any) -> tuple[int, ...]:
    """Return which columns of a query are Booleans: SQLite has numbers there."""
    columns = getattr(query, "selected_columns", ())
    return tuple(at for at, column in enumerate(columns) if isinstance(column.type, Boolean))


def _with_truths(row: Sequence[Any], truths: Iterable[int]) -> Sequence[Any]:
    values = list(row)
    for at in truths:
        values[at] = None if values[at] is None else bool(values[at])
    return values


def execute_together(connection: Connection, *statements: Statement) -> None:
    """Run statements of one transaction. A database that is a server is asked once, and commits them."""
    if connection.dialect.name == "sqlite":
        for statement in statements:
            execute(connection, statement)
    else:
        _run_together(connection, _cursors(connection, len(statements)), statements)


def execute_fenced(connection: Connection, fence: Statement, *rest: Statement) -> bool:
    """Run statements of one transaction where the first one changes a row; say whether it did.

    A database that is a server is asked once, and commits them. In SQLite the transaction is to be rolled back where
    the first one changed none.
    """
    if connection.dialect.name == "sqlite":
        if execute(connection, fence):
            execute_together(connection, *rest)
            return True
        return False
    update, values = fence
    limits: list[Statement] = [(_text(limit), {}) for limit in limits_of(connection)]
    cursors = _cursors(connection, len(limits) + 1 + len(rest))
    try:
        _run_together(connection, cursors, (*limits, (_fenced(update), values), *rest))
    except DBAPIError as error:
        is_fence = cursors[len(limits)].rowcount < 1 and getattr(error.orig, "sqlstate", None) == _NOT_A_NUMBER
        if is_fence:
            return False
        raise
    return True


def fetch_together(connection: Connection, *queries: Statement) -> list[list[Sequence[Any]]]:
    """Run queries that were made once; return the rows of each.

    A database that is a server is asked once. Outside of a transaction it answers all of them as of one moment: of what
    others commit meanwhile, the later ones would else see more than the earlier ones.
    """
    if connection.dialect.name == "sqlite":
        return [fetch(connection, query, **values) for query, values in queries]
    driver: Any = connection.connection.dbapi_connection
    before, after = ([_AS_OF_NOW], [_DONE]) if driver.autocommit and len(queries) > 1 else ([], [])
    cursors = _cursors(connection, len(before) + len(queries) + len(after))
    _run_together(connection, cursors, (*before, *queries, *after))
    return [cursor.fetchall() for cursor in cursors[len(before) : len(before) + len(queries)]]


def _cursors(connection: Connection, number: int) -> list[Any]:
    driver: Any = connection.connection.dbapi_connection
    return [driver.cursor() for _ in range(number)]


def _run_together(connection: Connection, cursors: Sequence[Any], statements: Sequence[Statement]) -> None:
    driver: Any = connection.connection.dbapi_connection
    try:
        with driver.pipeline():
            for cursor, (executable, values) in zip(cursors, statements, strict=True):
                sql, _, given = _sql(executable, connection.dialect)
                cursor.execute(sql, without_nul({**given, **values}))
    except driver.Error as error:
        if driver.closed:
            # SQLAlchemy has to find out by itself: it lets go of all connections then.
            connection.exec_driver_sql("SELECT 1")
        raise DBAPIError.instance(None, None, error, driver.Error, hide_parameters=True) from None


def _run(connection: Connection, executable: Executable, values: Mapping[str, Any]) -> Any:
    """Run what becomes SQL once. SQLite is asked past SQLAlchemy, which takes ten times as long as it does."""
    sql, order, given = _sql(executable, connection.dialect)
    named = {**given, **values} if given else values
    if order is None:
        return connection.exec_driver_sql(sql, named)
    driver: Any = connection.connection.dbapi_connection
    try:
        return driver.run(sql, tuple(named[name] for name in order))
    except sqlite3.IntegrityError as error:
        raise IntegrityError(sql, None, error) from None


@lru_cache(maxsize=1000)
def _sql(statement: Executable, dialect: Dialect) -> tuple[str, list[str] | None, dict[str, Any]]:
    """Return the SQL, the order of its parameters where they have no names, and the values that it brings itself."""
    compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
    given = {name: value for name, value in compiled.params.items() if value is not None}
    return str(compiled), compiled.positiontup, given


@cache
def _update(table: Table, at: tuple[str, ...], columns: tuple[str, ...]) -> Executable:
    where = [table.c[name] == bindparam(f"{name}_at") for name in at]
    return update(table).where(*where).values({name: bindparam(name) for name in columns})


_NOT_A_NUMBER = "22P02"
_text = cache(text)
_AS_OF_NOW: Statement = (text("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"), {})
_DONE: Statement = (text("COMMIT"), {})


@lru_cache(maxsize=1000)
def _fenced(update: Any) -> Executable:
    """Return what makes this update and fails where it changes nothing: what is sent behind it is then not done.

    It fails over the only words that an expression can leave in PostgreSQL's log.
    """
    changed = update.returning(literal_column("1")).cte("changed")
    said = "CAST('changed meanwhile, so it is read again: ' || count(*) AS integer)"
    return select(literal_column(f"CASE count(*) WHEN 0 THEN {said} ELSE 1 END")).select_from(changed)


@cache
def _insert(table: Table, rows: int, insert: Callable[[Table], Any] | None) -> Executable:
    names = [column.name for column in table.columns if column.autoincrement is not True]
    values: list[dict[str, Any]] = [{name: bindparam(f"{name}_{row}") for name in names} for row in range(rows)]
    if insert is None:
        return plain_insert(table).values(values)
    adding: Executable = insert(table).values(values).on_conflict_do_nothing()
    return adding


def values_of(row: Any, but: Sequence[str] = ()) -> dict[str, Any]:
    """Return a row's columns."""
    return {name: getattr(row, name) for name in row.__slots__ if name not in but}


def columns_of(table: Table, row: type) -> list[Any]:
    """Return the columns of a row type, in the order of its fields."""
    return [table.c[name] for name in row.__slots__ if name in table.c]  # type: ignore[attr-defined]


RIPE_SECONDS = 2.0
"""What has waited for so long goes with the next commit: until then more is said of the same rows."""
LATEST_SECONDS = 3.0
"""After so long it is written by itself."""
MOST = 10_000
"""Beyond so many rows, which a store that cannot be written leads to, the oldest are lost."""
_AT_ONCE = 20


@dataclass(slots=True)
class _Row:
    """What is said of a row: all of it where it is new. `adding` writes a row of numbers, or adds them to it."""

    table: Table
    at: Mapping[str, Any]
    values: dict[str, Any]
    is_new: bool = False
    adding: Executable | None = None

    def merge(self, other: "_Row") -> None:
        """Take in what is said of the same row later."""
        if self.adding is not None:
            self.values = {name: value + other.values[name] for name, value in self.values.items()}
        elif not other.is_new:
            self.values |= other.values


_Waiting = dict[tuple[Table, tuple[Any, ...]], _Row]


class Deferred:
    """The rows that wait to be written. What is said of one meanwhile is written at once, and new ones together."""

    def __init__(self, transaction: Transaction, insert: Callable[[Table], Any]) -> None:
        self._transaction = transaction
        self._insert = insert
        self._waiting: _Waiting = {}
        self._since = math.inf
        self._timer: threading.Timer | None = None
        self._is_closed = False

    def insert(self, table: Table, at: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Write a new row soon; one that is there already stays as it is. `at` are the columns that name it."""
        self._add(_Row(table, at, dict(values), is_new=True))

    def update(self, table: Table, at: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Change a row soon."""
        self._add(_Row(table, at, dict(values)))

    def count(self, adding: Executable, table: Table, at: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Add numbers to a row soon, by this statement."""
        self._add(_Row(table, at, dict(values), adding=adding))

    def _add(self, row: _Row) -> None:
        known = self._waiting.setdefault((row.table, tuple(row.at.values())), row)
        if known is not row:
            known.merge(row)
        while len(self._waiting) > MOST:
            del self._waiting[next(iter(self._waiting))]
        self._wait()

    def _wait(self) -> None:
        self._since = min(self._since, time.monotonic())
        if self._timer is None and not self._is_closed:
            self._timer = threading.Timer(LATEST_SECONDS, self._on_time)
            self._timer.daemon = True
            self._timer.start()

    @contextmanager
    def ripe(self) -> Iterator[Sequence[Statement]]:
        """Take what has waited for long, for who commits something else."""
        if time.monotonic() - self._since < RIPE_SECONDS:
            yield ()
            return
        with self._taken() as statements:
            yield statements

    def write(self) -> None:
        """Write what waits now."""
        if self._waiting:
            with self._taken() as statements, self._transaction() as connection:
                execute_together(connection, *statements)

    @contextmanager
    def _taken(self) -> Iterator[Sequence[Statement]]:
        """Take what waits; nobody else does meanwhile. It comes back where that fails, but for what is refused."""
        taken, self._waiting, self._since = self._waiting, {}, math.inf
        try:
            yield [*_statements(taken.values(), self._insert)]
        except SQLAlchemyError:
            raise
        except BaseException:
            later, self._waiting = self._waiting, taken
            for row in later.values():
                self._add(row)
            raise

    def close(self) -> None:
        """Write what waits, and nothing from then on."""
        self._is_closed = True
        if self._timer:
            self._timer.cancel()
        self._on_time()

    def _on_time(self) -> None:
        self._timer = None
        try:
            self.write()
        except StoreUnavailable as error:
            log.warning("what those who watch would see is not written yet: %s", error.reason)
        except SQLAlchemyError as error:
            log.warning("what those who watch would see could not be written: %s", type(error).__name__)


def _statements(rows: Iterable[_Row], insert: Callable[[Table], Any]) -> Iterator[Statement]:
    new: dict[Table, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.adding is not None:
            yield row.adding, {**row.at, **row.values}
        elif row.is_new:
            new.setdefault(row.table, []).append({**row.at, **row.values})
        else:
            yield updating(row.table, row.at, row.values)
    for table, found in new.items():
        for some in batched(found, _AT_ONCE):
            yield inserting(table, *some, insert=insert)
