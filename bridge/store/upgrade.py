"""A store that an earlier version wrote has all that this one needs."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, func, inspect, select, text
from sqlalchemy.schema import CreateColumn

from bridge.store.schema import metadata

_LOCK = 0xC1A3BAC4
"""The advisory lock of PostgreSQL that a bridge holds while it looks after the tables."""


@contextmanager
def one_at_a_time(engine: Engine) -> Iterator[None]:
    """Let bridges that start at the same moment look after the tables of their store one after the other."""
    if engine.dialect.name != "postgresql":
        yield
        return
    with engine.connect() as connection:
        connection.execute(select(func.pg_advisory_lock(_LOCK)))
        try:
            yield
        finally:
            connection.execute(select(func.pg_advisory_unlock(_LOCK)))


def add_missing_indexes(engine: Engine) -> None:
    """Make the indexes that came since."""
    inspector = inspect(engine)
    for table in metadata.tables.values():
        known = {index["name"] for index in inspector.get_indexes(table.name)}
        for index in table.indexes:
            if index.name not in known:
                index.create(engine, checkfirst=True)


def add_missing_columns(engine: Engine) -> None:
    """Add the columns that came since. They may be null, as the rows that are there know nothing of them."""
    inspector = inspect(engine)
    # Where several bridges share a store, each of them may be the first.
    there = "IF NOT EXISTS " if engine.dialect.name == "postgresql" else ""
    for table in metadata.tables.values():
        known = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in known:
                definition = CreateColumn(column).compile(engine)
                with engine.begin() as connection:
                    connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {there}{definition}"))
