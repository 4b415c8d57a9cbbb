"""What a response continues is found again, and what nobody comes back to is forgotten."""

import sqlite3
from contextlib import closing
from pathlib import Path

from bridge.store.exchanges import piece_of
from bridge.store.responses import ResponseRow, Responses
from bridge.store.store import Store


def row(response_id: str, previous: str | None = None, created_at: float = 1000.0) -> ResponseRow:
    return ResponseRow(response_id, previous, "m", "run", 0, "{}", "[]", None, created_at)


def responses(folder: Path) -> Responses:
    return Responses(Store(f"sqlite:///{folder / 'bridge.sqlite3'}"))


def test_a_chain_is_listed_from_its_beginning_and_only_whole(tmp_path: Path) -> None:
    kept = responses(tmp_path)
    for response_id, previous in (("a", None), ("b", "a"), ("c", "b")):
        kept.insert(row(response_id, previous), "session", [])
    assert [one.id for one in kept.chain("c", "default")] == ["a", "b", "c"]
    assert kept.delete("a", "default")
    assert kept.chain("c", "default") == []
    assert not kept.delete("a", "default")


def test_an_answer_is_written_once(tmp_path: Path) -> None:
    kept = responses(tmp_path)
    kept.insert(row("a"), "session", [])
    kept.end("a", "first")
    kept.end("a", "second")
    found = kept.find("a", "default")
    assert found
    assert found.answer == "first"


def test_what_was_not_used_for_long_is_forgotten_and_what_is_continued_is_not(tmp_path: Path) -> None:
    kept = responses(tmp_path)
    kept.insert(row("old"), "session", [])
    kept.insert(row("used"), "session", [])
    kept.keep(["used"])
    assert kept.forget_before(2000.0) == 1
    assert kept.find("old", "default") is None
    assert kept.find("used", "default")


ITEM = '{{"type":"message","number":{},"content":"' + "word " * 100 + '"}}'


def items(count: int) -> list[str]:
    return [ITEM.format(number) for number in range(count)]


def test_an_input_that_grows_is_stored_once(tmp_path: Path) -> None:
    """Many clients send all that was said again instead of naming the response before."""
    kept, sizes = responses(tmp_path), []
    for number in range(24):
        kept.insert(row(f"r{number}"), "session", [piece_of(item) for item in items(2 * number + 1)])
        with closing(sqlite3.connect(tmp_path / "bridge.sqlite3")) as store:
            sizes.append(sum(map(len, store.iterdump())))
    early, late = sizes[11] - sizes[3], sizes[23] - sizes[15]
    assert late < 1.1 * early
    for number in (0, 23):
        found = kept.find(f"r{number}", "default")
        assert found
        assert kept.input(found) == f"[{','.join(items(2 * number + 1))}]"


def test_the_items_of_a_response_stay_for_as_long_as_it_does(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'bridge.sqlite3'}")
    kept, longest = Responses(store), 10.0**10
    kept.insert(row("old"), "session", [piece_of(item) for item in items(2)])
    kept.insert(row("used", created_at=2000.0), "session", [piece_of(item) for item in items(3)])
    store.forget_before(longest)
    found = kept.find("used", "default")
    assert found
    assert kept.input(found) == f"[{','.join(items(3))}]"
    kept.forget_before(longest)
    store.forget_before(longest)
    with store.reading() as connection:
        assert not connection.exec_driver_sql("SELECT * FROM pieces").all()


def test_an_input_that_was_stored_whole_is_read(tmp_path: Path) -> None:
    assert responses(tmp_path).input(row("a")) == "[]"
