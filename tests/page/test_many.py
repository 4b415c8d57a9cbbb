"""Two thousand open tickets are no burden, and no run of a thousand steps is."""

import time

import pytest
from sqlalchemy import event, insert

from bench.page import long_run
from bridge.store import schema as t
from tests.bridge.executor.conftest import Bridge
from tests.page.conftest import Person, words

MANY = 2_000


@pytest.fixture
def crowded(bridge: Bridge) -> Bridge:
    """Each with a run of its own and a call that waits for a person."""
    now = time.time()
    run = dict.fromkeys(("session_key", "turn_key", "dify_user", "query_digest"), "x")
    run |= {"model": "assistant", "state": "running", "request": '{"messages": [], "turn": null, "query": ""}'}
    run |= {"direction": "executor", "updated_at": now, "expires_at": now + 1000}
    common = {"round": 0, "state": "open", "updated_at": now, "expires_at": now + 1000}
    call = {"position": 0, "name": "exec", "arguments": "{}", "state": "awaiting_approval", "verdict": "rule 1"}
    with bridge.store.transaction() as connection:
        numbers = range(MANY)
        connection.execute(insert(t.runs), [run | {"id": f"run{n}", "created_at": now + n / 1000} for n in numbers])
        invocation = {"attempt": 1, "fingerprint": "f", "state": "running", "created_at": now}
        connection.execute(insert(t.invocations), [invocation | {"id": f"i{n}", "run_id": f"run{n}"} for n in numbers])
        connection.execute(
            insert(t.tickets),
            [
                common | {"id": f"t{n}", "run_id": f"run{n}", "invocation_id": f"i{n}", "created_at": now + n / 1000}
                for n in numbers
            ],
        )
        connection.execute(insert(t.calls), [call | {"id": f"c{n}", "ticket_id": f"t{n}"} for n in numbers])
    return bridge


def test_pages_show_a_part_and_say_what_is_left(crowded: Bridge, ann: Person) -> None:
    runs = ann.get("/").text
    assert runs.count('data-piece="run-') == 50
    assert f'href="/runs/run{MANY - 1}"' in runs
    assert "older →" in words(runs)
    assert f'href="/runs/run{MANY - 51}"' in ann.get("/?page=2").text
    approvals = ann.get("/approvals")
    assert approvals.text.count('data-piece="call-') == 50
    assert "1950 more calls wait" in words(approvals.text)
    assert 'data-piece="call-c0"' in approvals.text
    assert len(approvals.data) < 300_000


def test_what_an_open_page_asks_again_and_again_costs_little(crowded: Bridge, ann: Person) -> None:
    reads: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        reads.append(statement)

    engine = crowded.store._engine
    event.listen(engine, "before_cursor_execute", count)
    for path in ("/", "/approvals"):
        reads.clear()
        assert ann.get(path).status_code == 200
        assert len(reads) < 20, path


def test_a_page_of_a_thousand_steps_begins_before_its_end_is_written(bridge: Bridge, ann: Person) -> None:
    long_run(bridge.store, "long", 1_000)
    took = []
    for _ in range(3):
        began = time.process_time()
        pieces = iter(ann.client.get("/runs/long", buffered=False).response)
        beginning = str(next(pieces), "utf-8")
        took.append(time.process_time() - began)
    assert min(took) < 0.3
    assert 1_000 < len(beginning) < 50_000
    end = b"".join(pieces).decode()
    assert (beginning + end).count('class="step call') == 1_000
    assert end.rstrip().endswith("</html>")
    assert "data-live" in end
