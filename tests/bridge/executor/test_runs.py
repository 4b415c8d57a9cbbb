"""A run of the executor direction is one invocation; what it had done when it let go is not done again."""

from typing import Any

import pytest

from bridge.store.run_record import Change, RunRecord
from tests.bridge.executor.conftest import Bridge, MakeBridge
from tools.ids import random_name

INVOCATION = random_name()


def record(bridge: Bridge, attached: dict[str, str], **more: object) -> None:
    body = {"run_id": attached["run_id"], **more}
    path = f"/invocations/{attached['invocation_id']}/record"
    assert bridge.ask("plugin", "POST", path, body).status == 204


def test_it_ends_with_its_invocation(bridge: Bridge) -> None:
    bridge.register()
    attached = bridge.attach()
    record(bridge, attached, text="the answer")
    run = bridge.store.run(attached["run_id"])
    assert run is not None
    assert (run.state, run.direction) == ("finished", "executor")


@pytest.mark.parametrize(
    ("how", "states"),
    [
        ({"text": "the answer"}, ("finished", "answered")),
        ({"error": "the upstream is gone"}, ("failed", "failed")),
        ({"finish_reason": "tool_calls", "stopped": True}, ("suspended", "stopped")),
    ],
)
def test_a_bridge_that_is_killed_as_its_invocation_ends_leaves_neither_or_both_under_way(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, how: dict[str, object], states: tuple[str, str]
) -> None:
    bridge.register()
    attached, commit, written = bridge.attach(), bridge.store.commit, list[tuple[str, str]]()

    def note(change: Change) -> None:
        commit(change)
        written.append((change.state.run.state, change.state.invocations[attached["invocation_id"]].state))

    monkeypatch.setattr(bridge.store, "commit", note)
    record(bridge, attached, **how)
    assert written == [states]


def test_it_ends_soon_after_its_plugin_was_killed_while_it_asked_its_model(bridge: Bridge) -> None:
    bridge.register()
    silent, waiting, of_before = bridge.attach("f1", beats=True), bridge.attach("f2", beats=True), bridge.attach("f3")
    assert silent["beat_seconds"] < 46
    assert of_before["beat_seconds"] is None
    bridge.open(("read", "{}"), attached=waiting)
    states = {}
    for seconds in (40, 46):
        bridge.later(seconds)
        states[seconds] = [bridge.store.run(each["run_id"]).state for each in (silent, waiting, of_before)]  # type: ignore[union-attr]
    assert states == {40: ["running"] * 3, 46: ["cancelled", "running", "running"]}


def test_the_same_question_again_is_a_run_of_its_own(bridge: Bridge) -> None:
    bridge.register()
    first = bridge.attach()
    record(bridge, first, text="the answer")
    assert bridge.attach()["run_id"] != first["run_id"]


@pytest.mark.parametrize("is_written", [False, True])
def test_a_bridge_that_is_killed_while_a_run_begins_leaves_none_behind(
    make_bridge: MakeBridge, *, is_written: bool
) -> None:
    first = make_bridge()
    first.register()

    class Killed(BaseException):
        pass

    begin_with = first.store.begin_with

    def killed(*arguments: Any) -> RunRecord:
        if is_written:
            begin_with(*arguments)
        raise Killed

    first.store.begin_with = killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        first.attach(invocation_id=INVOCATION)
    again = make_bridge()
    run_id = again.attach(invocation_id=INVOCATION)["run_id"]
    assert again.store.run_ids() == [run_id]
    assert again.attach()["run_id"] != run_id, "another invocation that asks the same is a run of its own"


def test_a_conversations_runs_are_found_under_one_key(bridge: Bridge) -> None:
    bridge.register()
    ids = [bridge.attach(fingerprint)["run_id"] for fingerprint in ("f1", "f2")]
    runs = [bridge.store.run(run_id) for run_id in ids]
    bridge.user = "someone else"
    other = bridge.store.run(bridge.attach()["run_id"])
    assert len({run.session_key for run in runs if run}) == 1
    assert other is not None
    assert runs[0] is not None
    assert other.session_key != runs[0].session_key


def test_what_was_done_before_it_let_go_is_replayed(bridge: Bridge) -> None:
    laptop = bridge.register()
    attached = bridge.attach()
    bridge.open(("read", "{}"), attached=attached)
    laptop.post(laptop.claim()[0], "first")
    waiting = bridge.open(("exec", "{}"), attached=attached)
    [call] = laptop.claim()
    assert bridge.ask("plugin", "POST", f"/tickets/{waiting.id}/suspend").body["state"] == "open"
    record(bridge, attached, error="it took too long")
    laptop.post(call, "second")
    again = bridge.attach()
    assert again["run_id"] == attached["run_id"]
    assert [done["results"][0]["output"] for done in again["rounds"]] == ["first", "second"]


def test_what_is_still_open_is_waited_for(bridge: Bridge) -> None:
    laptop = bridge.register()
    attached = bridge.attach()
    waiting = bridge.open(("exec", "{}"), attached=attached)
    bridge.ask("plugin", "POST", f"/tickets/{waiting.id}/suspend")
    record(bridge, attached, error="it took too long")
    again = bridge.attach()
    assert again["open_ticket"]["ticket_id"] == waiting.id
    laptop.post(laptop.claim()[0], "done")
    path = f"/tickets/{waiting.id}?invocation_id={again['invocation_id']}"
    assert bridge.ask("plugin", "GET", path).body["state"] == "resolved"


def test_a_node_that_ended_with_its_calls_goes_on_with_them_when_it_is_asked_again(bridge: Bridge) -> None:
    laptop = bridge.register()
    attached = bridge.attach()
    bridge.open(("exec", "{}"), attached=attached)
    record(bridge, attached, finish_reason="tool_calls", stopped=True)
    laptop.post(laptop.claim()[0], "done")
    again = bridge.attach()
    assert again["run_id"] == attached["run_id"]
    assert [done["results"][0]["output"] for done in again["rounds"]] == ["done"]
    assert again["answer"] is None


def test_the_calls_of_an_invocation_that_failed_are_cancelled(bridge: Bridge) -> None:
    laptop = bridge.register()
    attached = bridge.attach()
    ticket = bridge.open(("exec", "{}"), attached=attached)
    record(bridge, attached, error="the upstream is gone")
    assert laptop.claim() == []
    assert ticket.status()["state"] == "cancelled"


def test_a_plugin_that_was_killed_is_not_waited_for(bridge: Bridge) -> None:
    laptop = bridge.register()
    ticket = bridge.open(("exec", "{}"))
    ticket.status()
    bridge.later(30)
    assert ticket.status()["state"] == "open"
    bridge.later(100)
    assert ticket.status()["state"] == "cancelled"
    assert laptop.claim() == []


@pytest.mark.parametrize("parting", ["suspend", "cancel"])
def test_an_invocation_whose_ticket_a_later_one_took_over_cannot_let_go_of_it(bridge: Bridge, parting: str) -> None:
    laptop = bridge.register()
    former = bridge.attach()
    ticket = bridge.open(("exec", "{}"), attached=former)
    of_former = f"?invocation_id={former['invocation_id']}"
    assert bridge.ask("plugin", "POST", f"/tickets/{ticket.id}/suspend{of_former}").body["state"] == "open"
    later = bridge.attach()
    assert later["open_ticket"]["ticket_id"] == ticket.id
    if parting == "suspend":
        answer = bridge.ask("plugin", "POST", f"/tickets/{ticket.id}/suspend{of_former}")
    else:
        body = {"reason": "closed", "invocation_id": former["invocation_id"]}
        answer = bridge.ask("plugin", "POST", f"/tickets/{ticket.id}/cancel", body)
    assert answer.body["state"] == "cancelled"
    run = bridge.store.run(later["run_id"])
    assert run is not None
    assert run.state == "running"
    assert ticket.status()["state"] == "open"
    laptop.post(laptop.claim()[0], "done")
    assert ticket.status()["state"] == "resolved"


def test_a_plugin_that_was_killed_between_two_tickets_leaves_no_run_behind(bridge: Bridge) -> None:
    laptop = bridge.register()
    ticket = bridge.open(("exec", "{}"))
    laptop.post(laptop.claim()[0], "done")
    assert ticket.status()["state"] == "resolved"

    def state() -> str:
        run = bridge.store.run(bridge.last_attach["run_id"])
        assert run is not None
        return run.state

    bridge.later(600)
    assert state() == "running", "the model may still be at work"
    bridge.later(4000)
    assert state() == "cancelled"


def test_whom_dify_does_not_name_goes_on_with_nobodys_run(bridge: Bridge) -> None:
    laptop = bridge.register()
    attached = bridge.attach(user=None)
    waiting = bridge.open(("exec", "{}"), attached=attached)
    [call] = laptop.claim()
    assert bridge.ask("plugin", "POST", f"/tickets/{waiting.id}/suspend").body["state"] == "open"
    record(bridge, attached, error="it took too long")
    laptop.post(call, "what only one of them may see")
    again = bridge.attach(user=None)
    assert again["run_id"] != attached["run_id"]
    assert again["rounds"] == []
