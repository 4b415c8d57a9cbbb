"""A fault of the store is told as what it is, to clients and to whoever starts the bridge, and ends by itself."""

import json
import os
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bridge.commands.doctor.own_parts import look_at_store
from bridge.config import Config
from bridge.store.faults import StoreUnavailable
from bridge.store.place import StoreError
from bridge.store.rows import SessionRow
from bridge.store.store import Store
from bridge.store.upgrade import open_first
from tests.bridge.test_store_lock import bridge, worker_of

FILES = ("bridge.sqlite3", "bridge.sqlite3-wal", "bridge.sqlite3-shm")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.sqlite3"


@pytest.fixture
def store(path: Path) -> Store:
    return Store(f"sqlite:///{path}")


def write(store: Store) -> None:
    store.save_session(SessionRow("key", "model", "user", str(time.monotonic())))


def test_no_value_is_in_the_error_of_a_statement_that_fails(store: Store) -> None:
    with pytest.raises(DBAPIError) as caught, store.transaction() as connection:
        connection.execute(text("INSERT INTO runs (nowhere) VALUES (:value)"), {"value": "a secret prompt"})
    assert "nowhere" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_who_keeps_it_locked_is_waited_for_once_not_by_each_who_comes(store: Store, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        for _ in range(20):
            # What is read meanwhile is no sign that it can be written.
            store.run("")
            with pytest.raises(StoreUnavailable, match="another process keeps it locked"):
                write(store)
        assert 1.5 < time.monotonic() - began < 3
        other.execute("ROLLBACK")
    write(store)
    store.probe()


def test_who_keeps_it_locked_for_a_moment_is_not_noticed(store: Store, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.5, lambda: other.execute("ROLLBACK")).start()
    write(store)
    other.close()


@pytest.mark.parametrize("names", [FILES, FILES[:1], FILES[1:2], FILES[2:]])
def test_files_that_are_gone_are_told_until_they_are_back(store: Store, path: Path, names: tuple[str, ...]) -> None:
    write(store)
    aside = path.with_name("aside")
    aside.mkdir()
    for name in names:
        path.with_name(name).rename(aside / name)
    for work in (store.probe, lambda: write(store), lambda: store.run("")):
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            work()
    for name in names:
        (aside / name).rename(path.with_name(name))
    store.probe()
    write(store)


def test_a_copy_in_the_place_of_the_file_is_told(store: Store, path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").rename(path)
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        store.probe()


def unlink(path: Path) -> None:
    for name in FILES:
        path.with_name(name).unlink()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def clear(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


def put_another(path: Path) -> None:
    """A longer one, into the same file."""
    other = Store(f"sqlite:///{path.with_name('other.sqlite3')}")
    with other.transaction() as connection:
        connection.exec_driver_sql("CREATE TABLE long AS SELECT hex(zeroblob(1000000))")
    other.close()
    shutil.copyfile(path.with_name("other.sqlite3"), path)


@pytest.mark.parametrize("spoil", [cut, clear, put_another])
def test_a_file_that_is_spoilt_where_it_is_is_told_and_nothing_more_is_written(
    store: Store, path: Path, spoil: Callable[[Path], None]
) -> None:
    write(store)
    spoil(path)
    with pytest.raises(StoreUnavailable, match=r"cut off|damaged"):
        store.probe()
    spoilt = path.read_bytes()
    for work in (store.probe, lambda: write(store), lambda: store.run("")):
        with pytest.raises(StoreUnavailable, match=r"cut off|damaged") as told:
            work()
        assert "start the bridge again" in told.value.detail
    assert path.read_bytes() == spoilt


def test_tables_that_are_gone_are_told_until_they_are_back(store: Store, path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("ALTER TABLE runs RENAME TO gone")
        with pytest.raises(StoreUnavailable, match="its tables are gone"):
            store.run("r")
        other.execute("ALTER TABLE gone RENAME TO runs")
    assert store.run("r") is None


def test_only_the_owner_reads_the_files_whatever_the_folder_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    mask = os.umask(0)
    try:
        path = tmp_path / "bridge.sqlite3"
        Store(f"sqlite:///{path}").close()
        # A version before 0.2 made it so.
        path.chmod(0o644)
        store = Store(f"sqlite:///{path}")
        write(store)
        assert {name: stat.S_IMODE(path.with_name(name).stat().st_mode) for name in FILES} == dict.fromkeys(
            FILES, 0o600
        )
    finally:
        os.umask(mask)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def holes(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(path.stat().st_size - 200))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "garbage": (lambda path: path.write_bytes(b"no database at all " * 500), "its file is damaged"),
    "half": (cut, "its file is damaged"),
    "holes": (holes, "its file is damaged"),
    "nothing": (lambda path: path.write_bytes(b""), "is empty: it was cut off"),
    "header": (lambda path: os.truncate(path, 100), "its file is damaged"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be"),
    "log alone": (lambda path: path.rename(f"{path}-wal"), "is gone, but"),
}


@pytest.mark.parts
@pytest.mark.parametrize("name", BROKEN)
def test_a_store_that_cannot_be_opened_is_told_in_a_sentence_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    spoil, said = BROKEN[name]
    path = tmp_path / "data" / "bridge.sqlite3"
    path.parent.mkdir()
    Store(f"sqlite:///{path}").close()
    spoil(path)
    was = {file: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    with pytest.raises(StoreError, match=said):
        open_first(f"sqlite:///{path}")
    line = look_at_store(Config(data_dir=path.parent))
    assert line.state == "failed"
    assert str(path) in line.text + line.advice
    with bridge(tmp_path) as (process, url):
        assert url == ""
        assert process.wait(30) == 1
    assert {file: file.read_bytes() for file in was} == was


def test_what_serve_says_of_a_broken_store_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "data" / "bridge.sqlite3"
    path.parent.mkdir()
    path.write_bytes(b"no database at all " * 500)
    with pytest.raises(StoreError) as caught:
        open_first(f"sqlite:///{path}")
    assert str(caught.value).startswith(f"the store {path} cannot be used: its file is damaged (")
    assert str(caught.value).endswith(f"move {path} away to begin with an empty one")


@pytest.mark.parts
def test_a_folder_that_takes_no_store_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with bridge(tmp_path) as (process, url):
        assert (url, process.wait(30)) == ("", 1)


@pytest.mark.parts
@pytest.mark.parametrize("spoil", [unlink, cut, clear])
def test_clients_are_told_to_come_back_and_nothing_else_waits(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    path = tmp_path / "data" / "bridge.sqlite3"
    with bridge(tmp_path) as (process, url):
        token = json.loads((tmp_path / "data" / "serving.json").read_text())["token"]
        told = {"headers": {"Authorization": f"Bearer {token}"}, "timeout": 30}
        assert httpx.get(f"{url}/readyz", timeout=30).status_code == 200
        slowest, over = 0.0, threading.Event()

        def look() -> None:
            nonlocal slowest
            while not over.wait(0.05):
                began = time.monotonic()
                httpx.get(f"{url}/healthz", timeout=30)
                slowest = max(slowest, time.monotonic() - began)

        looking = threading.Thread(target=look)
        looking.start()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            answers = [httpx.get(f"{url}/readyz", timeout=30) for _ in range(5)]
            other.execute("ROLLBACK")
        over.set()
        looking.join()
        assert slowest < 1
        assert {answer.status_code for answer in answers[1:]} == {503}
        assert "retry-after" in answers[-1].headers
        assert httpx.get(f"{url}/readyz", timeout=30).status_code == 200
        spoil(path)
        assert httpx.get(f"{url}/readyz", timeout=30).status_code == 503
        answer = httpx.get(f"{url}/operator/v1/runs", **told)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
        assert "retry-after" in answer.headers
        assert str(path) not in answer.text
        assert [httpx.get(f"{url}/{each}", timeout=30).status_code for each in ("readyz", "healthz")] == [503, 200]
        assert worker_of(process)
