"""Statements that are made once and run with values: to make one takes longer than to run it.

Some may be late: they go with the next commit, or are written by themselves a moment later. They are of use to who
watches, or are learned again where they are lost: a process that is killed takes what it has not written with it.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, Executable, Table, bindparam, insert, update
from sqlalchemy.exc import SQLAlchemyError

from bridge.store.faults import StoreUnavailable

log = logging.getLogger("clawback.store")

Statement = tuple[Executable, Mapping[str, Any]]
"""A statement and the values of its parameters."""


def inserting(table: Table, *rows: Mapping[str, Any]) -> Statement:
    """Return the statement that writes these rows, each with a value for every column that does not count itself."""
    values = {f"{name}_{number}": value for number, row in enumerate(rows) for name, value in row.items()}
    return _insert(table, len(rows)), values


def updating(table: Table, at: Mapping[str, Any], values: Mapping[str, Any]) -> Statement:
    """Return the statement that changes the rows whose columns have the values of `at`."""
    where = {f"{name}_at": value for name, value in at.items()}
    return _update(table, tuple(at), tuple(values)), {**values, **where}


def execute(connection: Connection, statement: Statement) -> int:
    """Run a statement; return how many rows it changed. It becomes SQL once: SQLAlchemy makes that of rows anew."""
    executable, values = statement
    sql, order = _sql(executable, connection.dialect)
    parameters = values if order is None else tuple(values[name] for name in order)
    return connection.exec_driver_sql(sql, parameters).rowcount


@lru_cache(maxsize=1000)
def _sql(statement: Executable, dialect: Dialect) -> tuple[str, list[str] | None]:
    """Return the SQL, and the order of its parameters where they have no names."""
    compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
    return str(compiled), compiled.positiontup


@cache
def _update(table: Table, at: tuple[str, ...], columns: tuple[str, ...]) -> Executable:
    where = [table.c[name] == bindparam(f"{name}_at") for name in at]
    return update(table).where(*where).values({name: bindparam(name) for name in columns})


@cache
def _insert(table: Table, rows: int) -> Executable:
    names = [column.name for column in table.columns if column.autoincrement is not True]
    return insert(table).values([{name: bindparam(f"{name}_{row}") for name in names} for row in range(rows)])


def values_of(row: Any, but: Sequence[str] = ()) -> dict[str, Any]:
    """Return a row's columns."""
    return {name: getattr(row, name) for name in row.__slots__ if name not in but}


def columns_of(table: Table, row: type) -> list[Any]:
    """Return the columns of a row type, in the order of its fields."""
    return [table.c[name] for name in row.__slots__ if name in table.c]  # type: ignore[attr-defined]


LATEST_SECONDS = 0.5
MOST = 10_000
"""Beyond so many, which a store that cannot be written leads to, the oldest are lost."""


class Deferred:
    """The writes that wait."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction
        self._waiting: list[Statement] = []
        self._timer: threading.Timer | None = None
        self._is_closed = False

    def add(self, statement: Statement) -> None:
        """Write this soon."""
        self._waiting = [*self._waiting[-MOST:], statement]
        if self._timer is None and not self._is_closed:
            self._timer = threading.Timer(LATEST_SECONDS, self._on_time)
            self._timer.daemon = True
            self._timer.start()

    @contextmanager
    def taken(self) -> Iterator[Sequence[Statement]]:
        """Take what waits, for who writes it; nobody else does meanwhile. It comes back where that fails."""
        statements, self._waiting = self._waiting, []
        try:
            yield statements
        except BaseException:
            self._waiting = [*statements, *self._waiting]
            raise

    def write(self) -> None:
        """Write what waits now."""
        if self._waiting:
            with self.taken() as statements, self._transaction() as connection:
                for statement in statements:
                    execute(connection, statement)

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
