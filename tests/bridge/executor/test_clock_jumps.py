"""A clock that is set ends nothing that waits, and keeps nothing for longer than it should."""

import time

import pytest

from bridge.store import clock
from tests.bridge.executor.conftest import EXEC, Bridge, MakeBridge, Ticket

HOUR = 3600.0
ASK = '[[rules]]\ntool = "wipe"\naction = "ask"\n[[rules]]\naction = "allow"\n'


@pytest.fixture
def bridge(make_bridge: MakeBridge) -> Bridge:
    return make_bridge(ASK)


def states(ticket: Ticket) -> list[str]:
    row = ticket.bridge.store.ticket(ticket.id)
    assert row
    return [call.state for call in row.calls]


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_what_waits_for_a_person_or_an_executor_outlives_a_jump(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    laptop = bridge.register(tools=[EXEC | {"read_only": True}])
    leased = bridge.open(("exec", "{}"), attached=bridge.attach("leased"))
    assert len(laptop.claim()) == 1
    bridge.register("asks", tools=[{"type": "function", "function": {"name": "wipe"}}])
    asked = bridge.open(("wipe", "{}"), attached=bridge.attach("asked"))
    real = time.time
    monkeypatch.setattr(clock.time, "time", lambda: real() + jump)
    bridge.app.extensions["clawback"].sweeper.sweep(clock.now())
    assert states(leased) == ["leased"]
    assert states(asked) == ["awaiting_approval"]
    assert leased.status()["state"] == asked.status()["state"] == "open"
    assert {executor.name for executor in bridge.store.executors.all()} >= {"laptop", "asks"}
    # A lease lasts what it should, and no hour longer.
    bridge.app.extensions["clawback"].sweeper.sweep(clock.now() + bridge.config.limits.lease_seconds + 1)
    assert states(leased) == ["ready"]
