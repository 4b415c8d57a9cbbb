"""Statements that are made once and run with values: to make one takes longer than to run it."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Executable, Table, bindparam, insert, update

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
