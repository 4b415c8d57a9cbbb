"""Under which names a model is offered the tools of several places, and where the calls of each go."""

from collections.abc import Sequence

from bridge.runs.executors.registry import OfferedTool, Registration, dify_executor_id
from bridge.runs.requests import Place
from bridge.store.rows import ANYWHERE
from tests.bridge.executor.conftest import EXEC, READ, Bridge
from tools.definitions import Function, ToolDefinition, names_of


def tool(name: str, description: str = "") -> OfferedTool:
    return OfferedTool(function=Function(name=name, description=description))


def of_dify(bridge: Bridge, *names: str, executor: str = "dify") -> None:
    registration = Registration(name=executor, tools=[tool(name) for name in names])
    bridge.core.registry.admit(dify_executor_id(executor), registration)


def places(bridge: Bridge, *client: str) -> dict[str, Place | None]:
    own: Sequence[ToolDefinition] = [tool(name) for name in client]
    catalogue = bridge.core.registry.catalogue(own)
    assert names_of(catalogue.tools)[: len(client)] == list(client)
    return {name: catalogue.places.get(name) for name in names_of(catalogue.tools)}


def test_a_name_that_nobody_else_has_stays(bridge: Bridge) -> None:
    bridge.register("laptop", [EXEC])
    of_dify(bridge, "search")
    assert places(bridge, "write") == {
        "write": None,
        "exec": Place(executor=ANYWHERE, tool="exec"),
        "search": Place(executor="dify", tool="search"),
    }


def test_the_client_s_keeps_its_name_and_the_others_are_named_after_their_executors(bridge: Bridge) -> None:
    bridge.register("my laptop", [READ])
    bridge.register("server", [READ])
    of_dify(bridge, "read")
    assert places(bridge, "read") == {
        "read": None,
        "my_laptop_read": Place(executor="my laptop", tool="read"),
        "server_read": Place(executor="server", tool="read"),
        "dify_read": Place(executor="dify", tool="read"),
    }


def test_several_executors_of_one_tool_are_one_offer_and_a_tool_of_dify_of_that_name_another(bridge: Bridge) -> None:
    bridge.register("one", [READ])
    bridge.register("two", [READ])
    of_dify(bridge, "read")
    of_dify(bridge, "read", executor="other")
    assert places(bridge) == {
        "read": Place(executor=ANYWHERE, tool="read"),
        "dify_read": Place(executor="dify", tool="read"),
        "other_read": Place(executor="other", tool="read"),
    }


def test_no_two_tools_have_one_name_however_the_executors_are_called(bridge: Bridge) -> None:
    bridge.register("a b", [READ])
    bridge.register("a_b", [READ])
    bridge.register("x" * 128, [READ])
    names = list(places(bridge, "read", "a_b_read"))
    assert names[:4] == ["read", "a_b_read", "a_b_read_2", "a_b_read_3"]
    assert all(len(name) <= 128 for name in names)


def test_a_call_under_the_longer_name_goes_to_that_executor_alone_under_its_own(bridge: Bridge) -> None:
    one = bridge.register("one", [READ])
    of_dify(bridge, "read")
    ticket = bridge.open(("dify_read", "{}"), ("read", "{}"))
    [call] = one.claim()
    assert (call["name"], call["tool_call_id"]) == ("read", ticket.calls[1])
    [lease] = bridge.core.leases.claim(dify_executor_id("dify"), 4, 0)
    assert (lease.call.id, lease.call.own_name) == (ticket.calls[0], "read")
    assert one.post(call, "of one").status == 200
    assert ticket.status()["state"] == "open"


def test_no_executor_is_called_as_all_of_them_are(bridge: Bridge) -> None:
    """Calls of its own tool would go to any other that has one of that name."""
    refused = bridge.ask("executor", "POST", "/executors", {"name": "*", "tools": [READ]})
    assert refused.status == 400
    assert "stands for any executor" in refused.body["error"]["message"]
