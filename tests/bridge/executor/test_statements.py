"""What a call of an executor costs the store: numbers that grow only by decision, and not with what waits."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.bridge.executor.conftest import Bridge, Executor, MakeBridge

STATEMENTS = {"attach": 9, "open": 7, "wait": 0, "claim": 11, "result": 7, "answer": 0}
"""BEGIN and COMMIT are two of them."""

Count = Callable[[], int]


@pytest.fixture
def bridge(make_bridge: MakeBridge) -> Bridge:
    """A bridge that does not write that an executor was seen again while a test takes long."""
    return make_bridge('[[rules]]\naction = "allow"\n', executor_seconds=3600)


@pytest.fixture
def count(bridge: Bridge) -> Count:
    """Return how many statements were run since it was last asked."""
    bridge.core.sweeper.stop()
    asked: list[str] = []
    with bridge.store.reading() as connection:
        driver: Any = connection.connection.dbapi_connection
        driver.set_trace_callback(asked.append)

    def counted() -> int:
        number = len(asked)
        asked.clear()
        return number

    return counted


def costs(laptop: Executor, count: Count) -> dict[str, int]:
    """Return what a new user's run with one call costs, from its beginning to its result."""
    bridge = laptop.bridge
    bridge.user = f"user{bridge.opened}"
    count()
    found = {"attach": (attached := bridge.attach(), count())[1]}
    ticket = bridge.open(("read", "{}"), attached=attached)
    found["open"] = count()
    assert ticket.status()["state"] == "open"
    found["wait"] = count()
    [call] = laptop.claim(1)
    found["claim"] = count()
    assert laptop.post(call, "done").status == 200
    found["result"] = count()
    bridge.ask("plugin", "GET", f"/tickets/{call['ticket_id']}")
    return found | {"answer": count()}


def test_a_call_needs_so_many_statements(bridge: Bridge, count: Count) -> None:
    laptop = bridge.register()
    costs(laptop, count)
    assert costs(laptop, count) == STATEMENTS


def test_a_call_needs_no_more_where_many_wait(bridge: Bridge, count: Count) -> None:
    laptop = bridge.register()
    for number in range(30):
        bridge.user = f"waits{number}"
        bridge.open(("read", "{}"))
    costs(laptop, count)
    assert all(number <= STATEMENTS[what] for what, number in costs(laptop, count).items())


def test_that_an_executor_was_seen_is_written_now_and_then(bridge: Bridge, count: Count) -> None:
    laptop = bridge.register()
    count()
    for _ in range(10):
        assert laptop.ask("heartbeat", {}).status == 200
    assert count() == 10, "each reads the executors, which a command may have changed, and writes nothing"
