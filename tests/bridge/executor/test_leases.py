"""A call is handed to one executor at a time, again after a lost lease, and its result is accepted once."""

import os
import threading
import time
from typing import Any

import pytest

from bridge.app import stop
from tests.bridge.executor.conftest import EXEC, READ, Bridge, MakeBridge


def test_an_invocation_of_no_client_gets_the_executors_tools(bridge: Bridge) -> None:
    assert bridge.attach()["run_id"] is None
    bridge.register()
    attached = bridge.attach()
    assert attached["run_id"]
    assert attached["messages"] == []
    assert [tool["function"]["name"] for tool in attached["tools"]] == ["exec", "read"]


def test_a_call_goes_to_an_executor_and_its_result_to_the_plugin(bridge: Bridge) -> None:
    laptop = bridge.register()
    ticket = bridge.open(("read", '{"path": "a"}'))
    [call] = laptop.claim()
    assert (call["name"], call["arguments"], call["tool_call_id"]) == ("read", '{"path": "a"}', ticket.calls[0])
    assert laptop.claim() == []
    assert laptop.post(call, "content of a").status == 200
    status = ticket.status()
    assert status["state"] == "resolved"
    assert status["results"][0]["output"] == "content of a"


def test_every_step_is_in_the_audit_trail(bridge: Bridge) -> None:
    laptop = bridge.register()
    ticket = bridge.open(("read", '{"path": "secret name"}'))
    [call] = laptop.claim()
    laptop.ask("extend", {"leases": [call["lease_id"]]})
    laptop.post(call, "secret content")
    assert ticket.events() == [
        ("plugin", "open", "open"),
        ("bridge", "allow", "ready"),
        ("executor laptop", "claim", "leased"),
        ("executor laptop", "extend", "leased"),
        ("executor laptop", "resolve", "resolved"),
        ("bridge", "settle", "resolved"),
    ]
    assert "secret" not in str(bridge.store.events(ticket.id))


def test_the_same_result_again_is_accepted_and_another_one_refused(bridge: Bridge) -> None:
    laptop = bridge.register()
    ticket = bridge.open(("read", "{}"))
    [call] = laptop.claim()
    assert [laptop.post(call, "one").status for _ in range(2)] == [200, 200]
    refused = laptop.post(call, "two")
    assert (refused.status, refused.code) == (409, "result_conflict")
    assert ticket.status()["results"][0]["output"] == "one"


def test_partial_results_are_kept_until_the_last_one_is_in(bridge: Bridge) -> None:
    laptop = bridge.register()
    ticket = bridge.open(("read", "{}"), ("exec", "{}"))
    first, second = laptop.claim()
    assert laptop.post(first, "1").body["tickets"][0]["missing"] == [second["tool_call_id"]]
    assert ticket.status()["state"] == "open"
    laptop.post(second, "2", is_error=True)
    assert [result["is_error"] for result in ticket.status()["results"]] == [False, True]


def test_a_lost_lease_is_handed_out_again_with_the_same_id(bridge: Bridge) -> None:
    laptop, server = bridge.register("laptop"), bridge.register("server")
    ticket = bridge.open(("exec", "{}"))
    [lost] = laptop.claim()
    assert server.claim() == []
    bridge.later(61)
    server.ask("heartbeat", {})
    [again] = server.claim()
    assert again["tool_call_id"] == lost["tool_call_id"]
    assert again["handout"] == 2
    late = laptop.post(lost, "late")
    assert (late.status, late.code) == (409, "lease_lost")
    assert server.post(again, "done").status == 200
    assert ticket.status()["results"][0]["output"] == "done"


def test_a_late_result_counts_while_nobody_else_has_the_call(bridge: Bridge) -> None:
    laptop = bridge.register()
    ticket = bridge.open(("exec", "{}"))
    [lost] = laptop.claim()
    bridge.later(61)
    assert laptop.post(lost, "late, but done").status == 200
    assert ticket.status()["state"] == "resolved"


def test_a_lease_is_extended_while_the_call_runs(bridge: Bridge) -> None:
    laptop = bridge.register()
    bridge.open(("exec", "{}"))
    [call] = laptop.claim()
    extended = laptop.ask("extend", {"leases": [call["lease_id"], "unknown"]}).body
    assert extended["lost"] == ["unknown"]
    assert extended["until"][call["lease_id"]] >= call["leased_until"]


def test_what_an_executor_lets_go_or_leaves_behind_is_handed_out_again(bridge: Bridge) -> None:
    laptop, server = bridge.register("laptop"), bridge.register("server")
    bridge.open(("exec", "{}"))
    [call] = laptop.claim()
    laptop.ask("let_go", {"leases": [call["lease_id"]]})
    [call] = laptop.claim()
    laptop.leave()
    [again] = server.claim()
    assert again["tool_call_id"] == call["tool_call_id"]


def test_a_call_is_not_handed_out_without_end(make_bridge: MakeBridge) -> None:
    bridge = make_bridge('[[rules]]\naction = "allow"\n', handouts=2)
    laptop = bridge.register()
    ticket = bridge.open(("exec", "{}"))
    for _ in range(2):
        assert len(laptop.claim()) == 1
        bridge.later(61)
    assert laptop.claim() == []
    [result] = ticket.status()["results"]
    assert result["is_error"]
    assert "handed out 2 times" in result["output"]


def test_no_executor_gets_more_than_it_can_take(bridge: Bridge) -> None:
    laptop = bridge.register(concurrency=2)
    bridge.open(*[("exec", f'{{"n": {n}}}') for n in range(5)])
    first = laptop.claim()
    assert len(first) == 2
    assert laptop.claim() == []
    laptop.post(first[0], "done")
    assert len(laptop.claim()) == 1


def test_a_call_waits_for_an_executor_that_has_its_tool(bridge: Bridge) -> None:
    reader = bridge.register("reader", [READ])
    runner = bridge.register("runner", [READ, EXEC], patterns=["exec"])
    bridge.open(("read", "{}"), ("exec", "{}"))
    assert [call["name"] for call in runner.claim()] == ["exec"]
    assert [call["name"] for call in reader.claim()] == ["read"]


def test_of_two_that_ask_the_more_exact_one_is_given_the_call(bridge: Bridge) -> None:
    anyone, exact = bridge.register("anyone"), bridge.register("exact", patterns=["ex*"])
    claimed: dict[str, list[object]] = {}
    asking = [
        threading.Thread(target=lambda name=name, who=who: claimed.update({name: who.claim(wait=1.5)}))
        for name, who in (("anyone", anyone), ("exact", exact))
    ]
    for thread in asking:
        thread.start()
    attached = bridge.attach()
    leases = bridge.app.extensions["clawback"].leases
    while len(leases.waiting) < 2:
        threading.Event().wait(0.01)
    bridge.open(("exec", "{}"), attached=attached)
    for thread in asking:
        thread.join()
    assert {name: len(calls) for name, calls in claimed.items()} == {"anyone": 0, "exact": 1}


def test_a_claim_ends_as_soon_as_there_is_a_call(bridge: Bridge) -> None:
    laptop = bridge.register()
    claimed: list[object] = []
    asking = threading.Thread(target=lambda: claimed.extend(laptop.claim(wait=30)))
    asking.start()
    bridge.open(("exec", "{}"))
    asking.join(20)
    assert len(claimed) == 1


def test_an_executor_that_registers_again_takes_over_its_name(bridge: Bridge) -> None:
    old = bridge.register()
    bridge.open(("exec", "{}"))
    [call] = old.claim()
    new = bridge.register()
    assert old.ask("claim", {}).code == "executor_unknown"
    assert new.claim()[0]["tool_call_id"] == call["tool_call_id"]


def test_an_absent_executor_offers_nothing(make_bridge: MakeBridge) -> None:
    bridge = make_bridge(executor_seconds=1)
    bridge.register()
    threading.Event().wait(1.1)
    assert bridge.attach()["run_id"] is None


def test_an_executor_may_offer_other_tools_later(bridge: Bridge) -> None:
    laptop = bridge.register(tools=[READ])
    laptop.ask("heartbeat", {"tools": [EXEC]})
    assert [tool["function"]["name"] for tool in bridge.attach()["tools"]] == ["exec"]


def test_leases_and_tickets_outlive_the_bridge(make_bridge: MakeBridge) -> None:
    policy = '[[rules]]\naction = "allow"\n'
    bridge = make_bridge(policy)
    laptop = bridge.register()
    ticket = bridge.open(("exec", "{}"))
    [call] = laptop.claim()
    laptop.bridge = ticket.bridge = make_bridge(policy)
    assert laptop.claim() == []
    assert laptop.post(call, "done").status == 200
    assert ticket.status()["state"] == "resolved"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "", "tools": []}, "name"),
        ({"name": "x", "tools": [READ, READ]}, None),
        ({"name": "x", "tools": [], "concurrency": 0}, "concurrency"),
        ({"name": "x"}, "tools"),
    ],
)
def test_a_registration_that_cannot_work_is_refused(bridge: Bridge, body: object, param: str | None) -> None:
    answer = bridge.ask("executor", "POST", "/executors", body)
    assert answer.status == 400
    assert answer.body["error"]["param"] == param


def test_results_of_unknown_calls_and_too_large_ones_are_refused(make_bridge: MakeBridge) -> None:
    bridge = make_bridge('[[rules]]\naction = "allow"\n', result_bytes=2000, image_bytes=2000)
    laptop = bridge.register()
    bridge.open(("read", "{}"))
    [call] = laptop.claim()
    assert laptop.post(call | {"tool_call_id": "callunknown"}, "x").status == 404
    assert laptop.post(call, "x" * 2001).status == 413
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 2000}}
    assert laptop.post(call, [image]).status == 413
    assert laptop.post(call, [{"type": "audio"}]).status == 400
    assert laptop.post(call, "x").status == 200


def test_a_long_result_reaches_the_model_shortened(make_bridge: MakeBridge) -> None:
    bridge = make_bridge('[[rules]]\naction = "allow"\n', result_characters=1000)
    laptop = bridge.register()
    ticket = bridge.open(("read", "{}"))
    [call] = laptop.claim()
    output = "x" * 5000
    assert laptop.post(call, output).status == 200
    assert "4000 of 5000 characters were cut out" in ticket.status()["results"][0]["output"]
    assert laptop.post(call, output).status == 200
    assert laptop.post(call, output + "y").status == 409


def test_images_of_a_result_reach_the_plugin(bridge: Bridge) -> None:
    laptop = bridge.register()
    ticket = bridge.open(("read", "{}"))
    [call] = laptop.claim()
    url = "data:image/png;base64,iVBORw0KGgo="
    laptop.post(call, [{"type": "text", "text": "a picture"}, {"type": "image_url", "image_url": {"url": url}}])
    [result] = ticket.status()["results"]
    assert (result["output"], result["images"]) == ("a picture", [url])


COUNT = {
    "type": "function",
    "function": {"name": "count", "parameters": {"type": "object", "properties": {"to": {"type": "integer"}}}},
}


def test_arguments_that_do_not_fit_go_back_to_the_model_and_not_to_the_executor(bridge: Bridge) -> None:
    laptop = bridge.register(tools=[COUNT])
    ticket = bridge.open(("count", '{"to": "far"}'), ("count", '{"to": "7"}'))
    [call] = laptop.claim()
    assert (call["tool_call_id"], call["arguments"]) == (ticket.calls[1], '{"to": 7}')
    laptop.post(call, "counted")
    refused, run = ticket.status()["results"]
    assert "to must be an integer, not a string" in refused["output"]
    assert (refused["is_error"], run["output"]) == (True, "counted")


def test_a_run_that_cannot_be_swept_keeps_no_other_waiting_and_is_logged_once(
    bridge: Bridge, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge.register()
    runs = [bridge.attach(f"f{number}")["run_id"] for number in range(3)]
    cancel = bridge.core.runs.cancel

    def failing(run_id: str, reason: str) -> None:
        if run_id == runs[0]:
            raise KeyError("what nobody thought of")
        cancel(run_id, reason)

    monkeypatch.setattr(bridge.core.runs, "cancel", failing)
    for _ in range(3):
        bridge.later(bridge.config.limits.run_seconds + 1)
    assert [bridge.store.run(run).state for run in runs] == ["running", "cancelled", "cancelled"]  # type: ignore[union-attr]
    logged = [record for record in caplog.records if record.name == "clawback.sweeper" and record.exc_info]
    assert len(logged) == 1
    monkeypatch.undo()
    bridge.later(bridge.config.limits.run_seconds + 1)
    assert bridge.store.run(runs[0]).state == "cancelled"  # type: ignore[union-attr]


def test_a_claim_that_waits_is_answered_when_the_bridge_stops(bridge: Bridge) -> None:
    laptop = bridge.register()
    claimed: list[object] = []
    waiting = threading.Thread(target=lambda: claimed.append(laptop.claim(wait=30)), daemon=True)
    waiting.start()
    until = time.monotonic() + 20
    while not bridge.core.leases.waiting and time.monotonic() < until:
        time.sleep(0.01)
    stop(bridge.app)
    waiting.join(15)
    assert claimed == [[]]
    assert laptop.claim(wait=30) == [], "nobody begins to wait any more"


@pytest.mark.parametrize("what", ["claim", "extend", "results", "let_go"])
def test_changes_of_many_runs_wait_for_the_disk_together(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    laptop, disk, reach = bridge.register(concurrency=20), bridge.store._disk, os.fdatasync
    assert disk is not None
    for number in range(20):
        bridge.open(("read", "{}"), attached=bridge.attach(f"f{number}"))
    calls = [] if what == "claim" else laptop.claim(20)
    times = 0

    def sync(file: int) -> None:
        nonlocal times
        times, until = times + 1, time.monotonic() + 0.3
        while disk._written - disk._synced < 2 and time.monotonic() < until:
            time.sleep(0.001)
        reach(file)

    monkeypatch.setattr(os, "fdatasync", sync)
    leases = [call["lease_id"] for call in calls]
    results = [{"lease_id": call["lease_id"], "tool_call_id": call["tool_call_id"], "output": "x"} for call in calls]
    bodies: dict[str, Any] = {
        "claim": {"max": 20},
        "extend": {"leases": leases},
        "results": {"results": results},
        "let_go": {"leases": leases},
    }
    answer = laptop.ask(what, bodies[what])
    assert answer.status == 200
    assert times < 15
    told = {"claim": "calls", "extend": "until", "results": "tickets"}
    assert what == "let_go" or len(answer.body[told[what]]) == 20
