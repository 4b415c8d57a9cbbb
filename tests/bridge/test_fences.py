"""What may happen once happens once, whoever decides it: the store says which of two came first."""

import pytest
from flask import Flask

from bridge.app import create_app
from bridge.runs.core import Core
from bridge.store.rows import RunRow
from tests.bridge.test_plugin_api import CALL, app, attach, call, open_ticket, restart, run
from tools.results import ToolResult
from tools.run_states import RAISES_ATTEMPT, RunEvent

__all__ = ["app", "run"]


def core_of(app: Flask) -> Core:
    found: Core = app.extensions["clawback"]
    return found


def settle(app: Flask, output: str = "R") -> None:
    """Let the client bring the result of the open ticket."""
    core_of(app).tickets.add_results("ticket1", [ToolResult(tool_call_id=CALL["id"], output=output)])


def is_too_late(app: Flask, run: RunRow, age: float) -> bool:
    body = {"invocation_id": f"old-{age}-seconds", "fingerprint": "f", "model": "m", "user": run.dify_user}
    status, answer = call(app, "POST", "/plugin/v1/attach", body | {"age_seconds": age})
    return status == 410 and answer["error"]["code"] == "run_over"


def test_an_invocation_from_before_its_attempt_is_too_late_also_after_a_restart(app: Flask, run: RunRow) -> None:
    attach(app)
    open_ticket(app, run)
    assert is_too_late(app, run, 60)
    again = create_app(core_of(app).services.config)
    try:
        assert is_too_late(again, run, 61)
        assert core_of(again).store.tickets_of_run(run.id)[0].invocation_id == "invocation1"
    finally:
        core_of(again).sweeper.stop()
        core_of(again).store.close()


def test_an_earlier_try_has_one_successor(app: Flask, run: RunRow) -> None:
    attach(app)
    open_ticket(app, run)
    settle(app)
    restart(app, run)
    first, second = (attach(app, f"invocation{number}") for number in (2, 3))
    assert len(first["rounds"]) == 1
    assert second["rounds"] == [], "an equal node of the same attempt is a node of its own"
    assert second["open_ticket"] is None


def test_of_two_who_begin_the_next_attempt_one_does(app: Flask, run: RunRow) -> None:
    store = core_of(app).store
    assert store.step(run, RunEvent.TAKE_OVER)
    assert not store.step(run, RunEvent.TAKE_OVER), "it was read before the other one began"
    now = store.run(run.id)
    assert now is not None
    assert now.attempt == run.attempt + 1
    assert now.began_at is not None
    assert now.began_at > (run.began_at or 0)
    assert store.end_run(run.id, RunEvent.CANCEL)
    assert not any(store.step(now, event) for event in RAISES_ATTEMPT)


@pytest.mark.parametrize("results_first", [True, False])
def test_of_results_and_a_suspension_one_comes_first_and_the_other_hears_of_it(
    app: Flask, run: RunRow, results_first: bool
) -> None:
    store = core_of(app).store
    attach(app)
    open_ticket(app, run)
    if results_first:
        settle(app)
    status, told = call(app, "POST", "/plugin/v1/tickets/ticket1/suspend?invocation_id=invocation1")
    assert status == 200
    if not results_first:
        settle(app)
    stored = store.run(run.id)
    assert stored is not None
    assert (told["state"], stored.state) == ("resolved" if results_first else "open", "running")
    assert stored.attempt == (1 if results_first else 2), "what was suspended goes on with its results"
    assert call(app, "POST", "/plugin/v1/tickets/ticket1/suspend?invocation_id=invocation1")[1]["state"] != "open"
