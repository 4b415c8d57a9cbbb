"""A store of an earlier version goes on with this one; one of a later version, or of others, is refused in words.

Each released version has left a store in `stores`, as a real bridge of it wrote it: `sqlite3.Connection.iterdump`.
"""

import json
import os
import resource
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateColumn

from bridge import cli
from bridge.runs.requests import RunRequest
from bridge.store import schema as t
from bridge.store.place import StoreError
from bridge.store.store import Store
from bridge.store.upgrade import VERSION, check, open_first
from demo.stack import free_port
from tests.servers import Servers
from tools.run_states import RunEvent

STORES = Path(__file__).parent / "stores"
CALL = "callok3etrnq8fhzv7b6f4y5725k"


def old_store(folder: Path, version: int = 1) -> tuple[Path, str]:
    path = folder / "bridge.sqlite3"
    with closing(sqlite3.connect(path)) as made:
        made.executescript((STORES / f"version-{version}.sql").read_text())
    return path, f"sqlite:///{path}"


def shape(path: Path) -> dict[str, object]:
    """Return what tables, columns and indexes a database has."""
    engine = create_engine(f"sqlite:///{path}")
    found = inspect(engine)
    made = {
        name: (
            {column["name"]: (str(column["type"]), column["nullable"]) for column in found.get_columns(name)},
            {index["name"]: index["column_names"] for index in found.get_indexes(name)},
        )
        for name in found.get_table_names()
    }
    engine.dispose()
    return made


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_store_of_each_released_version_goes_on(tmp_path: Path, version: int) -> None:
    path, url = old_store(tmp_path, version)
    open_first(url)
    store = Store(url)
    found = store.call(CALL)
    assert found is not None
    ticket, call = found
    assert (ticket.state, call.state, call.name) == ("open", "ready", "read_file")
    run = store.run(ticket.run_id)
    assert run is not None
    assert run.state == "running"
    assert RunRequest.model_validate_json(run.request).tools
    assert len(store.run_ids()) == 3
    assert store.executors.all()[0].name == "desk"
    assert store.end_run(run.id, RunEvent.CANCEL)
    store.close()
    (tmp_path / "new").mkdir()
    Store(f"sqlite:///{tmp_path / 'new' / 'bridge.sqlite3'}").close()
    assert shape(path) == shape(tmp_path / "new" / "bridge.sqlite3")


def test_a_copy_is_kept_as_the_store_was_which_only_its_owner_reads(tmp_path: Path) -> None:
    path, url = old_store(tmp_path)
    with closing(sqlite3.connect(path)) as before:
        was = list(before.iterdump())
    Store(url).close()
    kept = tmp_path / "bridge.sqlite3.version-1"
    with closing(sqlite3.connect(kept)) as copy:
        assert list(copy.iterdump()) == was
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    changed = kept.stat().st_mtime_ns
    Store(url).close()
    assert kept.stat().st_mtime_ns == changed
    kept.replace(path)
    Store(url).close()
    assert kept.exists()


@pytest.mark.parts
def test_an_upgrade_that_has_no_room_for_its_copy_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path, _ = old_store(tmp_path)
    with closing(sqlite3.connect(path)) as store:
        store.execute("CREATE TABLE much (text)")
        store.executemany("INSERT INTO much VALUES (?)", [("x" * 4000,)] * 500)
        store.commit()
        was = list(store.iterdump())
    config = tmp_path / "clawback.toml"
    config.touch(mode=0o600)
    config.write_text(f'port = {free_port()}\ndata_dir = "{tmp_path}"\n')
    room = path.stat().st_size // 2
    served = subprocess.run(
        [sys.executable, "-m", cli.__name__, "serve", "--config", str(config)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert served.returncode == 1
    assert str(path) in served.stderr
    assert "Traceback" not in served.stderr
    assert sorted(each.name for each in tmp_path.glob("bridge.sqlite3*copy*")) == []
    with closing(sqlite3.connect(path)) as store:
        assert list(store.iterdump()) == was


def test_an_upgrade_that_fails_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    path, url = old_store(tmp_path)
    with closing(sqlite3.connect(path)) as store:
        # A name that is taken by something else: the tables before it were changed already.
        store.execute("CREATE VIEW clawback_store AS SELECT 1 AS version")
        store.commit()
        was = list(store.iterdump())
    with pytest.raises(Exception, match="clawback_store"):
        Store(url)
    with closing(sqlite3.connect(path)) as store:
        assert list(store.iterdump()) == was


def test_columns_that_came_since_the_first_version_have_a_value_for_the_rows_that_are_there(tmp_path: Path) -> None:
    path, _ = old_store(tmp_path)
    known = shape(path)
    for table in t.metadata.tables.values():
        if table.name not in known:
            continue
        columns = known[table.name][0]  # type: ignore[index]
        for column in table.columns:
            assert column.name in columns or column.nullable or column.server_default is not None, column


def test_a_store_of_a_later_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "bridge.sqlite3"
    Store(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path)) as store:
        store.execute("UPDATE clawback_store SET version = 7")
        store.commit()
    was = path.read_bytes()
    for look in (check, Store, open_first):
        with pytest.raises(StoreError, match=rf"{path} was written by a later version.*version 7.*up to {VERSION}"):
            look(f"sqlite:///{path}")
    assert path.read_bytes() == was


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE notes (text)",
        "CREATE TABLE runs (id TEXT, distance REAL)",
        "CREATE TABLE clawback_store (version INTEGER)",
    ],
)
def test_the_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "bridge.sqlite3"
    with closing(sqlite3.connect(path)) as other:
        other.execute(statement)
    with pytest.raises(StoreError, match=f"{path} is the database of another program"):
        Store(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as other:
        assert [row[0] for row in other.execute("SELECT sql FROM sqlite_master")] == [statement]


@pytest.mark.parts
@pytest.mark.servers
def test_in_postgresql_a_store_is_upgraded_or_refused_beside_the_tables_of_others() -> None:
    import psycopg

    with Servers() as servers:
        url = servers.database_url()
        with psycopg.connect(url, autocommit=True) as database:
            database.execute("CREATE TABLE notes (text text)")
            Store(url).close()
            database.execute("DROP TABLE clawback_store")
            database.execute("ALTER TABLE runs DROP COLUMN version")
            store = Store(url)
            assert store.run_ids() == []
            store.probe()
            store.close()
            assert database.execute("SELECT version FROM clawback_store").fetchall() == [(VERSION,)]
            database.execute("UPDATE clawback_store SET version = 7")
            with pytest.raises(StoreError, match="at database_url was written by a later version"):
                Store(url)


def described() -> dict[str, str]:
    """Return each column and index of the tables, and what it is."""
    dialect = sqlite.dialect()
    found = {}
    for table in t.metadata.tables.values():
        for column in table.columns:
            found[f"{table.name}.{column.name}"] = str(CreateColumn(column).compile(dialect=dialect)).partition(" ")[2]
        for index in table.indexes:
            found[str(index.name)] = f"{'UNIQUE ' * index.unique}INDEX ({', '.join(index.columns.keys())})"
    return found


def test_the_tables_of_a_version_only_gain_what_bridges_of_before_need_not_know() -> None:
    """Tables in `stores/version-N.json` are those of VERSION; CLAWBACK_RECORD=1 writes down what they gained."""
    file = STORES / f"version-{VERSION}.json"
    known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    now = described()
    changed = {name: now.get(name) for name, what in known.items() if now.get(name) != what}
    assert not changed, "what is there already changes with a new VERSION only"
    gained = {name: what for name, what in now.items() if name not in known}
    tables = {name.partition(".")[0] for name in known}
    for name, what in gained.items():
        is_column_of_old_table = name.partition(".")[0] in tables and "." in name
        assert not is_column_of_old_table or "NOT NULL" not in what or "DEFAULT" in what, name
    if os.environ.get("CLAWBACK_RECORD") == "1":
        file.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    else:
        assert not gained, f"{file.name} does not have it: run this with CLAWBACK_RECORD=1"
