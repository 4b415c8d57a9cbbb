"""A store's version decides: it is made, taken as it is, upgraded in one transaction, or refused in words.

Within a minor version the tables only gain: a column that comes later may be null, or has a `server_default`, so that
bridges of before go on beside newer ones. Whatever else changes raises VERSION, and comes with a new minor version; a
SQLite store is copied first then, to `bridge.sqlite3.version-N`.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, func, insert, inspect, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateColumn

from bridge.store import schema as t
from bridge.store.engine import engine_of, make_private, reading_engine_of
from bridge.store.faults import DAMAGED, FULL, LOCKED, StoreUnavailable, fault_of, told, unavailable
from bridge.store.place import StoreError, path_of

log = logging.getLogger("clawback.store")

VERSION = 3
"""1: Clawback 0.1, which wrote no version. 2: 0.2, before pieces. 3: 0.2."""

CHECKED_BYTES = 256 * 1024 * 1024
"""A larger file is not read as a whole before the bridge serves."""

_LOCK = 0xC1A3BAC4
"""The advisory lock of PostgreSQL that a bridge holds while it looks after the tables."""


# Looking, which changes nothing


def check(url: str) -> int | None:
    """Return the version of a store, None where there is none yet. Raises StoreError where it cannot be used."""
    path = path_of(url)
    if path and not _is_there(path):
        return None
    engine = reading_engine_of(url)
    try:
        with engine.connect() as connection:
            version = version_of(connection)
            if path and path.stat().st_size <= CHECKED_BYTES:
                problem = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
                if problem != "ok":
                    raise refused(url, unavailable(DAMAGED, problem))
            return version
    except SQLAlchemyError as error:
        raise refused(url, error) from None
    finally:
        engine.dispose()


def refused(url: str, error: Exception) -> StoreError:
    """Return the sentence that names the store, what it says, and what to do."""
    path = path_of(url)
    fault = error if isinstance(error, StoreUnavailable) else fault_of(error)
    said = f"{fault.reason} ({fault.detail})" if fault else str(getattr(error, "orig", None) or error)
    advice = {
        DAMAGED: f"Put a copy in its place, or move {path} away to begin with an empty one",
        FULL: "Make room there",
        LOCKED: "End that process",
    }.get(fault.reason if fault else "", "Let the bridge's user read and write it and its folder")
    return StoreError(f"the store {path or 'at database_url'} cannot be used: {said}. {advice if path else _CHECK_URL}")


_CHECK_URL = "Check database_url, and that PostgreSQL runs"


def version_of(connection: Connection) -> int | None:
    """Return the version of the tables; None where there are none yet. Raises StoreError for what is not a store."""
    tables = set(inspect(connection).get_table_names())
    # In PostgreSQL, others may have tables beside it.
    if connection.dialect.name == "sqlite" and tables and t.runs.name not in tables:
        raise _foreign(connection)
    version = None
    if t.store.name in tables:
        version = connection.execute(select(t.store.c.version)).scalar()
    if version and version > VERSION:
        raise StoreError(
            f"the store {_name(connection)} was written by a later version of Clawback: its tables are version "
            f"{version}, and this one knows them up to {VERSION}. Install that version again, or put the copy that was "
            f"kept before the upgrade (bridge.sqlite3.version-{VERSION}) in its place"
        )
    return version or (1 if t.runs.name in tables else None)


def _foreign(connection: Connection) -> StoreError:
    return StoreError(
        f"the store {_name(connection)} is the database of another program, or of Clawback before 0.1. Move it away, "
        "or give the bridge another folder (data_dir) or database (database_url)"
    )


def _name(connection: Connection) -> str:
    """Return the file behind a connection, or where else it leads."""
    if connection.dialect.name != "sqlite":
        return "at database_url"
    return str(connection.exec_driver_sql("PRAGMA database_list").first()[2])  # type: ignore[index]


def _is_there(path: Path) -> bool:
    log_beside = Path(f"{path}-wal")
    if not path.exists():
        if log_beside.exists() and log_beside.stat().st_size:
            raise StoreError(
                f"the store {path} is gone, but {log_beside} beside it is not: put it back, or move that away, too"
            )
        return False
    if path.stat().st_size == 0:
        raise StoreError(
            f"the store {path} is empty: it was cut off. Put a copy in its place, or move {path} away to begin "
            "with an empty one"
        )
    return True


# Making and upgrading


def open_first(url: str) -> None:
    """Look at a store that is a file, and bring it to this version, before anything is served. Raises StoreError.

    One in PostgreSQL is opened by the server's worker alone: its driver waits as that process does.
    """
    if path_of(url) is None:
        return
    check(url)
    engine = engine_of(url)
    try:
        prepare(engine, url)
        with told(), engine.begin() as connection:
            connection.execute(update(t.store).values(probed_at=time.time()))
    except StoreUnavailable as error:
        raise refused(url, error) from None
    except OSError as error:
        raise StoreError(f"the store {path_of(url)} cannot be used: {error}") from None
    finally:
        engine.dispose()


def prepare(engine: Engine, url: str) -> None:
    """Bring the store to this version. Raises StoreError, and StoreUnavailable where it may be tried again."""
    path = path_of(url)
    if path and not _is_there(path):
        _make(path)
    elif path:
        make_private(path)
    with told(), engine.connect() as connection:
        _bring_forward(connection, path)


def _make(path: Path) -> None:
    """Make the file, which is there only once it is whole."""
    new = Path(f"{path}.new")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new.unlink(missing_ok=True)
    new.touch(0o600, exist_ok=False)
    engine = engine_of(f"sqlite:///{new}")
    try:
        with told(), engine.connect() as connection:
            _bring_forward(connection, None)
    finally:
        engine.dispose()
    new.replace(path)


def _bring_forward(connection: Connection, path: Path | None) -> None:
    version, whole = version_of(connection), _has_all(connection)
    connection.rollback()
    if version == VERSION and whole:
        return
    with _alone(connection):
        # Somebody else may have been first.
        version = version_of(connection)
        if version == VERSION and _has_all(connection):
            return
        if path and version and version < VERSION:
            _keep_copy(path, version)
        _change(connection)
    if version == VERSION:
        log.info("the store's tables gained what this version adds")
    elif version:
        log.warning("the store's tables were upgraded from version %s to %s", version, VERSION)


def _has_all(connection: Connection) -> bool:
    """Whether the store has all tables, columns and indexes of this version; it may have those of a later one."""
    tables = inspect(connection)
    known = set(tables.get_table_names())
    for table in t.metadata.tables.values():
        if table.name not in known:
            return False
        columns = {column["name"] for column in tables.get_columns(table.name)}
        indexes = {index["name"] for index in tables.get_indexes(table.name)}
        if not {column.name for column in table.columns} <= columns:
            return False
        if not {index.name for index in table.indexes} <= indexes:
            return False
    return True


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Begin the one transaction in which the tables change: all of it happens, or nothing."""
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        else:
            # Python's driver would begin none for tables.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield


def _keep_copy(path: Path, version: int) -> None:
    """Copy the store as it was. Nobody else writes it meanwhile."""
    kept, new = Path(f"{path}.version-{version}"), Path(f"{path}.copy")
    new.unlink(missing_ok=True)
    new.touch(0o600, exist_ok=False)
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(new)) as copy:
            source.backup(copy)
        descriptor = os.open(new, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.replace(kept)
    except BaseException:
        # On a full disk half a copy would be in the way, too.
        for left in (new, Path(f"{new}-journal")):
            left.unlink(missing_ok=True)
        raise
    log.warning("a copy of the store was kept: %s", kept)


def _change(connection: Connection) -> None:
    t.metadata.create_all(connection)
    tables = inspect(connection)
    for table in t.metadata.tables.values():
        known = {column["name"] for column in tables.get_columns(table.name)}
        for column in table.columns:
            if column.name not in known:
                if not column.nullable and column.server_default is None:
                    raise _foreign(connection)
                definition = CreateColumn(column).compile(connection)
                connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {definition}"))
        known = {index["name"] or "" for index in tables.get_indexes(table.name)}
        for index in table.indexes:
            if index.name not in known:
                index.create(connection)
    written = connection.execute(update(t.store).values(version=VERSION))
    if not written.rowcount:
        connection.execute(insert(t.store).values(version=VERSION))
