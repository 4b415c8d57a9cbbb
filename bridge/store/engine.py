"""Opens the database: SQLite, with one bridge beside it, or PostgreSQL, which several bridges share."""

import logging
import os
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import NullPool, StaticPool

from bridge.store.faults import CUT, DAMAGED, REPLACED, RESTORE, UNWRITABLE, code_of, fault_of, unavailable
from bridge.store.place import path_of

CONNECTIONS = 30
"""Connections of PostgreSQL that a bridge has at most. A waiting client or plugin holds none."""
_KEPT = 10
"""So many of them stay open when nobody needs them."""
_TRUSTED_SECONDS = 1.0
"""One that was used so recently is not asked whether it is still there."""

PATIENCE_SECONDS = 2.0
"""For so long all of the store waits for whoever else keeps it locked; then each statement is tried once."""
_PAUSE = 0.02

ANSWER_SECONDS = 15.0
"""For so long PostgreSQL may be silent amid a statement."""

_POSTGRESQL = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
# A pooler, such as PgBouncer, may give each transaction another session of the server, and with it what another bridge
# has prepared there.
_OPTIONS = {"prepare_threshold": None}
# Another bridge may be stopped amid a transaction, and holds what it locked.
_LIMITS = {"lock_timeout": "5s", "idle_in_transaction_session_timeout": "15s"}


Durability = Literal["power", "process"]
"""What a commit survives: the loss of power, or only the end of the process."""


def engine_of(url: str, connections: int = CONNECTIONS, disk: "Disk | None" = None) -> Engine:
    """Return the engine of a SQLAlchemy URL. `postgresql://` means psycopg, the driver that Clawback comes with.

    A commit to SQLite waits for the disk, unless whoever commits waits for `disk` by itself.
    """
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        return _sqlite(url, disk)
    # It warns of what follows from a refusal, which whoever was refused is told of.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    engine = create_engine(
        _postgresql(address),
        pool_use_lifo=True,
        pool_size=min(connections, _KEPT),
        max_overflow=max(connections - _KEPT, 0),
        pool_timeout=PATIENCE_SECONDS,
        hide_parameters=True,
        connect_args=_OPTIONS,
    )

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        return _timely().connect(*arguments, **options)

    @event.listens_for(engine, "connect")
    def _limit(connection: Any, record: Any) -> None:
        record.info["is_pooled"] = is_pooled(connection)
        if not record.info["is_pooled"]:
            connection.execute(_limits("SET"))
        connection.commit()

    _look_before_use(engine)

    @event.listens_for(engine, "begin")
    def _limit_transaction(connection: Any) -> None:
        if connection.info["is_pooled"] and not connection.connection.dbapi_connection.autocommit:
            connection.exec_driver_sql(_limits("SET LOCAL"))

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def _clean(*statement: Any) -> Any:
        _, _, text, values, _, many = statement
        return text, [without_nul(each) for each in values] if many else without_nul(values)

    return engine


def _look_before_use(engine: Engine) -> None:
    """Ask a connection that has rested whether it is still there."""

    @event.listens_for(engine, "checkin")
    def _note(_connection: Any, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _look(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("used_at", 0.0) < _TRUSTED_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError(str(error)) from None


def _limits(command: str) -> str:
    return "; ".join(f"{command} {name} = '{limit}'" for name, limit in _LIMITS.items())


def limits_of(connection: Any) -> list[str]:
    """Return what sets the limits of a transaction that is begun on this connection without a word."""
    if not connection.info.get("is_pooled"):
        return []
    return [f"SELECT set_config('{name}', '{limit}', true)" for name, limit in _LIMITS.items()]


def is_pooled(connection: Any) -> bool:
    """Return whether a pooler is between this connection and PostgreSQL: it cannot know the server's process before."""
    (process,) = connection.execute("SELECT pg_backend_pid()").fetchone()
    return bool(process != connection.info.backend_pid)


def connection_of(url: str) -> Any:
    """Return a connection of PostgreSQL that belongs to no pool and begins no transactions."""
    address = _postgresql(make_url(url))
    arguments, options = address.get_dialect()().create_connect_args(address)
    return _timely().connect(*arguments, **options, **_OPTIONS, autocommit=True)


@cache
def _timely() -> Any:
    """Return a connection that ends where its server, which may be stopped, does not answer in time."""
    # Imported here, since it looks at how the process waits as it is imported.
    from psycopg import Connection, OperationalError

    class Timely(Connection[Any]):
        def wait(self, gen: Any, *options: Any, **named: Any) -> Any:
            return super().wait(self._bounded(gen), *options, **named)

        def _bounded(self, gen: Any) -> Generator[Any, Any, Any]:
            until, ready = time.monotonic() + ANSWER_SECONDS, None
            while True:
                try:
                    wanted = gen.send(ready)
                except StopIteration as ended:
                    return ended.value
                ready = yield wanted
                if not ready and time.monotonic() > until:
                    self.close()
                    raise OperationalError(f"no answer within {ANSWER_SECONDS:g} s")

    return Timely


def without_nul(values: Any) -> Any:
    """Show what PostgreSQL takes in no text as what cannot be shown."""
    if not isinstance(values, Mapping):
        return values
    found = {name: value for name, value in values.items() if isinstance(value, str) and "\0" in value}
    return {**values, **{name: value.replace("\0", "\ufffd") for name, value in found.items()}} if found else values


def reading_engine_of(url: str) -> Engine:
    """Return an engine that changes nothing, whether or not a bridge has the store."""
    path = path_of(url)
    if path is None:
        address = _postgresql(make_url(url))
        return create_engine(address, poolclass=NullPool, hide_parameters=True, connect_args=_OPTIONS)
    # Without a log beside it nobody has it, and a reader that may lock would leave files.
    how = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
    return create_engine("sqlite://", creator=lambda: _opened(path, how), poolclass=NullPool, hide_parameters=True)


def _postgresql(address: URL) -> URL:
    if address.drivername in {"postgresql", "postgres"}:
        address = address.set(drivername="postgresql+psycopg")
    return address.set(query={**_POSTGRESQL, **address.query})


def _opened(path: Path, how: str) -> "Patient":
    address = f"file:{quote(str(path.absolute()))}?{how}"
    return sqlite3.connect(address, uri=True, check_same_thread=False, timeout=0, factory=Patient)


class Patient(sqlite3.Connection):
    """Waits for whoever else keeps the file locked, and commits where others are served meanwhile."""

    disk: "Disk | None" = None
    files: "Files | None" = None
    patience: "Patience"

    def check(self) -> None:
        """Raise StoreUnavailable where the store's files are others by now: what is written would be lost."""
        if self.files:
            self.files.check()

    def run(self, sql: str, values: Any) -> sqlite3.Cursor:
        """Run one statement."""
        return self.patience.wait_for(self, lambda: self.execute(sql, values))

    def commit(self) -> None:
        if not self.in_transaction:
            return
        if self.disk and not self.disk.begins_anew:
            super().commit()
        else:
            _apart(super().commit)
        if self.disk:
            self.disk.wrote()


def _apart(work: Callable[[], object]) -> None:
    """Do this in a thread of the system's: under gevent others are served while the disk is waited for."""
    gevent = sys.modules.get("gevent")
    if gevent and gevent.monkey.is_module_patched("threading"):
        gevent.get_hub().threadpool.apply(work)
    else:
        work()


_HEAD_BYTES = 32


class Disk:
    """Waits until what was committed is on the disk: once for all that was committed by then, with no lock held.

    SQLite itself would have each commit wait alone, and the next one for that. What it writes goes into its log; from
    there into its file now and then.
    """

    _COMMITS, _BYTES = 200, 8 * 2**20
    """After so many commits, or when the log has grown by so much, the file takes over what is in the log."""

    def __init__(self, path: Path, durability: Durability) -> None:
        self._path, self._log = path, f"{path}-wal"
        self._waits = durability == "power"
        self._turn = threading.Lock()
        self._written = self._synced = self._taken_over = self._length = 0
        self._is_sound = True
        self._file_at = self._changed_at()
        self._head = self._read_head()
        self.begins_anew = True
        """Whether a commit may begin the log anew, whose head SQLite has on the disk before anything else."""

    def wrote(self) -> None:
        """Something was committed."""
        self._written += 1
        if self.begins_anew:
            head = self._read_head()
            self.begins_anew = head in {b"", self._head}
            self._head = head

    def wait(self) -> None:
        """Wait for what was committed so far, by whomever. Raises StoreUnavailable."""
        until = self._written
        while self._synced < until:
            with self._turn:
                if self._synced < until:
                    reached = self._written
                    self._reach_disk()
                    self._synced = reached

    def _reach_disk(self) -> None:
        try:
            if self._waits:
                _apart(self._sync if self._is_sound else self._take_over)
        except (OSError, sqlite3.Error) as error:
            # The system tells of what it could not write only once: the next time all of the log has to be written.
            self._is_sound = False
            raise unavailable(UNWRITABLE, str(error)) from None
        try:
            is_due = self._written - self._taken_over > self._COMMITS or self._grown() > self._BYTES
            # Whoever else wrote to the file may have put another in its place, which does not take what is in the log.
            if is_due or self._changed_at() != self._file_at:
                _apart(self._take_over)
        except (OSError, sqlite3.Error) as error:
            # What cannot be taken over now is safe in the log, but not where there is no file to take it.
            if (fault := fault_of(error)) and fault.reason == DAMAGED:
                raise fault from None

    def _read_head(self) -> bytes:
        """Return the log's head, which is another each time that the log begins anew."""
        try:
            with open(self._log, "rb", buffering=0) as log:  # noqa: PTH123 - it is a text
                return log.read(_HEAD_BYTES)
        except OSError:
            return b""

    def _sync(self) -> None:
        try:
            file = os.open(self._log, os.O_RDONLY)
        except FileNotFoundError:
            # The store was closed, which put all of it into its file.
            return
        try:
            getattr(os, "fdatasync", os.fsync)(file)
        finally:
            os.close(file)

    def _changed_at(self) -> int:
        try:
            return os.stat(self._path).st_mtime_ns  # noqa: PTH116
        except FileNotFoundError:
            return 0

    def _grown(self) -> int:
        return os.stat(self._log).st_size - self._length  # noqa: PTH116 - Path.stat takes twice as long

    def _take_over(self) -> None:
        reached = self._written
        how = "PASSIVE" if self._is_sound else "TRUNCATE"
        with closing(_opened(self._path, "mode=rw")) as other:
            is_busy, *_ = other.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
        if is_busy and not self._is_sound:
            raise OSError("what could not be written before cannot be yet")
        self._is_sound = self.begins_anew = True
        self._taken_over, self._length = reached, os.stat(self._log).st_size  # noqa: PTH116
        self._file_at = self._changed_at()


def _sqlite(url: str, disk: Disk | None) -> Engine:
    path = path_of(url)
    files = Files(path) if path else None
    patience = Patience()

    def connect() -> sqlite3.Connection:
        # What was there and is gone is never made anew.
        opened = _opened(path, "mode=rw") if path else Patient(":memory:", check_same_thread=False)
        opened.disk, opened.files, opened.patience = disk, files, patience
        patience.configure(opened, alone=disk is None)
        if files:
            files.remember()
        return opened

    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool, hide_parameters=True)

    @event.listens_for(engine, "do_execute")
    def _execute(cursor: Any, statement: str, parameters: Any, _context: Any) -> bool:
        patience.wait_for(cursor.connection, lambda: cursor.execute(statement, parameters))
        return True

    @event.listens_for(engine, "do_executemany")
    def _execute_many(cursor: Any, statement: str, parameters: Any, _context: Any) -> bool:
        patience.wait_for(cursor.connection, lambda: cursor.executemany(statement, parameters))
        return True

    return engine


class Patience:
    """Waits for whoever else keeps the database locked, while other requests are served: SQLite itself would sleep."""

    def __init__(self) -> None:
        self._until = self._met = 0.0

    def configure(self, connection: sqlite3.Connection, *, alone: bool) -> None:
        """Set up a new connection. One that is `alone` has nobody who waits for the disk."""
        for statement in (
            "PRAGMA journal_mode=WAL",
            # In WAL mode NORMAL survives the end of the process; FULL that of the machine, by an fsync per commit.
            f"PRAGMA synchronous={'FULL' if alone else 'NORMAL'}",
            f"PRAGMA wal_autocheckpoint={1000 if alone else 0}",
            "PRAGMA foreign_keys=ON",
            # Only once something was read all of its files are there.
            "SELECT count(*) FROM sqlite_master",
        ):
            self.wait_for(connection, partial(connection.execute, statement))

    def wait_for[Done](self, connection: sqlite3.Connection, work: Callable[[], Done]) -> Done:
        """Do the work. The time is counted for the whole store: who comes later does not wait as long once more."""
        while True:
            try:
                done = work()
            except sqlite3.OperationalError as error:
                if code_of(error) not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} or self._is_over():
                    raise
                time.sleep(_PAUSE)
            else:
                if connection.in_transaction:
                    # It may write. To read, as who waits does before, says little.
                    self._met = 0.0
                return done

    def _is_over(self) -> bool:
        now = time.monotonic()
        if now - self._met > PATIENCE_SECONDS:
            self._until = now + PATIENCE_SECONDS
        self._met = now
        return now >= self._until


class Files:
    """The files of a SQLite store. Only their owner reads them, and they stay those that were opened, and whole."""

    def __init__(self, path: Path) -> None:
        self._paths = [str(path), f"{path}-wal", f"{path}-shm"]
        self._opened: list[tuple[int, int] | None] = []
        self._size = 0

    def remember(self) -> None:
        """These are the files from now on."""
        self._opened, self._size = [self._identity(path) for path in self._paths], 0

    def check(self) -> None:
        """Raise StoreUnavailable where they are others by now."""
        if [self._identity(path) for path in self._paths] != self._opened:
            raise unavailable(REPLACED, f"put {self._paths[0]} back, or start the bridge again")
        size = os.stat(self._paths[0]).st_size  # noqa: PTH116
        if size < self._size:
            raise unavailable(CUT, f"{self._paths[0]} has {size} bytes instead of {self._size}: {RESTORE}")
        self._size = size

    @staticmethod
    def _identity(path: str) -> tuple[int, int] | None:
        try:
            # Each transaction begins with it: Path.stat takes twice as long.
            found = os.stat(path)  # noqa: PTH116
        except OSError:
            return None
        return found.st_dev, found.st_ino


def make_private(path: Path) -> None:
    """Let only the owner of a store read it. SQLite gives the files beside it the same mode."""
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
            file.chmod(0o600)
