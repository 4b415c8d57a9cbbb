"""What was committed is on the disk before anybody is told, with one wait for all that came meanwhile."""

import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from bridge.store.engine import Disk
from bridge.store.faults import StoreUnavailable
from bridge.store.store import Store

WRITERS = 20
SYNC_SECONDS = 0.05
SYNC = os.fdatasync


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path / 'store.sqlite3'}")


def end_users(path: Path) -> int:
    with closing(sqlite3.connect(path)) as file:
        return int(file.execute("SELECT count(*) FROM transcripts").fetchone()[0])


def write(store: Store, number: int) -> float:
    with store.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO transcripts VALUES (?, 's', 0.0)", (str(number),))
    return time.monotonic()


def test_writers_wait_for_the_disk_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[float] = []
    guard = threading.Lock()

    def slow(file: int) -> None:
        began = time.monotonic()
        time.sleep(SYNC_SECONDS)
        SYNC(file)
        with guard:
            synced.append(began)

    monkeypatch.setattr(os, "fdatasync", slow)
    began = time.monotonic()
    with ThreadPoolExecutor(WRITERS) as pool:
        told = list(pool.map(lambda number: write(store, number), range(WRITERS)))
    assert 0 < len(synced) < WRITERS / 2
    assert min(told) - began >= SYNC_SECONDS
    store.close()


def test_what_could_not_be_written_is_not_taken_for_written_later(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_file: int) -> None:
        raise OSError(5, "Input/output error")

    write(store, 0)
    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        write(store, 1)
    # The system tells of it only once, so that a later sync of the same log proves nothing.
    monkeypatch.setattr(os, "fdatasync", lambda _file: None)
    write(store, 2)
    log = tmp_path / "store.sqlite3-wal"
    assert log.stat().st_size == 0
    alone = tmp_path / "alone.sqlite3"
    alone.write_bytes((tmp_path / "store.sqlite3").read_bytes())
    assert end_users(alone) == 3
    store.close()


def test_the_log_does_not_grow_for_ever(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Disk, "_COMMITS", 10)
    monkeypatch.setattr(os, "fdatasync", lambda _file: None)
    sizes = []
    for number in range(100):
        write(store, number)
        sizes.append((tmp_path / "store.sqlite3-wal").stat().st_size)
    assert max(sizes) < 3 * sizes[11]
    store.close()
