"""What it means for the store that its database refuses: an error that the bridge's clients are told, or a sentence.

Only what is a fault of the store is told so. A statement that contradicts the tables stays a fault of the bridge.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from bridge.errors import Unavailable

RETRY_SECONDS = 5.0

RESTORE = "stop the bridge, put a backup in its place, and start the bridge again"


class StoreUnavailable(Unavailable):
    """The bridge's store cannot be used for now. `detail` is what the database said, for the bridge's own log."""

    code = "store_unavailable"
    reason = ""
    detail = ""


def unavailable(reason: str, detail: str = "") -> StoreUnavailable:
    """Return the error that clients are told."""
    fault = StoreUnavailable(
        f"the bridge's store cannot be used for now: {reason}. Try again", retry_after=RETRY_SECONDS
    )
    fault.reason, fault.detail = reason, " ".join(detail.split())
    return fault


CUT = "its file was cut off while the bridge ran"
DAMAGED = "its file is damaged"
FULL = "its disk is full"
LOCKED = "another process keeps it locked"
REPLACED = "its file was deleted or replaced while the bridge ran"
UNREACHABLE = "its database is out of reach"
UNREADABLE = "its file cannot be read or written"
UNWRITABLE = "it cannot be written"
WITHOUT_TABLES = "its tables are gone"

# https://www.sqlite.org/rescode.html: the lower eight bits.
_SQLITE = {
    sqlite3.SQLITE_PERM: UNWRITABLE,
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_NOMEM: "there is too little memory",
    sqlite3.SQLITE_READONLY: UNWRITABLE,
    sqlite3.SQLITE_IOERR: UNREADABLE,
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_CANTOPEN: UNREADABLE,
    sqlite3.SQLITE_PROTOCOL: LOCKED,
    sqlite3.SQLITE_NOLFS: UNREADABLE,
    sqlite3.SQLITE_AUTH: UNWRITABLE,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}
_WITHOUT = ("no such table", "no such column")
"""What SQLite says where others have a code."""
# https://www.postgresql.org/docs/current/errcodes-appendix.html: a whole code, or the class that it begins with.
_POSTGRESQL = {
    "08": UNREACHABLE,
    "25006": "its database takes no writes",
    "25P03": "its database took too long",
    "28": "its database lets the bridge in no more",
    "3D": "its database is gone",
    "3F": WITHOUT_TABLES,
    "40": "others write the same",
    "42501": "its database lets the bridge do too little",
    "42P01": WITHOUT_TABLES,
    "42703": WITHOUT_TABLES,
    "53": "its database lacks resources",
    "53100": FULL,
    "53300": "its database takes no more connections",
    "55P03": LOCKED,
    "57": "its database was stopped",
    "57014": "its database took too long",
    "58": "its database cannot read or write its files",
    "XX001": DAMAGED,
    "XX002": DAMAGED,
}


@contextmanager
def told() -> Iterator[None]:
    """Raise StoreUnavailable for what is a fault of the store."""
    try:
        yield
    except (DBAPIError, PoolTimeout, sqlite3.Error) as error:
        fault = fault_of(error)
        if fault is None:
            raise
        raise fault from None


def fault_of(error: Exception) -> StoreUnavailable | None:
    """Return what clients are told of a database's error; None where it is none of the store's."""
    if isinstance(error, PoolTimeout):
        return unavailable("its database is too busy", str(error))
    cause = (error.orig or error) if isinstance(error, DBAPIError) else error
    reason = _reason(error, cause)
    return unavailable(reason, str(cause)) if reason else None


def _reason(error: Exception, cause: BaseException) -> str | None:
    if isinstance(cause, sqlite3.Error):
        return WITHOUT_TABLES if str(cause).startswith(_WITHOUT) else _SQLITE.get(code_of(cause))
    state = getattr(cause, "sqlstate", None)
    if state:
        return _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2])
    is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return UNREACHABLE if is_lost or isinstance(error, (OperationalError, InterfaceError)) else None


def code_of(error: sqlite3.Error) -> int:
    """Return the primary result code of SQLite; 0 where it gave none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
