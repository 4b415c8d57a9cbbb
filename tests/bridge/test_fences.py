"""What may happen once happens once, whoever decides it: the store says which of two came first."""

import threading
from dataclasses import replace
from functools import partial

import pytest
from flask import Flask

from bridge.api.openai.turns import Turns
from bridge.app import create_app
from bridge.dify.events import WorkflowStarted
from bridge.errors import Gone
from bridge.runs.attempt import Answered, Attempt, Dropped, Failed
from bridge.runs.core import Core
from bridge.runs.live import AWAY_SECONDS, LiveRun
from bridge.runs.segments import Calls, Failure
from bridge.runs.tickets.attach import Invocations
from bridge.store import clock
from bridge.store.faults import StoreUnavailable, unavailable
from bridge.store.rows import RunRow, SegmentRow, SessionRow
from bridge.store.run_record import BEGINNING_SECONDS
from tests.bridge.test_plugin_api import CALL, EXECUTOR, app, attach, call, open_ticket, restart, run
from tests.schedules.unfenced import unfenced
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


def test_without_its_fence_a_bridge_takes_any_invocation(
    app: Flask, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of schedules show what comes of that: `python -m tests.schedules --shared --unfenced`."""
    monkeypatch.setattr(Invocations, "_attached", unfenced)
    assert not is_too_late(app, run, 60)


def test_an_invocation_that_waited_for_its_run_is_as_old_as_when_it_came(app: Flask, run: RunRow) -> None:
    core, found = core_of(app), list[bool]()
    attach(app)
    waiting = threading.Thread(target=lambda: found.append(is_too_late(app, run, 0)))
    with core.services.locks.of(run.id):
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive(), "it waits for what is decided about its run"
        assert core.store.run_again(run)
    waiting.join()
    assert found == [True]


def test_an_invocation_that_lay_unread_is_too_late_where_one_was_given_up_before(app: Flask, run: RunRow) -> None:
    store = core_of(app).store
    body = {"invocation_id": "lay-unread", "fingerprint": "f", "model": "m", "user": run.dify_user}
    body |= {"unread_seconds": 60.0}
    earlier = replace(run, id="run-before", began_at=run.created_at - 30, created_at=run.created_at - 30)
    store.insert_run(earlier)
    store.end_run(earlier.id, RunEvent.FINISH)
    assert call(app, "POST", "/plugin/v1/attach", body)[0] == 200
    store.insert_run(replace(earlier, id="run-given-up"))
    store.end_run("run-given-up", RunEvent.FAIL)
    status, answer = call(app, "POST", "/plugin/v1/attach", body | {"invocation_id": "lay-unread-2"})
    assert (status, answer["error"]["code"]) == (410, "run_over")


def test_an_invocation_that_was_not_answered_is_too_late_once_its_attempt_is_over(app: Flask, run: RunRow) -> None:
    attach(app)
    attach(app)
    restart(app, run)
    body = {"invocation_id": "invocation1", "fingerprint": "f", "model": "main", "user": run.dify_user}
    assert call(app, "POST", "/plugin/v1/attach", body)[0] == 410
    assert attach(app, "invocation2")["rounds"] == []


def test_an_earlier_try_has_one_successor(app: Flask, run: RunRow) -> None:
    attach(app)
    open_ticket(app, run)
    settle(app)
    restart(app, run)
    first, second = (attach(app, f"invocation{number}") for number in (2, 3))
    assert len(first["rounds"]) == 1
    assert second["rounds"] == [], "an equal node of the same attempt is a node of its own"
    assert second["open_ticket"] is None


def test_of_earlier_tries_the_one_that_has_come_furthest_is_gone_on_with(app: Flask, run: RunRow) -> None:
    attach(app)
    attach(app, "given-up-by-dify")
    open_ticket(app, run)
    settle(app)
    for attempt, invocation in ((2, "invocation2"), (3, "invocation3")):
        core_of(app).store.update_run(run.id, attempt=attempt, state="running")
        assert len(attach(app, invocation)["rounds"]) == 1


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


def live_of(app: Flask, run: RunRow) -> LiveRun:
    """Return the run as this process drives it, without a Dify behind it."""
    core = core_of(app)
    live = core.runs._make_live(run, core.services.requests.of(run))
    live.begin(run.attempt)
    core.live_runs.add(live)
    return live


def test_a_ticket_ends_one_response_whoever_reads_it_while_it_is_delivered(app: Flask, run: RunRow) -> None:
    live = live_of(app, run)
    attach(app)
    open_ticket(app, run)
    ticket = core_of(app).tickets.known("ticket1")
    assert ticket.segment == 0
    live.hold_ticket(replace(ticket, segment=None))
    live.deliver_pending()
    told = core_of(app).store.segments(run.id)
    assert [(segment.number, segment.ticket_id) for segment in told] == [(0, "ticket1")]


def test_a_bridge_tells_nothing_more_of_a_run_that_another_goes_on_with(app: Flask, run: RunRow) -> None:
    core, live = core_of(app), live_of(app, run)
    attach(app)
    live.text("half an")
    assert core.store.step(run, RunEvent.TAKE_OVER)
    with pytest.raises(Gone, match="another bridge"):
        live.finish()
    assert core.store.segments(run.id) == []
    assert not live.current.closed


def test_a_run_that_another_bridge_goes_on_with_is_not_ended_by_who_could_not_write_its_end(
    app: Flask, run: RunRow
) -> None:
    core, live = core_of(app), live_of(app, run)
    live.fail(Gone("the store was away"))
    assert core.store.step(run, RunEvent.TAKE_OVER)
    live.touched_at -= 10_000
    core.runs.forget_over(live)
    stored = core.store.run(run.id)
    assert stored is not None
    assert stored.state == "running"
    assert core.live_runs.get(run.id) is None


@pytest.mark.parametrize("is_let_go", [False, True])
def test_a_client_that_has_come_back_to_another_bridge_is_not_given_up_by_the_one_it_left(
    app: Flask, run: RunRow, monkeypatch: pytest.MonkeyPatch, is_let_go: bool
) -> None:
    core, live, later = core_of(app), live_of(app, run), list[partial[None]]()
    monkeypatch.setattr("bridge.runs.runs.after", lambda _, act, *given: later.append(partial(act, *given)))
    core.runs.enter_reading(run.id, live.current)
    core.runs.leave_reading(run.id, live.current)
    assert core.store.step(run, RunEvent.TAKE_OVER)
    if is_let_go:
        core.live_runs.drop(run.id)
    [abandon] = later
    abandon()
    stored = core.store.run(run.id)
    assert stored is not None
    assert stored.state == "running"


@pytest.mark.parametrize("what", ["suspend", "end"])
def test_who_knows_of_an_attempt_alone_changes_nothing_of_the_next(app: Flask, run: RunRow, what: str) -> None:
    core = core_of(app)
    assert core.store.step(run, RunEvent.TAKE_OVER)
    for attempt, state in ((1, "running"), (2, "suspended" if what == "suspend" else "failed")):
        if what == "suspend":
            core.runs.suspend(run.id, attempt)
        else:
            core.runs.end(run.id, RunEvent.FAIL, "why", "why", attempt)
        stored = core.store.run(run.id)
        assert stored is not None
        assert stored.state == state


def test_a_retry_goes_on_with_a_run_whose_end_could_not_be_written(app: Flask, run: RunRow) -> None:
    core, live = core_of(app), live_of(app, run)
    live.fail(Gone("the store was away"))
    reading = Turns(core)._take_up(run, core.services.config.apps[0])
    assert reading is not None
    assert reading.run_id == run.id
    stored = core.store.run(run.id)
    assert stored is not None
    assert stored.attempt == 2


def test_a_run_is_taken_over_once_the_node_of_a_workflow_that_another_process_started_has_attached(
    app: Flask, run: RunRow
) -> None:
    core = core_of(app)
    core.store.begun(run, None, task_id="task1")
    began = threading.Timer(0.5, attach, (app,))
    began.start()
    core.runs.once_begun(run)
    assert core.store.has_invocations(run.id)
    began.join()


def test_whoever_goes_on_with_a_run_keeps_no_node_of_its_workflow_waiting(app: Flask, run: RunRow) -> None:
    core, config = core_of(app), core_of(app).services.config
    attach(app)
    assert core.store.run_again(run), "by another process"
    node = threading.Thread(target=attach, args=(app, "invocation2"))
    with core.services.locks.of(run.id):
        node.start()
        reading = Turns(core)._gone_on(run, config.apps[0], 0)
    node.join()
    assert reading.segment.is_echo
    stored = core.store.record(run.id)
    assert stored is not None
    assert (stored.run.attempt, stored.invocations["invocation2"].attempt) == (2, 2)
    core.runs.cancel(run.id, "nobody is there")
    assert any(isinstance(event, Failure) for event in reading.segment.read(0, 10)), "whoever waits is told"


def test_a_run_that_is_taken_over_goes_on_as_the_user_that_it_has(app: Flask, run: RunRow) -> None:
    core, session = core_of(app), session_of(app, run)
    core.store.update_run(run.id, task_id="task1")
    attach(app)
    open_ticket(app, run)
    core.tickets.add_results("ticket1", [ToolResult(tool_call_id=CALL["id"], output="R")], taken=run)
    taken = core.store.run(run.id)
    assert taken is not None
    assert taken.attempt == 2
    assert not core.runs.is_beginning(taken), "nobody has begun its workflow"
    assert is_too_late(app, run, 0), "it belongs to the workflow that was left"
    assert core.store.run_again(taken)
    assert core.store.session(session.key) == session


def session_of(app: Flask, run: RunRow) -> SessionRow:
    """Let the run be one of a session with a conversation, and return it."""
    session = SessionRow(run.session_key, run.model, run.dify_user, "conversation1", scope="")
    core_of(app).store.save_session(session)
    return session


@pytest.mark.parametrize("ends", ["cancelled", "cut off"])
@pytest.mark.parametrize("begun", ["not", "just now", "long ago", "with a node"])
def test_a_session_goes_on_as_another_user_where_a_node_of_a_run_that_was_given_up_may_yet_attach(
    app: Flask, run: RunRow, ends: str, begun: str
) -> None:
    core, live, session = core_of(app), live_of(app, run), session_of(app, run)
    if begun == "with a node":
        attach(app)
    elif begun != "not":
        core.store.update_run(run.id, task_id="task1")
    if begun == "long ago":
        core.store.update_run(run.id, began_at=(run.began_at or 0) - BEGINNING_SECONDS)
    if ends == "cancelled":
        core.runs.cancel(run.id, "nobody is there")
    else:
        core.runs.fail(run, live, Gone("the stream broke"), cut_off=True)
    now = core.store.session(session.key)
    assert now is not None
    if begun in {"long ago", "with a node"}:
        assert now == session
        return
    assert now.dify_user != session.dify_user
    assert now.conversation_id == ""
    core.store.insert_run(replace(run, id="run-after", dify_user=now.dify_user))
    assert is_too_late(app, run, 0), "it would take part in the run that follows"


@pytest.mark.parametrize("task", ["", "task-1"], ids=["not begun", "no node yet"])
def test_a_run_goes_on_as_another_user_where_a_node_of_its_workflow_may_yet_attach(
    app: Flask, run: RunRow, task: str
) -> None:
    core, session = core_of(app), session_of(app, run)
    core.store.update_run(run.id, task_id=task)
    assert core.store.run_again(run)
    went_on, now = core.store.run(run.id), core.store.session(session.key)
    assert went_on is not None
    assert now is not None
    assert went_on.dify_user == now.dify_user != session.dify_user
    assert went_on.conversation_id == now.conversation_id == ""
    tool = {"type": "function", "function": {"name": "exec", "parameters": {"type": "object"}}}
    hands = {"name": "hands", "tools": [tool]}
    assert call(app, "POST", "/executor/v1/executors", hands, headers=EXECUTOR)[0] == 200
    late = {"invocation_id": "invocation-late", "fingerprint": "f", "model": "main"}
    for named in ({"user": run.dify_user}, {"callback_key": f"u:{run.dify_user}"}):
        status, answer = call(app, "POST", "/plugin/v1/attach", late | named)
        assert (status, answer["error"]["code"]) == (410, "run_over"), "it takes no part, nor does it begin a run"
    assert attach(app, "invocation2", user=went_on.dify_user)["run_id"] == run.id


@pytest.mark.parametrize(
    "outcome", [Answered(), Failed(Gone("Dify refused it"), is_over=True)], ids=["empty", "failed"]
)
def test_a_run_whose_workflow_is_over_goes_on_as_the_user_that_it_has(
    app: Flask, run: RunRow, outcome: Answered | Failed
) -> None:
    core, live, session = core_of(app), live_of(app, run), session_of(app, run)
    core.runs._conclude(run, core.services.requests.of(run), live, outcome)
    failed = core.store.run(run.id)
    assert failed is not None
    assert failed.state == "failed"
    assert core.store.run_again(failed)
    went_on = core.store.run(run.id)
    assert went_on is not None
    assert went_on.dify_user == session.dify_user
    assert core.store.session(session.key) == session


def test_a_client_hears_of_no_failure_that_the_store_does_not_take(app: Flask, run: RunRow) -> None:
    core, live = core_of(app), live_of(app, run)
    attach(app)
    open_ticket(app, run)
    live.deliver_pending()
    other = create_app(core.services.config)
    try:
        assert call(other, "POST", "/plugin/v1/tickets/ticket1/suspend")[1]["state"] == "open"
        core.runs.fail(run, live, Gone("The run is suspended"), is_over=True)
        stored = core.store.run(run.id)
        assert (live.failure, stored and stored.state) == (None, "suspended")
    finally:
        core_of(other).sweeper.stop()
        core_of(other).store.close()


@pytest.mark.parametrize("why", ["a node has attached", "it is driven here", "it began long ago", "it is suspended"])
def test_a_run_is_taken_over_at_once_where_nothing_of_it_is_to_begin(
    app: Flask, run: RunRow, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    core = core_of(app)
    match why:
        case "a node has attached":
            attach(app)
        case "it is driven here":
            live_of(app, run)
        case "it began long ago":
            core.store.update_run(run.id, began_at=(run.began_at or 0) - BEGINNING_SECONDS)
        case _:
            core.store.suspend(run.id)
    monkeypatch.setattr("bridge.runs.runs.LOOK_SECONDS", -1)  # no wait takes so long
    now = core.store.run(run.id)
    assert now is not None
    assert core.runs.once_begun(now) is now


def attempt_of(app: Flask, run: RunRow, live: LiveRun) -> Attempt:
    core = core_of(app)
    asked, served = core.services.requests.of(run), core.services.config.apps[0]
    return Attempt(core.services, core.slots, core.live_runs, run, served, asked, live, None)


def test_a_workflow_whose_beginning_could_not_be_written_is_stopped(
    app: Flask, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, live, stopped = core_of(app), live_of(app, run), list[str]()
    attempt = attempt_of(app, run, live)
    monkeypatch.setattr(attempt, "_stop_task", stopped.append)
    monkeypatch.setattr(core.store, "begun", lambda *_, **__: (_ for _ in ()).throw(unavailable("it is away")))
    with pytest.raises(StoreUnavailable):
        attempt._take(WorkflowStarted(task_id="task1", workflow_run_id="w"))
    assert stopped == ["task1"]


def test_calls_that_could_not_be_written_go_to_the_client_once_the_store_is_back(
    app: Flask, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, tries = core_of(app), list[str]()
    attach(app)
    open_ticket(app, run)
    live, save = live_of(app, run), core.store.save_segment

    def save_at_the_second_try(segment: SegmentRow, attempt: int) -> bool:
        tries.append("try")
        if len(tries) == 1:
            raise unavailable("it is away")
        return save(segment, attempt)

    monkeypatch.setattr(core.store, "save_segment", save_at_the_second_try)
    core.live_runs.deliver_soon(live, core.tickets.known("ticket1"))
    told = live.segment(0)
    assert told is not None
    assert any(isinstance(event, Calls) for event in told.read(0, 10))


def test_what_was_told_meanwhile_is_told_again_and_not_asked_again(
    app: Flask, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same request has come to another bridge, and the answer of the first comes as that one would go on."""
    core, stopped = core_of(app), list[str]()
    core.store.begun(run, None, task_id="task1")
    # Its workflow is not waited for.
    monkeypatch.setattr("bridge.runs.runs.BEGINNING_SECONDS", 0.0)
    monkeypatch.setattr(core.services.apps, "stop", lambda _, task_id, __: stopped.append(task_id))
    hold = core.store.hold

    def hold_once_told(run_id: str) -> None:
        if not core.store.segments(run_id):
            attach(app)
            open_ticket(app, run)
            told = SegmentRow(
                run_id, 0, text="", ticket_id="ticket1", finish_reason="tool_calls", usage="{}", reasoning=""
            )
            assert core.store.save_segment(told, attempt=1)
        hold(run_id)

    monkeypatch.setattr(core.store, "hold", hold_once_told)
    reading = Turns(core)._take_up(run, core.services.config.apps[0])
    assert reading is not None
    assert [event.calls[0].id for event in reading.segment.read(0, 1) if isinstance(event, Calls)] == [CALL["id"]]
    stored = core.store.run(run.id)
    assert stored is not None
    assert (stored.attempt, stored.task_id, stopped) == (1, "task1", []), "the workflow goes on with those calls"


def test_a_workflow_that_begins_after_its_attempt_is_over_is_stopped_and_not_taken_for_the_next_one_s(
    app: Flask, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, live, stopped = core_of(app), live_of(app, run), list[str]()
    attempt = attempt_of(app, run, live)
    monkeypatch.setattr(attempt, "_stop_task", stopped.append)
    assert core.store.step(run, RunEvent.TAKE_OVER)
    assert attempt._take(WorkflowStarted(task_id="task1", workflow_run_id="w")) == Dropped()
    stored = core.store.run(run.id)
    assert stored is not None
    assert (stopped, stored.task_id) == (["task1"], "")


def test_a_bridge_makes_a_run_its_own_with_what_is_new_and_not_with_what_was_brought_before(
    app: Flask, run: RunRow
) -> None:
    core = core_of(app)
    attach(app)
    open_ticket(app, run)
    result = ToolResult(tool_call_id=CALL["id"], output="R")
    for attempt in (2, 2):
        core.tickets.add_results("ticket1", [result], taken=core.store.run(run.id))
        stored = core.store.run(run.id)
        assert stored is not None
        assert stored.attempt == attempt


def test_a_run_is_driven_until_its_client_leaves_its_attempt_is_over_or_nobody_says_so(
    app: Flask, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, live = core_of(app), live_of(app, run)

    def is_driven() -> bool:
        stored = core.store.run(run.id)
        assert stored is not None
        return core.store.is_driven(stored, clock.now() - AWAY_SECONDS)

    core.runs.enter_reading(run.id, live.current)
    core.live_runs.keep()
    assert is_driven()
    assert not core.store.is_driven(run, clock.now() + AWAY_SECONDS)
    monkeypatch.setattr(core.services.config, "database_url", "postgresql://elsewhere")
    core.runs.leave_reading(run.id, live.current)
    assert not is_driven()
    core.live_runs.keep()
    assert not is_driven(), "nobody reads it here"
    core.runs.enter_reading(run.id, live.current)
    core.live_runs.keep()
    assert is_driven()
    assert core.store.step(run, RunEvent.TAKE_OVER)
    core.live_runs.keep()
    assert not is_driven(), "another bridge has begun the next attempt"


def test_how_a_node_of_an_attempt_before_ended_is_not_how_the_answer_ends(app: Flask, run: RunRow) -> None:
    core = core_of(app)
    attach(app)
    restart(app, run)
    again = core.store.run(run.id)
    assert again is not None
    live = live_of(app, again)
    for invocation, reason in (("invocation1", "stop"), ("invocation2", "length")):
        if invocation != "invocation1":
            attach(app, invocation)
        body = {"run_id": run.id, "text": "half", "finish_reason": "length"}
        assert call(app, "POST", f"/plugin/v1/invocations/{invocation}/record", body)[0] == 204
        assert live.finish_reason == reason
