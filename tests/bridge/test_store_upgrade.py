"""A store of an earlier version goes on with this one."""

from pathlib import Path

from sqlalchemy import create_engine, inspect, text

from bridge.store import Store


def test_a_column_that_came_since_is_added(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'bridge.sqlite3'}"
    Store(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE tickets DROP COLUMN request_id"))
    engine.dispose()
    store = Store(url)
    assert store.tickets() == []
    store.close()


def test_an_index_that_came_since_is_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'bridge.sqlite3'}"
    Store(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX runs_by_creation"))
    Store(url).close()
    assert "runs_by_creation" in {index["name"] for index in inspect(engine).get_indexes("runs")}
    engine.dispose()
