"""`clawback store`: look at the store, keep a copy of it, and put one in its place.

A copy is a SQLite store, whatever it was made of: a store can be moved to PostgreSQL that way, and from there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy import Connection, Engine, delete, func, insert, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from bridge.commands.operator_client import as_json_option, print_json
from bridge.commands.terminal import say
from bridge.commands.token import config_option
from bridge.config import Config, ConfigError, load
from bridge.store import schema as t
from bridge.store.engine import engine_of, reading_engine_of
from bridge.store.faults import StoreUnavailable
from bridge.store.lock import held
from bridge.store.place import StoreError, path_of
from bridge.store.upgrade import VERSION, open_first, prepare, refused
from bridge.store.upgrade import check as version_at

_ROWS = 500
"""How many rows are held at once while a table is copied."""

_TABLES = [table for table in t.metadata.sorted_tables if table.name != t.store.name]


@click.group()
def store() -> None:
    """Check, back up and restore the store."""


@store.command()
@config_option
@as_json_option
def check(path: Path, as_json: bool) -> None:
    """Check that the store is intact, and show its version and size. Changes nothing."""
    with _told():
        url = _load(path).store_url
        version = version_at(url)
        rows = _counted(url) if version == VERSION else {}
    place = path_of(url) or "PostgreSQL"
    if as_json:
        print_json({"store": str(place), "version": version, "current": VERSION, "rows": rows})
    elif version is None:
        say(f"There is no store at {place} yet: the bridge makes it when it starts.")
    else:
        later = "as it should be" if version == VERSION else f"upgraded to {VERSION} when the bridge starts"
        say(f"{place}: version {version}, {later}")
        say("".join(f"  {name:<12} {count}\n" for name, count in rows.items() if count).rstrip() or "  empty")


@store.command()
@click.argument("target", type=click.Path(path_type=Path))
@config_option
def backup(target: Path, path: Path) -> None:
    """Copy the store into the new file TARGET. The bridge may keep running."""
    with _told():
        url = _load(path).store_url
        if target.exists():
            raise click.ClickException(f"{target} is there already: choose another name, or move it away")
        _require_current(url, "the store")
        new = target.with_name(f"{target.name}.new")
        new.unlink(missing_ok=True)
        open_first(f"sqlite:///{new}")
        copied = _copy(url, f"sqlite:///{new}")
        new.replace(target)
    say(f"Wrote {target}: {copied} rows. It holds what runs said and were given: keep it as you keep the store.")


@store.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--replace", is_flag=True, help="Delete what the store contains now.")
@config_option
def restore(source: Path, replace: bool, path: Path) -> None:
    """Replace the store by the backup SOURCE. Stop the bridge first."""
    with _told():
        url = _load(path).store_url
        _require_current(f"sqlite:///{source}", str(source))
        with held(url):
            engine = engine_of(url)
            try:
                prepare(engine, url)
            finally:
                engine.dispose()
            if not replace and any(_counted(url).values()):
                raise click.ClickException("the store is not empty: back it up, and add --replace to throw it away")
            copied = _copy(f"sqlite:///{source}", url)
    say(f"Restored {copied} rows from {source}. Runs that were under way then go on when their clients ask again.")


def _copy(source: str, target: str) -> int:
    """Copy all rows, in one transaction of each: the whole is as it was at one moment, or nothing is written."""
    with _reading(source) as reading, _writing(target) as writing:
        for table in reversed(_TABLES):
            writing.execute(delete(table))
        copied = 0
        for table in _TABLES:
            rows = reading.execution_options(stream_results=True).execute(select(table)).mappings()
            for part in rows.partitions(_ROWS):
                writing.execute(insert(table), [dict(row) for row in part])
                copied += len(part)
        _count_on(writing)
        return copied


def _count_on(connection: Connection) -> None:
    """Let PostgreSQL number new rows behind those that were copied."""
    if connection.dialect.name != "postgresql":
        return
    for table in _TABLES:
        column = table.autoincrement_column
        if column is not None:
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            highest = select(func.coalesce(func.max(column), 0) + 1).scalar_subquery()
            connection.execute(select(func.setval(sequence, highest, text("false"))))


def _counted(url: str) -> dict[str, int]:
    with _reading(url) as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in _TABLES
        }


@contextmanager
def _reading(url: str) -> Iterator[Connection]:
    with _connected(reading_engine_of(url)) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        else:
            connection.exec_driver_sql("BEGIN")
        yield connection


@contextmanager
def _writing(url: str) -> Iterator[Connection]:
    with _connected(engine_of(url)) as connection:
        yield connection
        connection.commit()


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _require_current(url: str, name: str) -> None:
    version = version_at(url)
    if version != VERSION:
        known = "is no store yet" if version is None else f"is of version {version}"
        raise click.ClickException(f"{name} {known}, and this Clawback's is {VERSION}: start the bridge on it once")
    with _reading(url) as connection:
        tables = inspect(connection)
        missing = [table.name for table in _TABLES if not tables.has_table(table.name)]
    if missing:
        raise click.ClickException(f"{name} lacks tables ({', '.join(missing)}): start the bridge on it once")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (StoreError, OSError) as error:
        raise click.ClickException(str(error)) from None
    except StoreUnavailable as error:
        raise click.ClickException(error.message) from None
    except SQLAlchemyError as error:
        raise click.ClickException(str(refused("sqlite://", error))) from None


def _load(path: Path) -> Config:
    try:
        return load(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
