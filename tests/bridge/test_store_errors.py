"""What a store says when it fails is written to the log, and must not tell what it was to keep."""

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bridge.store import Store


def test_no_value_is_in_the_error_of_a_statement_that_fails(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'bridge.sqlite3'}")
    with pytest.raises(DBAPIError) as caught, store.transaction() as connection:
        connection.execute(text("INSERT INTO nowhere VALUES (:value)"), {"value": "a secret prompt"})
    assert "nowhere" in str(caught.value)
    assert "secret" not in str(caught.value)
    store.close()
