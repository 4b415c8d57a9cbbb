"""Every imitated vendor through everything a turn can be, streamed and whole, with the real plugin process.

What an upstream refuses is either known of its vendor (the form names it) or learned from the refusal (a gateway, of
which nothing is known): the turn ends well in both cases, and what is learned is asked for once.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from demo.scripted.quirks import OVERLOOKED, TRAITS, WRITTEN, thought_of
from demo.scripted.vendors import QUIRKS, VENDORS
from provider.upstream.lessons import KNOWN
from provider.upstream.vendors import vendor_named
from tests.provider.bridge_server import Bridge, wait_until
from tests.provider.conftest import Dify, run_of
from tools.definitions import Function, ToolDefinition
from tools.results import ToolResult
from tools.wire import AttachResponse, TicketStatus

Log = Callable[[], list[dict[str, Any]]]
Turn = Callable[[Dify, Bridge, Log], None]

ENTRIES = {"lm-studio": "lm_studio", "openai-reasoning": "openai", "azure": "openai"}
"""The provider's entries for vendors that have another name there."""

READ, WRITE = '!call read {"path": "a"}', '!call exec {"cmd": "ls"}'
ONE = f"{READ}\n!then\n!say Done."
PARALLEL = f"!say I look.\n{READ}\n{WRITE}\n!then\n!say Done.\n!delta 3"
THREE = "\n!then\n".join([READ, WRITE, READ, "!say Done."])
PICTURE = "data:image/png;base64,aGk="

_refused: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def count() -> Iterator[None]:
    """Print how often each vendor had to refuse something."""
    yield
    print("\nrefused and written otherwise:", dict(_refused))  # noqa: T201


def answered(dify: Dify, bridge: Bridge, script: str, *, rounds: int, run: AttachResponse | None = None) -> str:
    """The text of a turn whose tools answer at once."""
    before = len(bridge.tickets)
    bridge.answers["user1"] = run or run_of(script, "read", "exec")
    running = dify.start(script)
    for number in range(before, before + rounds):
        wait_until(lambda number=number: len(bridge.tickets) > number or not running.thread.is_alive())
        assert len(bridge.tickets) > number, running.told.error
        bridge.settle(bridge.wait_ticket(number), outputs=["A", "B"])
    told = running.end()
    assert told.error is None
    return told.text.rpartition("</think>\n\n")[2]


def calls_of(bridge: Bridge) -> list[list[tuple[str, Any]]]:
    tickets = bridge.tickets.values()
    return [[(call.name, json.loads(call.arguments)) for call in ticket.request.calls] for ticket in tickets]


READS, EXECS = ("read", {"path": "a"}), ("exec", {"cmd": "ls"})


def one_call(dify: Dify, bridge: Bridge, log: Log) -> None:
    assert answered(dify, bridge, ONE, rounds=1) == "Done."
    assert calls_of(bridge) == [[READS]]


def parallel_calls(dify: Dify, bridge: Bridge, log: Log) -> None:
    assert answered(dify, bridge, PARALLEL, rounds=1).endswith("Done.")
    assert calls_of(bridge) == [[READS, EXECS]]


def three_rounds(dify: Dify, bridge: Bridge, log: Log) -> None:
    assert answered(dify, bridge, THREE, rounds=3) == "Done."
    assert calls_of(bridge) == [[READS], [EXECS], [READS]]


def images_in_results(dify: Dify, bridge: Bridge, log: Log) -> None:
    bridge.answers["user1"] = run_of(ONE, "read", "exec")
    running = dify.start(ONE)
    ticket = bridge.wait_ticket()
    [call] = ticket.request.calls
    seen = ToolResult(tool_call_id=call.id, output="A picture.", images=[PICTURE])
    with bridge.changed:
        ticket.status = TicketStatus(ticket_id=ticket.status.ticket_id, state="resolved", results=[seen])
        bridge.changed.notify_all()
    told = running.end()
    assert told.error is None
    assert told.text.endswith("Done.")
    sent = json.dumps(log()[-1]["request"])
    assert "A picture." in sent
    assert "image_url" in sent or "cannot see" in sent


def suspension_and_replay(dify: Dify, bridge: Bridge, log: Log) -> None:
    """The node lets go in its second round, and a second try goes on from both."""
    script = "\n!then\n".join([READ, WRITE, "!say Done."])
    run = bridge.answers["user1"] = run_of(script, "read", "exec")
    running = dify.start(script, model_parameters={"callback_wait_seconds": 1})
    first = bridge.wait_ticket()
    bridge.settle(first, outputs=["A"])
    second = bridge.wait_ticket(1)
    told = running.end()
    assert told.error
    assert "suspended" in told.error[1]
    asked = len(log())
    request = first.request
    done = {"content": request.content, "calls": request.calls, "results": first.status.results}
    left = {"ticket_id": second.status.ticket_id, "calls": second.request.calls}
    again = {
        **run.model_dump(),
        "rounds": [done | {"reasoning": request.reasoning}],
        "open_ticket": left | {"content": second.request.content, "reasoning": second.request.reasoning},
    }
    bridge.answers["user1"] = AttachResponse.model_validate(again, from_attributes=True)
    running = dify.start(script)
    wait_until(lambda: len(bridge.attached) == 2)
    bridge.settle(second, outputs=["B"])
    told = running.end()
    assert told.error is None
    assert told.text.endswith("Done.")
    assert calls_of(bridge) == [[READS], [EXECS]]
    assert [entry["status"] for entry in log()[asked:] if entry["answer"].get("content")] == [200]


def second_turn(dify: Dify, bridge: Bridge, log: Log) -> None:
    """The client sends its history, with call ids of its own and without any thought."""
    call = {"id": "toolu_0123456789abcdef", "type": "function", "function": {"name": "read", "arguments": "{}"}}
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Read it."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "A"},
        {"role": "assistant", "content": "It says A."},
        {"role": "user", "content": ONE},
    ]
    run = run_of(ONE, "read", "exec").model_copy(update={"messages": history, "turn": 5})
    assert answered(dify, bridge, ONE, rounds=1, run=run) == "Done."


def agent_node(dify: Dify, bridge: Bridge, log: Log) -> None:
    """Dify's Agent node knows a thought only as text in a think block."""
    tool = {"name": "read", "description": "Reads.", "parameters": {"type": "object", "properties": {}}}
    first = dify.invoke(ONE, tools=[tool])
    assert first.error is None
    assert [(call["name"], json.loads(call["arguments"])) for call in first.calls] == [READS]
    call = first.last["message"]["tool_calls"][0]
    prompt = [
        {"role": "user", "content": ONE},
        {"role": "assistant", "content": first.text, "tool_calls": [call]},
        {"role": "tool", "content": "it", "tool_call_id": call["id"]},
    ]
    told = dify.invoke(prompt, tools=[tool])
    assert told.error is None
    assert told.text.endswith("Done.")
    assert thought_of(["read"]) in first.text or not QUIRKS[_vendor(dify)].thought


def refusal(dify: Dify, bridge: Bridge, log: Log) -> None:
    """A client asks for what only some take; what nobody can do without is told in the upstream's own words."""
    asked = {"temperature": 0.3, "frequency_penalty": 0.5, "max_tokens": 500}
    bounded = {"type": "object", "properties": {"path": {"type": "string"}, "n": {"exclusiveMinimum": 0}}}
    tools = [ToolDefinition(function=Function(name="read", parameters=bounded))]
    given = {"parameters": asked, "parallel_tool_calls": False, "tools": tools}
    run = run_of(ONE).model_copy(update=given)
    assert answered(dify, bridge, ONE, rounds=1, run=run) == "Done."
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "properties": {}}}}
    formed = run_of("!say {}", "read").model_copy(update={"parameters": {"response_format": schema}})
    assert answered(dify, bridge, "!say {}", rounds=0, run=formed) == "{}"
    told = dify.invoke("!error 400 times 9\n!say x")
    assert told.error
    assert "The script asks for a failure with status 400" in told.error[1]


TURNS = (one_call, parallel_calls, three_rounds, images_in_results, suspension_and_replay, second_turn, agent_node)


def _vendor(dify: Dify) -> str:
    return dify.credentials["upstream_model"].removeprefix("scripted-like-")


@pytest.mark.parametrize("streaming", ["auto", "off"])
@pytest.mark.parametrize("turn", [*TURNS, refusal], ids=lambda turn: turn.__name__)
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendor_s_turn(dify: Dify, bridge: Bridge, log: Log, vendor: str, turn: Turn, streaming: str) -> None:
    dify.credentials |= {"upstream_model": f"scripted-like-{vendor}", "streaming": streaming, "retries": "0"}
    if turn is images_in_results:
        # Zhipu's words tell nothing of images: there only the probe, or the form, keeps them out.
        dify.credentials["vision_support"] = "off" if vendor == "zhipu" else "on"
    name = ENTRIES.get(vendor, vendor)
    # What is known is tried in streams, what is learned in whole answers.
    if streaming == "auto" and vendor_named(name):
        dify.credentials["upstream_vendor"] = name
    turn(dify, bridge, log)
    _refused[vendor] += sum(entry["status"] >= 400 and "script" not in json.dumps(entry["answer"]) for entry in log())


def test_every_rule_is_one_that_the_player_plays() -> None:
    known = {"refuses": TRAITS, "overlooks": OVERLOOKED, "writes": WRITTEN}
    for quirks in QUIRKS.values():
        for rule in quirks.rules:
            assert rule.what in known[rule.kind], rule
            assert rule.source.startswith("https://"), rule
            assert bool(rule.words) is (rule.kind == "refuses"), rule


def test_what_is_guessed_is_never_played() -> None:
    guessed = [(quirks, rule) for quirks in QUIRKS.values() for rule in quirks.rules if rule.standing == "guessed"]
    assert guessed
    for quirks, rule in guessed:
        assert rule not in quirks.refuses
        assert rule.what not in quirks.writes | quirks.overlooks


def test_each_lesson_of_a_vendor_is_one_that_exists() -> None:
    names = {known.name for known in KNOWN}
    entries = [vendor_named(ENTRIES.get(name, name)) for name in QUIRKS]
    assert {lesson for entry in entries if entry for lesson in entry.lessons} <= names
