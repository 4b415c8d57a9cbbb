"""What was allowed is what runs: a call goes only to an executor that may have it when it asks for it."""

import threading
from typing import Any

import pytest

from tests.bridge.executor.conftest import EXEC, READ, Answer, Bridge, Executor, MakeBridge, Ticket

LOOK: dict[str, Any] = {"type": "function", "function": {"name": "look", "description": "looks"}}
ON_PROD = '[[rules]]\nexecutor = "prod*"\naction = "{action}"\nreason = "not on prod"\n\n[[rules]]\naction = "allow"\n'


def state(ticket: Ticket, number: int = 0) -> str:
    found = ticket.bridge.store.call(ticket.calls[number])
    assert found
    return str(found[1].state)


def decide(ticket: Ticket, what: str, **body: Any) -> Answer:
    return ticket.bridge.ask("operator", "POST", f"/calls/{ticket.calls[0]}/{what}", {"by": "ada"} | body)


def steps(ticket: Ticket) -> list[str]:
    return [event for _, event, _ in ticket.events()]


@pytest.fixture
def denied(make_bridge: MakeBridge) -> Bridge:
    """A bridge that denies everything on prod, and allows it elsewhere."""
    return make_bridge(ON_PROD.format(action="deny"), executor_seconds=1)


@pytest.fixture
def asked(make_bridge: MakeBridge) -> Bridge:
    """A bridge that asks a person about everything on prod, and allows it elsewhere."""
    return make_bridge(ON_PROD.format(action="ask"))


# Who comes later


def test_a_call_that_was_allowed_for_one_is_not_handed_to_another_for_which_it_is_denied(denied: Bridge) -> None:
    laptop = denied.register("laptop1")
    ticket = denied.open(("exec", "{}"))
    laptop.leave()
    prod = denied.register("prod1")
    assert prod.claim() == []
    assert state(ticket) == "ready"
    laptop = denied.register("laptop1")
    assert len(laptop.claim()) == 1


def test_it_is_denied_once_nobody_else_has_come_for_a_while(denied: Bridge) -> None:
    laptop = denied.register("laptop1")
    ticket = denied.open(("exec", "{}"))
    laptop.leave()
    prod = denied.register("prod1")
    assert prod.claim() == []
    threading.Event().wait(1.1)
    assert prod.claim() == []
    status = ticket.status()
    assert status["state"] == "resolved"
    assert "not on prod" in status["results"][0]["output"]
    assert status["results"][0]["is_error"]
    assert steps(ticket) == ["open", "allow", "recall", "deny", "settle"]


def test_a_person_is_asked_about_an_executor_that_comes_later(asked: Bridge) -> None:
    laptop = asked.register("laptop1")
    ticket = asked.open(("exec", "{}"))
    laptop.leave()
    prod = asked.register("prod1")
    assert prod.claim() == []
    assert state(ticket) == "awaiting_approval"
    assert decide(ticket, "approve").status == 200
    [call] = prod.claim()
    assert prod.post(call, "done").status == 200
    assert steps(ticket)[:5] == ["open", "allow", "recall", "ask", "approve"]


def test_a_call_that_awaits_an_approval_goes_to_one_that_needs_none(asked: Bridge) -> None:
    prod = asked.register("prod1")
    ticket = asked.open(("exec", "{}"))
    assert prod.claim() == []
    laptop = asked.register("laptop1")
    [call] = laptop.claim()
    assert call["tool_call_id"] == ticket.calls[0]
    assert decide(ticket, "deny").status == 409
    assert steps(ticket) == ["open", "ask", "allow", "claim"]


@pytest.mark.parametrize("action", ["deny", "ask"])
def test_of_those_that_are_there_only_one_that_may_gets_it(make_bridge: MakeBridge, action: str) -> None:
    bridge = make_bridge(ON_PROD.format(action=action))
    prod, laptop = bridge.register("prod1"), bridge.register("laptop1", concurrency=1)
    ticket = bridge.open(("exec", '{"n": 1}'), ("exec", '{"n": 2}'))
    assert prod.claim() == []
    [first] = laptop.claim()
    assert laptop.claim() == prod.claim() == [], "the other call waits until laptop1 has room"
    laptop.post(first, "done")
    [second] = laptop.claim()
    assert [first["tool_call_id"], second["tool_call_id"]] == ticket.calls


def test_a_lost_lease_does_not_lead_to_another_executor_that_may_not(denied: Bridge) -> None:
    laptop, prod = denied.register("laptop1"), denied.register("prod1")
    denied.open(("exec", "{}"))
    [call] = laptop.claim()
    denied.later(61)
    assert prod.claim() == []
    laptop.ask("heartbeat", {})
    assert laptop.claim()[0]["tool_call_id"] == call["tool_call_id"]


# What is said of a tool changes


def test_a_tool_that_does_not_only_read_any_more_asks(make_bridge: MakeBridge) -> None:
    bridge = make_bridge()
    laptop = bridge.register(tools=[LOOK | {"read_only": True}])
    ticket = bridge.open(("look", "{}"))
    laptop.ask("heartbeat", {"tools": [LOOK]})
    assert laptop.claim() == []
    assert state(ticket) == "awaiting_approval"
    laptop.ask("heartbeat", {"tools": [LOOK | {"read_only": True}]})
    assert len(laptop.claim()) == 1


def test_a_reader_gets_what_a_writer_does_not(make_bridge: MakeBridge) -> None:
    bridge = make_bridge()
    writer, reader = bridge.register("writer", [LOOK]), bridge.register("reader", [LOOK | {"read_only": True}])
    bridge.open(("look", "{}"))
    assert writer.claim() == []
    assert len(reader.claim()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"read_only": True, "function": LOOK["function"] | {"parameters": {"type": "object", "required": ["x"]}}},
        {"function": LOOK["function"] | {"parameters": {"type": "object", "properties": {"all": {}}}}},
    ],
)
def test_an_approval_is_for_the_tool_as_it_was(make_bridge: MakeBridge, change: dict[str, Any]) -> None:
    bridge = make_bridge('[[rules]]\naction = "ask"\n')
    laptop = bridge.register(tools=[LOOK])
    ticket = bridge.open(("look", "{}"))
    decide(ticket, "approve")
    laptop.ask("heartbeat", {"tools": [LOOK | change]})
    assert laptop.claim() == []
    assert state(ticket) == "awaiting_approval"
    assert decide(ticket, "approve").status == 200
    assert len(laptop.claim()) == 1


def test_another_description_of_a_tool_takes_no_approval_away(make_bridge: MakeBridge) -> None:
    bridge = make_bridge('[[rules]]\naction = "ask"\n')
    laptop = bridge.register(tools=[LOOK])
    ticket = bridge.open(("look", "{}"))
    decide(ticket, "approve")
    other = LOOK["function"] | {"description": "looks closely"}
    laptop.ask("heartbeat", {"tools": [LOOK | {"function": other}]})
    assert len(laptop.claim()) == 1


# What a person said


def test_an_approval_counts_for_the_executors_that_it_was_asked_about(make_bridge: MakeBridge) -> None:
    bridge = make_bridge()
    laptop = bridge.register("laptop1", [EXEC])
    ticket = bridge.open(("exec", "{}"))
    later = bridge.register("later", [EXEC])
    assert decide(ticket, "approve").body["executors"] == ["laptop1"]
    assert later.claim() == []
    assert state(ticket) == "ready"
    laptop.leave()
    assert later.claim() == []
    assert state(ticket) == "awaiting_approval"
    # Whom it was granted for before may still have it.
    again = bridge.register("laptop1", [EXEC])
    assert len(again.claim()) == 1


def test_edited_arguments_are_granted_to_nobody_but_whom_the_edit_was_about(make_bridge: MakeBridge) -> None:
    bridge = make_bridge()
    laptop = bridge.register("laptop1", [EXEC])
    ticket = bridge.open(("exec", '{"command": "a"}'))
    decide(ticket, "approve")
    laptop.leave()
    other = bridge.register("other", [EXEC])
    assert other.claim() == []
    decide(ticket, "approve", arguments={"command": "b"})
    laptop = bridge.register("laptop1", [EXEC])
    assert laptop.claim() == []
    [call] = other.claim()
    assert call["arguments"] == '{"command": "b"}'


def test_a_policy_that_came_since_denies_what_a_person_approved(make_bridge: MakeBridge) -> None:
    bridge = make_bridge()
    laptop = bridge.register()
    ticket = bridge.open(("exec", "{}"))
    decide(ticket, "approve")
    stricter = make_bridge('[[rules]]\ntool = "exec"\naction = "deny"\nreason = "no more"\n')
    laptop.bridge = ticket.bridge = stricter
    assert laptop.claim() == []


def test_calls_that_nobody_here_may_have_do_not_keep_others_waiting(denied: Bridge) -> None:
    laptop, prod = denied.register("laptop1", [EXEC]), denied.register("prod1", [EXEC, LOOK])
    reader = denied.register("reader", [READ])
    for number in range(4):
        denied.open(*[("exec", f'{{"n": {number * 16 + n}}}') for n in range(16)])
    ticket = denied.open(("read", "{}"))
    assert prod.claim(most=1) == []
    assert [call["tool_call_id"] for call in reader.claim(most=1)] == ticket.calls
    assert len(laptop.claim(most=1)) == 1


# Leases


@pytest.fixture
def two(bridge: Bridge) -> tuple[Executor, Executor, Ticket, dict[str, Any]]:
    """An executor with a call, and another one."""
    holder, thief = bridge.register("holder"), bridge.register("thief")
    ticket = bridge.open(("exec", "{}"))
    [call] = holder.claim()
    return holder, thief, ticket, call


def test_a_lease_works_for_nobody_but_who_holds_it(two: tuple[Executor, Executor, Ticket, dict[str, Any]]) -> None:
    holder, thief, ticket, call = two
    assert (stolen := thief.post(call, "forged")).status == 409
    assert stolen.code == "lease_lost"
    assert thief.ask("extend", {"leases": [call["lease_id"]]}).body == {"until": {}, "lost": [call["lease_id"]]}
    assert thief.ask("let_go", {"leases": [call["lease_id"]]}).status == 200
    assert state(ticket) == "leased"
    assert holder.post(call, "done").status == 200
    assert thief.post(call, "done").status == 409, "not even the same result"
    assert holder.post(call, "done").status == 200
    assert ticket.status()["results"][0]["output"] == "done"


@pytest.mark.parametrize("lease", ["", "none", "None", "null"])
def test_a_call_that_nobody_holds_takes_no_result(bridge: Bridge, lease: str) -> None:
    laptop = bridge.register()
    ticket = bridge.open(("exec", "{}"))
    call = {"lease_id": lease, "tool_call_id": ticket.calls[0]}
    assert laptop.post(call, "forged").code == "lease_lost"
    assert len(laptop.claim()) == 1
    assert laptop.post(call, "forged").code == "lease_lost"


def test_a_lease_that_is_over_works_only_for_who_had_it_and_only_while_it_is_the_newest(
    two: tuple[Executor, Executor, Ticket, dict[str, Any]],
) -> None:
    holder, thief, ticket, call = two
    ticket.bridge.later(61)
    assert thief.post(call, "forged").code == "lease_lost"
    thief.ask("heartbeat", {})
    [again] = thief.claim()
    ticket.bridge.later(61)
    holder.ask("heartbeat", {})
    assert holder.post(call, "too late").code == "lease_lost"
    assert thief.post(again, "late, but done").status == 200


def test_what_was_given_back_takes_no_result(two: tuple[Executor, Executor, Ticket, dict[str, Any]]) -> None:
    holder, _, ticket, call = two
    holder.ask("let_go", {"leases": [call["lease_id"]]})
    assert holder.post(call, "done after all").code == "lease_lost"
    assert state(ticket) == "ready"


def test_a_lease_on_one_call_answers_no_other(bridge: Bridge) -> None:
    laptop = bridge.register()
    bridge.open(("exec", '{"n": 1}'), ("exec", '{"n": 2}'))
    first, second = laptop.claim()
    assert laptop.post(first | {"lease_id": second["lease_id"]}, "x").code == "lease_lost"


def test_an_executor_that_takes_over_a_name_takes_over_no_lease(
    two: tuple[Executor, Executor, Ticket, dict[str, Any]],
) -> None:
    holder, _, ticket, call = two
    other = ticket.bridge.register("holder")
    assert other.post(call, "forged").code == "lease_lost"
    assert holder.post(call, "done").code == "executor_unknown"
    assert state(ticket) == "ready"
