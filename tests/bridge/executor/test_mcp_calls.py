"""What MCP clients are offered, and what becomes of their calls where nobody looks after them any more."""

import pytest

from bridge.runs.executors.mcp_calls import McpCall
from bridge.runs.executors.registry import OfferedTool, Registration, dify_executor_id
from bridge.store import clock
from bridge.store.rows import ClientRow
from tests.bridge.executor.conftest import EXEC, READ, Bridge, MakeBridge
from tools.definitions import Function

READER = ClientRow("reader", "a", "[]", 0, kind="mcp")
DESK = ClientRow("desk", "b", "[]", 0, kind="mcp", tools='["ex*", "read"]')


def offered(bridge: Bridge, client: ClientRow) -> dict[str, bool]:
    """Return what a client is offered, and whether it is told that it only reads."""
    return {offer.definition.name: offer.read_only for offer in bridge.core.mcp_calls.offers(client)}


def called(bridge: Bridge, client: ClientRow, tool: str, arguments: str = "{}") -> McpCall:
    offer = next(each for each in bridge.core.mcp_calls.offers(client) if each.definition.name == tool)
    return bridge.core.mcp_calls.begin(client, "s\n1", offer, arguments)


def states(bridge: Bridge, call: McpCall) -> tuple[str, str]:
    """Return the states of a call and of its run."""
    run, ticket = bridge.store.run(call.run_id), bridge.store.ticket(call.ticket_id)
    assert run
    assert ticket
    return ticket.calls[0].state, run.state


def test_a_tool_only_reads_where_it_does_so_in_all_executors(bridge: Bridge) -> None:
    bridge.register("laptop", [READ, EXEC])
    assert offered(bridge, READER) == {"read": True}
    assert offered(bridge, DESK) == {"exec": False, "read": True}
    other = bridge.register("other", [READ | {"read_only": False}])
    assert offered(bridge, READER) == {}
    assert offered(bridge, DESK) == {"exec": False, "read": False}
    other.leave()
    assert offered(bridge, READER) == {"read": True}


def test_a_tool_of_dify_of_the_same_name_is_another_offer_and_gets_its_own_calls_alone(bridge: Bridge) -> None:
    laptop = bridge.register("laptop", [READ])
    registration = Registration(name="dify", tools=[OfferedTool(function=Function(name="read"))])
    bridge.core.registry.admit(dify_executor_id("dify"), registration)
    assert offered(bridge, READER) == {"read": True}
    assert offered(bridge, DESK) == {"dify_read": False, "read": True}

    of_laptop, of_dify = called(bridge, READER, "read"), called(bridge, DESK, "dify_read")
    [lease] = bridge.core.leases.claim(dify_executor_id("dify"), 4, 0)
    assert (lease.run_id, lease.call.own_name) == (of_dify.run_id, "read")
    [call] = laptop.claim()
    assert (call["run_id"], call["name"]) == (of_laptop.run_id, "read")


def test_a_result_ends_the_run_although_nobody_waits_for_it(bridge: Bridge) -> None:
    laptop = bridge.register()
    call = called(bridge, READER, "read")
    assert states(bridge, call) == ("ready", "running")
    [leased] = laptop.claim()
    assert laptop.post(leased, "what it says").status == 200
    assert states(bridge, call) == ("resolved", "finished")
    assert bridge.store.events_of_run(call.run_id)[0].actor == "client"


def test_what_is_wrong_with_a_call_ends_its_run_at_once(make_bridge: MakeBridge) -> None:
    bridge = make_bridge('[[rules]]\ntool = "read"\ndirection = "mcp"\naction = "deny"\n')
    bridge.register()
    assert states(bridge, called(bridge, READER, "read")) == ("denied", "finished")


def test_a_call_that_nobody_answers_ends_with_its_ticket(bridge: Bridge) -> None:
    bridge.register()
    call = called(bridge, READER, "read")
    bridge.store.update_run(call.run_id, expires_at=float("inf"))
    bridge.later(bridge.config.limits.ticket_seconds + 1)
    assert states(bridge, call) == ("expired", "cancelled")


@pytest.mark.parametrize("looks", [True, False])
def test_a_call_for_which_nobody_looks_is_cancelled(bridge: Bridge, *, looks: bool) -> None:
    bridge.register()
    call = called(bridge, READER, "read")
    seconds = bridge.config.limits.forsaken_seconds
    bridge.store.update_run(call.run_id, expires_at=clock.now() + 1)
    if looks:
        assert bridge.core.mcp_calls.look(call, 0).state == "open"
    bridge.later(seconds / 2)
    assert states(bridge, call) == (("ready", "running") if looks else ("cancelled", "cancelled"))


def test_rules_name_mcp_and_its_clients(make_bridge: MakeBridge) -> None:
    bridge = make_bridge(
        '[[rules]]\ntool = "exec"\ndirection = "executor"\naction = "allow"\n'
        '[[rules]]\ntool = "read"\napp = "mcp:desk"\naction = "ask"\n'
        '[[rules]]\ntool = "exec"\napp = "mcp:de*"\ndirection = "mcp"\naction = "deny"\n'
    )
    laptop = bridge.register()
    assert states(bridge, called(bridge, DESK, "exec"))[0] == "denied"
    assert states(bridge, called(bridge, DESK, "read"))[0] == "awaiting_approval"
    other = ClientRow("lab", "c", "[]", 0, kind="mcp", tools='["*"]')
    assert states(bridge, called(bridge, other, "exec"))[0] == "awaiting_approval"
    assert laptop.claim() == []
