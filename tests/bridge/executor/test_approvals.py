"""An asked call waits for a person, whose decision binds that call alone."""

from typing import Any

import pytest

from tests.bridge.executor.conftest import Answer, Bridge, Executor, MakeBridge, Ticket

COMMAND = '{"command": "rm -rf build"}'


@pytest.fixture
def bridge(make_bridge: MakeBridge) -> Bridge:
    """A bridge without a policy file."""
    return make_bridge(approval_seconds=100)


@pytest.fixture
def laptop(bridge: Bridge) -> Executor:
    return bridge.register()


@pytest.fixture
def ticket(bridge: Bridge, laptop: Executor) -> Ticket:
    return bridge.open(("exec", COMMAND))


def decide(ticket: Ticket, what: str, number: int = 0, **body: Any) -> Answer:
    return ticket.bridge.ask("operator", "POST", f"/calls/{ticket.calls[number]}/{what}", {"by": "ada"} | body)


def waiting(bridge: Bridge) -> list[str]:
    return [call["id"] for call in bridge.ask("operator", "GET", "/approvals").body["calls"]]


def test_an_asked_call_is_handed_out_only_once_it_is_approved(laptop: Executor, ticket: Ticket) -> None:
    assert waiting(ticket.bridge) == ticket.calls
    assert laptop.claim() == []
    assert decide(ticket, "approve").status == 200
    assert waiting(ticket.bridge) == []
    [call] = laptop.claim()
    assert call["arguments"] == COMMAND
    assert ("operator ada", "approve", "ready") in ticket.events()


def test_a_denied_call_goes_back_to_the_model_with_the_reason(laptop: Executor, ticket: Ticket) -> None:
    assert decide(ticket, "deny", reason="Not on a Friday.").status == 200
    assert laptop.claim() == []
    status = ticket.status()
    assert status["state"] == "resolved"
    assert status["results"][0]["is_error"]
    assert "Not on a Friday." in status["results"][0]["output"]
    assert "Friday" not in str(ticket.bridge.store.events(ticket.id))


def test_edited_arguments_run_and_the_model_is_told(laptop: Executor, ticket: Ticket) -> None:
    assert decide(ticket, "approve", arguments={"command": "ls build"}).status == 200
    [call] = laptop.claim()
    assert call["arguments"] == '{"command": "ls build"}'
    assert laptop.post(call, "empty").status == 200
    assert laptop.post(call, "empty").status == 200
    assert ticket.status()["results"][0]["output"].startswith('(A person changed the arguments to {"command": "ls')
    assert "ls build" not in str(ticket.bridge.store.events(ticket.id))


def test_a_decision_may_be_sent_twice_but_not_changed(ticket: Ticket) -> None:
    assert [decide(ticket, "approve").status for _ in range(2)] == [200, 200]
    denied = decide(ticket, "deny")
    assert (denied.status, denied.code) == (409, "already_decided")
    edited = decide(ticket, "approve", arguments={"command": "ls"})
    assert edited.status == 409


SAME = [{"command": "ls", "n": 1}, {"n": 1, "command": "ls"}]
OTHERS = [
    {"command": "ls", "n": 2},
    {"command": "ls", "n": True},
    {"command": "ls", "n": "1"},
    {"command": "ls"},
    {"command": "rm -rf build"},
    {},
]


@pytest.mark.parametrize("came", ["approved", "leased", "resolved"])
def test_the_same_edit_again_is_the_same_decision_and_another_is_refused(
    laptop: Executor, ticket: Ticket, came: str
) -> None:
    first = decide(ticket, "approve", arguments=SAME[0])
    if came != "approved":
        [call] = laptop.claim()
        if came == "resolved":
            laptop.post(call, "done")
    before = ticket.bridge.store.call(ticket.calls[0])
    for arguments in SAME:
        again = decide(ticket, "approve", arguments=arguments)
        assert (again.status, again.body["arguments"]) == (200, first.body["arguments"])
    for arguments in OTHERS:
        assert decide(ticket, "approve", arguments=arguments).code == "already_decided"
    assert decide(ticket, "approve").code == "already_decided", "these would be the model's own arguments"
    assert decide(ticket, "deny").code == "already_decided"
    assert ticket.bridge.store.call(ticket.calls[0]) == before


def test_the_models_own_arguments_written_out_are_no_edit(laptop: Executor, ticket: Ticket) -> None:
    own = {"command": "rm -rf build"}
    answers = [decide(ticket, "approve", **({"arguments": own} if written else {})) for written in (1, 0, 1)]
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert laptop.claim()[0]["arguments"] == COMMAND


def test_the_same_denial_again_is_no_error(ticket: Ticket) -> None:
    assert [decide(ticket, "deny", reason="no").status for _ in range(2)] == [200, 200]
    assert decide(ticket, "approve").code == "already_decided"
    assert decide(ticket, "approve", arguments={"command": "ls"}).code == "already_decided"


def test_nobody_approves_arguments_that_the_policy_denies(make_bridge: MakeBridge) -> None:
    bridge = make_bridge('[[rules]]\narguments = { command = "sudo *" }\naction = "deny"\n')
    laptop = bridge.register()
    ticket = bridge.open(("exec", COMMAND))
    refused = decide(ticket, "approve", arguments={"command": "sudo ls"})
    assert (refused.status, refused.body["error"]["param"]) == (400, "arguments")
    assert "rule 1" in refused.body["error"]["message"]
    assert waiting(bridge) == ticket.calls
    assert decide(ticket, "approve", arguments={"command": "ls"}).status == 200
    assert laptop.claim()[0]["arguments"] == '{"command": "ls"}'


def test_a_decision_binds_one_call_alone(bridge: Bridge, laptop: Executor) -> None:
    ticket = bridge.open(("exec", COMMAND), ("exec", COMMAND))
    decide(ticket, "approve", 1)
    assert [call["tool_call_id"] for call in laptop.claim()] == ticket.calls[1:]
    later = bridge.open(("exec", COMMAND))
    assert waiting(bridge) == [ticket.calls[0], later.calls[0]]


def test_what_nobody_decides_expires(laptop: Executor, ticket: Ticket) -> None:
    ticket.bridge.later(101)
    assert ticket.status()["state"] == "resolved"
    assert "nobody approved" in ticket.status()["results"][0]["output"]
    assert decide(ticket, "approve").status == 410


def test_nobody_posts_a_result_past_the_approval(laptop: Executor, ticket: Ticket) -> None:
    answer = laptop.post({"lease_id": "none", "tool_call_id": ticket.calls[0]}, "done")
    assert (answer.status, answer.code) == (409, "approval_missing")


def test_reading_needs_no_approval(bridge: Bridge, laptop: Executor) -> None:
    bridge.open(("read", "{}"))
    assert len(laptop.claim()) == 1


def test_only_an_operator_decides(ticket: Ticket) -> None:
    headers = {"Authorization": f"Bearer {ticket.bridge.tokens['executor']}"}
    path = f"/operator/v1/calls/{ticket.calls[0]}/approve"
    assert ticket.bridge.app.test_client().post(path, headers=headers, json={}).status_code == 401


def test_an_unknown_call_cannot_be_decided(bridge: Bridge) -> None:
    assert bridge.ask("operator", "POST", "/calls/callnone/approve", {}).status == 404


def test_a_waiting_approval_outlives_the_bridge(make_bridge: MakeBridge, laptop: Executor, ticket: Ticket) -> None:
    laptop.bridge = ticket.bridge = make_bridge(approval_seconds=100)
    assert decide(ticket, "approve").status == 200
    assert len(laptop.claim()) == 1


def test_the_policy_file_denies_with_its_reason(make_bridge: MakeBridge) -> None:
    bridge = make_bridge('[[rules]]\ntool = "exec"\naction = "deny"\nreason = "No shell here."\n')
    bridge.register()
    ticket = bridge.open(("exec", "{}"))
    assert "No shell here." in ticket.again()["results"][0]["output"]
    assert ("bridge", "deny", "denied") in ticket.events()


def test_content_is_in_the_audit_trail_only_when_that_is_asked_for(make_bridge: MakeBridge) -> None:
    bridge = make_bridge(log_content=True)
    bridge.register()
    ticket = bridge.open(("exec", COMMAND))
    decide(ticket, "approve", arguments={"command": "ls build"})
    assert "ls build" in str(bridge.store.events(ticket.id))


def test_the_same_call_with_the_same_result_again_and_again_is_stopped(make_bridge: MakeBridge) -> None:
    bridge = make_bridge(identical_calls=3)
    laptop = bridge.register()
    attached = bridge.attach()
    for _ in range(3):
        bridge.open(("read", '{"path": "a", "x": 1}'), attached=attached)
        laptop.post(laptop.claim()[0], "the same")
    looped = bridge.open(("read", '{"x":1,"path":"a"}'), attached=attached)
    assert laptop.claim() == []
    assert "made 3 times" in looped.status()["results"][0]["output"]
    still = bridge.open(("read", '{"path": "a", "x": 1}'), attached=attached)
    assert "made 3 times" in still.status()["results"][0]["output"]
    other = bridge.open(("read", '{"path": "b"}'), attached=attached)
    assert laptop.claim()[0]["tool_call_id"] == other.calls[0]


def test_a_run_has_a_cap_on_its_calls(make_bridge: MakeBridge) -> None:
    bridge = make_bridge(calls_per_run=2)
    bridge.register()
    attached = bridge.attach()
    bridge.open(("read", "{}"), ("read", "{}"), attached=attached)
    assert bridge.open(("read", "{}"), attached=attached).again()["state"] == "expired"


def test_operators_see_tickets_executors_and_what_happened(bridge: Bridge, ticket: Ticket) -> None:
    [shown] = bridge.ask("operator", "GET", "/tickets").body["tickets"]
    assert shown["calls"][0]["state"] == "awaiting_approval"
    assert bridge.ask("operator", "GET", "/tickets?state=resolved").body["tickets"] == []
    assert bridge.ask("operator", "GET", "/tickets?state=some").status == 400
    assert bridge.ask("operator", "GET", f"/tickets/{ticket.id}").body["events"][0]["event"] == "open"
    assert bridge.ask("operator", "GET", "/tickets/none").status == 404
    [executor] = bridge.ask("operator", "GET", "/executors").body["executors"]
    assert (executor["name"], executor["present"], executor["tools"]) == ("laptop", True, ["read", "exec"])
    run_id = shown["run_id"]
    assert len(bridge.ask("operator", "GET", f"/runs/{run_id}/events").body["events"]) == 2
