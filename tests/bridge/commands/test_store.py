"""`clawback store`: a copy is made while the bridge serves, and holds what the store held."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from bridge.cli import main
from bridge.store.engine import engine_of
from bridge.store.store import Store
from bridge.store.upgrade import VERSION, open_first
from demo.stack import Stack
from tests.e2e.conftest import call
from tests.e2e.test_survives import answered_after, begin
from tests.servers import Servers

STORES = Path(__file__).parents[1] / "stores"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command for a configuration with this store."""

    def asked(url: str, *arguments: str) -> Result:
        config = tmp_path / "clawback.toml"
        config.write_text(f"database_url = {json.dumps(url)}\ndata_dir = {json.dumps(str(tmp_path))}\n")
        return CliRunner().invoke(main, ["store", *arguments, "--config", str(config)])

    return asked


def filled(folder: Path) -> str:
    """Return the URL of a store with runs, tickets and calls of an earlier version's."""
    path = folder / "filled.sqlite3"
    with closing(sqlite3.connect(path)) as made:
        made.executescript((STORES / "version-1.sql").read_text())
    open_first(f"sqlite:///{path}")
    return f"sqlite:///{path}"


def rows(run: Run, url: str) -> dict[str, int]:
    done = run(url, "check", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["version"] == told["current"] == VERSION
    return dict(told["rows"])


def test_a_copy_holds_all_and_is_private(run: Run, tmp_path: Path) -> None:
    url, copy = filled(tmp_path), tmp_path / "copy.sqlite3"
    assert run(url, "backup", str(copy)).exit_code == 0
    assert copy.stat().st_mode & 0o777 == 0o600
    held = rows(run, url)
    assert held["tickets"]
    assert rows(run, f"sqlite:///{copy}") == held
    assert "is there already" in run(url, "backup", str(copy)).output
    empty = f"sqlite:///{tmp_path / 'empty' / 'bridge.sqlite3'}"
    assert "no store" in run(empty, "check").output
    assert run(empty, "restore", str(copy)).exit_code == 0
    assert rows(run, empty) == held
    assert "--replace" in run(empty, "restore", str(copy)).output
    assert run(empty, "restore", "--replace", str(copy)).exit_code == 0
    assert rows(run, empty) == held
    (tmp_path / "other").write_bytes(b"no database at all " * 100)
    refused = run(empty, "restore", "--replace", str(tmp_path / "other"))
    assert refused.exit_code == 1
    assert rows(run, empty) == held


@pytest.mark.parts
@pytest.mark.servers
def test_a_store_moves_to_postgresql_and_back(run: Run, tmp_path: Path) -> None:
    url, copy = filled(tmp_path), tmp_path / "copy.sqlite3"
    assert run(url, "backup", str(copy)).exit_code == 0
    with Servers() as servers:
        elsewhere = servers.database_url()
        assert run(elsewhere, "restore", str(copy)).exit_code == 0
        assert rows(run, elsewhere) == rows(run, url)
        with closing(Store(elsewhere)) as store:
            [run_id, *_] = store.run_ids()
            store.nodes.started(run_id, 1, "another", "Another", "llm")
            assert [node.title for node in store.nodes.of_run(run_id)][-1] == "Another"
        back = tmp_path / "back.sqlite3"
        assert run(elsewhere, "backup", str(back)).exit_code == 0
        held = rows(run, url)
        assert rows(run, f"sqlite:///{back}") == held | {"nodes": held["nodes"] + 1}


@pytest.mark.parts
def test_a_copy_that_was_made_while_a_call_was_out_goes_on_with_it(tmp_path: Path) -> None:
    with Stack(tmp_path, apps=["minimal"]) as stack:
        config = str(stack.folder / "clawback.toml")
        transcript = begin(stack, f"Kept.\n{call('exec', command='x')}\n!then\n!say from the copy", "kept")
        copy = str(tmp_path / "copy.sqlite3")
        done = CliRunner().invoke(main, ["store", "backup", copy, "--config", config])
        assert done.exit_code == 0, done.output
        refused = CliRunner().invoke(main, ["store", "restore", "--replace", copy, "--config", config])
        assert "uses" in refused.output or "has" in refused.output
        assert refused.exit_code == 1
        stack.bridge.kill()
        done = CliRunner().invoke(main, ["store", "restore", "--replace", copy, "--config", config])
        assert done.exit_code == 0, done.output
        stack.bridge.start()
        assert answered_after(stack, transcript, "kept") == "from the copy"


def test_a_store_gains_what_a_version_adds_and_bridges_of_before_go_on(tmp_path: Path) -> None:
    url = filled(tmp_path)
    engine = engine_of(url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE runs ADD COLUMN of_a_later_version TEXT"))
        connection.execute(text("DROP TABLE logins"))
    engine.dispose()
    open_first(url)
    with closing(Store(url)) as store:
        assert store.run_ids()
    assert not list(tmp_path.glob("*.version-2"))
