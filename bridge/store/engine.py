"""Opens the database: SQLite, with one bridge beside it, or PostgreSQL, which several bridges share."""

from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import StaticPool

POOL, OVERFLOW = 10, 20
"""Connections that are kept, and that may come for a while. A waiting client or plugin holds none."""


def engine_of(url: str) -> Engine:
    """Return the engine of a SQLAlchemy URL. `postgresql://` means psycopg, the driver that Clawback comes with."""
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        return _sqlite(url)
    if address.drivername in {"postgresql", "postgres"}:
        address = address.set(drivername="postgresql+psycopg")
    return create_engine(address, pool_pre_ping=True, pool_size=POOL, max_overflow=OVERFLOW, hide_parameters=True)


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        # In WAL mode NORMAL survives the death of the process, which is the promise; FULL would add an fsync a commit.
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA busy_timeout=5000")
        cursor.close()

    return engine
