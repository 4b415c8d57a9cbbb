"""Keeps a second bridge away from a SQLite store: what one bridge knows of its runs, the other would act against.

The lock is the operating system's (flock), on a file beside the store that says who has it. It ends with the last
process of whoever took it, however that ends; a worker that takes a worker's place has it from their common parent.
"""

import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from bridge.store.place import StoreError, path_of

log = logging.getLogger("clawback.store")

ORPHANS_SECONDS = 30.0
"""How long workers may go on after the process that started them was killed."""
_PAUSE = 0.2


class StoreHeldError(StoreError):
    """Another bridge has the store; the text says which, and what to change."""


@contextmanager
def held(url: str) -> Iterator[None]:
    """Hold the store at this SQLAlchemy URL, where it is a file. Raises StoreError."""
    database = path_of(url)
    if database is None:
        yield
        return
    path = Path(f"{database.resolve()}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(
            f"the store {database} cannot be used: {path} cannot be written ({error.strerror}). Let the bridge's user "
            "write that folder, or give it another one (data_dir)"
        ) from None
    try:
        _take(descriptor, path)
        yield
    finally:
        # Closed, not unlocked: that would take it from the processes that were started with it, too.
        os.close(descriptor)


def holder(url: str) -> int | None:
    """Return the process that has the store at this URL, where it runs on this machine."""
    database = path_of(url)
    told = _holder(Path(f"{database.resolve()}.lock")) if database else {}
    pid = told.get("pid")
    here = told.get("host") == socket.gethostname() and isinstance(pid, int) and not _is_gone(told)
    return pid if here and isinstance(pid, int) else None


def _take(descriptor: int, path: Path) -> None:
    until = time.monotonic() + ORPHANS_SECONDS
    while not _is_free(descriptor):
        holder = _holder(path)
        if not _is_gone(holder) or time.monotonic() > until:
            raise StoreHeldError(
                f"another bridge uses the store {path.with_suffix('')}: {_described(holder)}. Stop that one first, or "
                "give this one a folder of its own (data_dir). Bridges that share their work need PostgreSQL "
                "(database_url)"
            )
        time.sleep(_PAUSE)
    told = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    # On a full disk it stays unsaid: the lock itself takes no room.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{json.dumps(told)}\n".encode(), 0)


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        log.warning("the store's folder takes no locks, so nothing keeps a second bridge away: %s", error.strerror)
    return True


def _holder(path: Path) -> dict[str, object]:
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _is_gone(holder: dict[str, object]) -> bool:
    """Say whether the process that took the lock has ended, so that its workers are about to."""
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _described(holder: dict[str, object]) -> str:
    if not holder:
        return "it has not said yet which process it is"
    return f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')}"
