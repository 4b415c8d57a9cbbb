"""What somebody does about a run: cancel it, several at once, and take all that is known of it along."""

import pytest

from tests.bridge.executor.conftest import READ, Bridge, MakeBridge
from tests.page.conftest import ORIGIN, MakePerson, Person, form_token, words
from tools.run_states import RunEvent

ALLOW = '[[rules]]\naction = "allow"\n'


def begun(bridge: Bridge, fingerprint: str = "f1") -> str:
    bridge.register()
    return str(bridge.open(("exec", "{}"), attached=bridge.attach(fingerprint)).request["run_id"])


def state(bridge: Bridge, run: str) -> tuple[str, str | None]:
    row = bridge.store.run(run)
    assert row
    return row.state, row.error


def test_a_run_is_cancelled_on_its_page_and_its_calls_with_it(ann: Person) -> None:
    run = begun(ann.bridge)
    answer = ann.send(f"/runs/{run}", "/runs", run=run, do="cancel", back=f"/runs/{run}")
    assert answer.location == f"/runs/{run}"
    assert state(ann.bridge, run) == ("cancelled", "cancelled by operator ann")
    assert [ticket.state for ticket in ann.bridge.store.tickets_of_run(run)] == ["cancelled"]
    page = ann.get(f"/runs/{run}").text
    assert 'value="cancel"' not in page
    assert ann.bridge.store.calls_in("awaiting_approval") == []


def test_several_runs_are_cancelled_at_once_whatever_became_of_some(ann: Person) -> None:
    runs = [begun(ann.bridge, f"f{number}") for number in range(3)]
    ann.bridge.store.end_run(runs[0], RunEvent.FINISH)
    form = {"form_token": form_token(ann.get("/").text, "/runs"), "run": [*runs, "none"], "do": "cancel"}
    assert ann.client.post("/runs", data=form, headers={"Origin": ORIGIN}).status_code == 303
    assert [state(ann.bridge, run)[0] for run in runs] == ["finished", "cancelled", "cancelled"]


def test_runs_that_began_in_dify_are_not_offered_to_be_run_again(ann: Person) -> None:
    run = begun(ann.bridge)
    assert 'class="pick"' in ann.get("/").text
    ann.bridge.store.end_run(run, RunEvent.FINISH)
    assert 'class="pick"' not in ann.get("/").text
    page = ann.get(f"/runs/{run}").text
    assert 'value="again"' not in page
    assert "This run began in Dify, which keeps its question. To run it again, ask there again." in words(page)
    assert ann.send("/", "/runs", run=run, do="again").status_code == 400


@pytest.mark.parametrize(("form", "status"), [({"do": "erase"}, 400), ({"do": "cancel", "run": "none"}, 404)])
def test_what_cannot_be_done_is_said(ann: Person, form: dict[str, str], status: int) -> None:
    begun(ann.bridge)
    assert ann.send("/", "/runs", **form).status_code == status


def test_a_form_without_its_token_cancels_nothing(ann: Person) -> None:
    run = begun(ann.bridge)
    assert ann.post("/runs", {"run": run, "do": "cancel"}).status_code == 403
    assert state(ann.bridge, run)[0] == "running"


def test_the_operators_interface_cancels_once_and_says_what_is_over(ann: Person) -> None:
    bridge: Bridge = ann.bridge
    run, other = begun(bridge), begun(bridge, "f2")
    for _ in range(2):
        answer = bridge.ask("operator", "POST", f"/runs/{run}/cancel", {"by": "bob"})
        assert answer.body == {"id": run, "state": "cancelled", "error": "cancelled by operator bob"}
    bridge.store.end_run(other, RunEvent.FINISH)
    answer = bridge.ask("operator", "POST", f"/runs/{other}/cancel", {"by": "bob"})
    assert (answer.status, answer.code) == (409, "run_over")
    answer = bridge.ask("operator", "POST", "/runs/none/cancel", {"by": "bob"})
    assert (answer.status, answer.code) == (404, "run_not_found")


@pytest.mark.parametrize("content", [True, False])
def test_all_that_is_known_of_a_run_is_one_json_object(
    make_bridge: MakeBridge, visit: MakePerson, *, content: bool
) -> None:
    bridge = make_bridge(ALLOW, log_content=content)
    executor = bridge.register(tools=[READ])
    ticket = bridge.open(("read", '{"path": "/plans"}'))
    [call] = executor.claim()
    executor.post(call, "the plans", is_error=False)
    run = str(ticket.request["run_id"])
    bridge.store.nodes.started(run, 1, "e1", "Think", "llm", "n1")
    answer = visit(bridge).get(f"/runs/{run}/json")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="run-{run}.json"'
    document = answer.get_json()
    assert document == bridge.ask("operator", "GET", f"/runs/{run}").body
    assert document["run"]["id"] == run
    assert [node["title"] for node in document["nodes"]] == ["Think"]
    [told] = document["tickets"][0]["calls"]
    assert told["name"] == "read"
    assert ("the plans" in answer.text, "/plans" in answer.text) == (content, content)
    assert told["output"] == ("the plans" if content else "(9 characters, hidden)")
    assert len(document["events"]) >= 3
