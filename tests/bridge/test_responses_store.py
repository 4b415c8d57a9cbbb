"""What a response continues is found again, and what nobody comes back to is forgotten."""

from pathlib import Path

from bridge.store.responses import ResponseRow, Responses
from bridge.store.store import Store


def row(response_id: str, previous: str | None = None, created_at: float = 1000.0) -> ResponseRow:
    return ResponseRow(response_id, previous, "m", "run", 0, "{}", "[]", None, created_at)


def responses(folder: Path) -> Responses:
    return Responses(Store(f"sqlite:///{folder / 'bridge.sqlite3'}"))


def test_a_chain_is_listed_from_its_beginning_and_only_whole(tmp_path: Path) -> None:
    kept = responses(tmp_path)
    for response_id, previous in (("a", None), ("b", "a"), ("c", "b")):
        kept.insert(row(response_id, previous))
    assert [one.id for one in kept.chain("c", "default")] == ["a", "b", "c"]
    assert kept.delete("a", "default")
    assert kept.chain("c", "default") == []
    assert not kept.delete("a", "default")


def test_an_answer_is_written_once(tmp_path: Path) -> None:
    kept = responses(tmp_path)
    kept.insert(row("a"))
    kept.end("a", "first")
    kept.end("a", "second")
    found = kept.find("a", "default")
    assert found
    assert found.answer == "first"


def test_what_was_not_used_for_long_is_forgotten_and_what_is_continued_is_not(tmp_path: Path) -> None:
    kept = responses(tmp_path)
    kept.insert(row("old"))
    kept.insert(row("used"))
    kept.keep(["used"])
    assert kept.forget_before(2000.0) == 1
    assert kept.find("old", "default") is None
    assert kept.find("used", "default")
