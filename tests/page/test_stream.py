"""A page that is open learns what changes, and no more."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bridge.page import streaming
from bridge.page.streaming import MOST_STREAMS
from tests.bridge.executor.conftest import Bridge
from tests.page.conftest import Person


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(streaming, "HEARTBEAT_SECONDS", 0.05)


@contextmanager
def stream(person: Person, path: str, **headers: str) -> Iterator[Iterator[str]]:
    answer = person.client.get(path, headers={"Accept": "text/event-stream"} | headers)
    assert answer.content_type == "text/event-stream; charset=utf-8"
    try:
        yield (piece.decode() if isinstance(piece, bytes) else piece for piece in answer.response)
    finally:
        answer.close()


def event(pieces: Iterator[str]) -> tuple[str, dict[str, Any]]:
    """The next event: its id and its data."""
    for piece in pieces:
        if piece.startswith("id: "):
            lines = dict(line.split(": ", 1) for line in piece.strip().splitlines())
            assert lines["event"] == "change"
            return lines["id"], json.loads(lines["data"])
    raise AssertionError("the stream ended")


def version_of(page: str) -> str:
    return page.split('data-live="')[1].split('"')[0]


def test_who_has_the_newest_page_is_told_only_what_changes(ann: Person) -> None:
    version = version_of(ann.get("/").text)
    with stream(ann, f"/?since={version}") as pieces:
        assert next(pieces).startswith("retry: ")
        assert next(pieces).startswith(":")
        ann.bridge.register()
        run = ann.bridge.open(("exec", "{}")).request["run_id"]
        newest, change = event(pieces)
    assert change["order"] == [f"run-{run}"]
    assert newest != version


def test_a_call_that_moves_changes_its_own_piece(ann: Person) -> None:
    ann.bridge.register()
    ticket = ann.bridge.open(("exec", '{"a": 1}'), ("exec", '{"a": 2}'))
    path = f"/runs/{ticket.request['run_id']}"
    with stream(ann, f"{path}?since={version_of(ann.get(path).text)}") as pieces:
        assert next(piece for piece in pieces if not piece.startswith("retry")).startswith(":")
        ann.bridge.ask("operator", "POST", f"/calls/{ticket.calls[0]}/approve", {"by": "bob"})
        _, change = event(pieces)
    assert f"call-{ticket.calls[0]}" in change["pieces"]
    assert f"call-{ticket.calls[1]}" not in change["pieces"]
    assert f"call-{ticket.calls[1]}" in change["order"]


def test_who_comes_back_is_told_what_was_missed(ann: Person) -> None:
    ann.bridge.register()
    with stream(ann, "/") as pieces:
        known, _ = event(pieces)
    ann.bridge.open(("exec", "{}"))
    with stream(ann, "/?since=older", **{"Last-Event-ID": known}) as pieces:
        _, change = event(pieces)
    assert len(change["order"]) == 1


def test_the_stream_ends_with_its_login(ann: Person) -> None:
    with stream(ann, "/") as pieces:
        next(pieces)
        ann.send("/", "/logout")
        assert [piece for piece in pieces if piece.startswith("id: ")][1:] == []


def test_the_stream_ends_when_the_bridge_stops(ann: Person) -> None:
    stopping: threading.Event = ann.bridge.app.extensions["clawback"].services.stopping
    with stream(ann, "/health") as pieces:
        next(pieces)
        stopping.set()
        assert len(list(pieces)) <= 2


def test_a_stream_does_not_last_for_ever(ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "LONGEST_SECONDS", 0.05)
    with stream(ann, "/executors") as pieces:
        assert list(pieces)


def test_there_are_not_more_streams_than_can_be_looked_after(bridge: Bridge, ann: Person) -> None:
    streams = [ann.client.get("/", headers={"Accept": "text/event-stream"}) for _ in range(MOST_STREAMS)]
    opened = [iter(answer.response) for answer in streams]
    for pieces in opened:
        next(pieces)
    refused = ann.get("/", Accept="text/event-stream")
    assert refused.status_code == 429
    assert ann.get("/").status_code == 200
    for answer in streams:
        answer.close()
    assert ann.client.get("/", headers={"Accept": "text/event-stream"}).status_code == 200


def test_without_a_script_the_page_loads_itself_again_but_not_while_somebody_may_be_writing(ann: Person) -> None:
    refresh = '<noscript><meta http-equiv="refresh"'
    ann.bridge.register()
    assert refresh in ann.get("/").text
    assert refresh in ann.get("/approvals").text
    ticket = ann.bridge.open(("exec", "{}"))
    assert refresh not in ann.get("/approvals").text
    assert refresh not in ann.get(f"/runs/{ticket.request['run_id']}").text
    assert refresh in ann.get("/").text
