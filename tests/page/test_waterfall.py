"""A run on one axis of time: what it was spent on, and who was waited for."""

import re

import pytest

from tests.bridge.executor.conftest import READ, Bridge, MakeBridge
from tests.page.conftest import MakePerson, Person
from tools.run_states import RunEvent

ALLOW = '[[rules]]\naction = "allow"\n'


def lanes(ann: Person, run: str) -> list[tuple[str, list[str]]]:
    """The key of each line of a run's waterfall, and on what its time was spent."""
    page = ann.get(f"/runs/{run}").text
    found = re.findall(r'<li id="lane-([^"]+)"(.*?)</li>', page, re.DOTALL)
    return [(key, re.findall(r'<rect class="(\w+)" data-at', html)) for key, html in found]


def kinds(ann: Person, run: str) -> list[str]:
    return [key.partition("-")[0] for key, _ in lanes(ann, run)]


def test_a_model_call_and_its_tool_call_have_a_line_each(make_bridge: MakeBridge, visit: MakePerson) -> None:
    bridge = make_bridge(ALLOW)
    executor = bridge.register(tools=[READ])
    ticket = bridge.open(("read", '{"path": "x"}'))
    run, ann = str(ticket.request["run_id"]), visit(bridge)
    assert kinds(ann, run) == ["model", "call"]
    assert lanes(ann, run)[1][1] == ["wait"]
    [call] = executor.claim()
    assert lanes(ann, run)[1][1] == ["wait", "tool"]
    executor.post(call, "y", is_error=False)
    # The results are there: the model is at it again.
    assert kinds(ann, run) == ["model", "call", "model"]
    page = ann.get(f"/runs/{run}").text
    assert f'href="#call-{ticket.calls[0]}"' in page
    assert 'data-end="' not in page
    bridge.store.end_run(run, RunEvent.FINISH)
    assert 'data-end="' in ann.get(f"/runs/{run}").text


def test_the_time_of_a_person_is_told_from_the_tools_own(ann: Person) -> None:
    bridge: Bridge = ann.bridge
    executor = bridge.register()
    ticket = bridge.open(("exec", "{}"))
    run = str(ticket.request["run_id"])
    assert lanes(ann, run)[1][1] == ["person"]
    bridge.ask("operator", "POST", f"/calls/{ticket.calls[0]}/approve", {"by": "bob"})
    [call] = executor.claim()
    executor.post(call, "done", is_error=False)
    assert [part for part in lanes(ann, run)[1][1] if part != "wait"] == ["person", "tool"]


def test_a_denied_call_ends_with_the_denial(ann: Person) -> None:
    bridge: Bridge = ann.bridge
    bridge.register()
    ticket = bridge.open(("exec", "{}"))
    bridge.ask("operator", "POST", f"/calls/{ticket.calls[0]}/deny", {"by": "bob"})
    assert lanes(ann, str(ticket.request["run_id"]))[1][1] == ["person"]


def test_model_calls_stand_below_the_node_that_made_them(ann: Person) -> None:
    bridge: Bridge = ann.bridge
    bridge.register()
    run = str(bridge.attach()["run_id"])
    nodes = bridge.store.nodes
    nodes.started(run, 1, "e1", "Think", "llm")
    nodes.started(run, 1, "e2", "Fetch", "http-request")
    keys = kinds(ann, run)
    assert keys == ["node", "model", "node"]
    assert "depth-1" in ann.get(f"/runs/{run}").text


@pytest.mark.parametrize(
    ("event", "state"), [(RunEvent.CANCEL, "cancelled"), (RunEvent.SUSPEND, "suspended"), (RunEvent.FAIL, "failed")]
)
def test_only_what_failed_is_shown_as_a_failure(ann: Person, event: RunEvent, state: str) -> None:
    bridge: Bridge = ann.bridge
    bridge.register()
    run = str(bridge.attach()["run_id"])
    if event == RunEvent.SUSPEND:
        bridge.store.suspend(run)
    else:
        bridge.store.end_run(run, event, "the reason")
    for path in ("/", f"/runs/{run}"):
        page = ann.get(path).text
        assert f'class="state {state}"' in page
        assert ('class="error" lang="en">the reason' in page) == (state == "failed")


def test_a_run_says_for_whom_it_waits(ann: Person, make_bridge: MakeBridge, visit: MakePerson) -> None:
    bridge: Bridge = ann.bridge
    bridge.register()
    bridge.open(("exec", "{}"))
    assert 'class="state undecided"' in ann.get("/").text
    allowing = make_bridge(ALLOW)
    allowing.register()
    allowing.open(("exec", "{}"))
    assert 'class="state executor"' in visit(allowing).get("/").text
