"""A Human Input node pauses its run, and whoever has the form's token lets it go on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.demo.box import exports
from tests.demo.box.running import RunningBox, Turn, events, eventually, started
from tests.levels import starts

ANSWER = {"inputs": {"note": "be kind", "size": "large"}, "action": "yes", "user": "ada"}


@pytest.fixture(scope="module")
@starts("parts")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBox]:
    """Dify whose hours last a second, and which looks for forms out of time at once."""
    folder = tmp_path_factory.mktemp("hasty")
    apps = {"key-form": exports.write(folder / "form.yml", exports.with_form)}
    with started(folder, "--form-hour-seconds", "1", "--form-check-seconds", "0", apps=apps) as running:
        yield running


def form_of(turn: Turn) -> dict[str, Any]:
    return turn.one("human_input_required")["data"]


def submit(box: RunningBox, form: dict[str, Any], **changes: Any) -> httpx.Response:
    return box.request("POST", f"form/human_input/{form['form_token']}", app="form", json={**ANSWER, **changes})


def rest(box: RunningBox, turn: Turn, user: str = "ada") -> Turn:
    """Listen to a run anew."""
    run_id = turn.one("workflow_started")["workflow_run_id"]
    headers = {"Authorization": f"Bearer {box.key('form')}"}
    with box.http.stream("GET", f"workflow/{run_id}/events", params={"user": user}, headers=headers) as response:
        return Turn(list(events(response)))


def test_a_run_pauses_with_the_form_and_its_stream_ends(box: RunningBox) -> None:
    turn = box.chat("hello", app="form")
    assert turn.names[-2:] == ["human_input_required", "workflow_paused"]
    form, pause = form_of(turn), turn.one("workflow_paused")["data"]
    assert form["form_content"] == "Shall it say hello? {{#$output.note#}}"
    assert [each["output_variable_name"] for each in form["inputs"]] == ["note", "size"]
    assert [each["id"] for each in form["actions"]] == ["yes", "no"]
    assert pause["status"] == "paused"
    assert pause["paused_nodes"] == ["form"]
    [reason] = pause["reasons"]
    assert reason["form_id"] == form["form_id"]
    assert reason["form_token"] == form["form_token"]
    assert box.run(pause["workflow_run_id"])["status"] == "paused"


def test_an_answer_lets_the_run_go_on_where_it_paused(box: RunningBox) -> None:
    turn = box.chat("hello", app="form")
    run_id = turn.one("workflow_started")["workflow_run_id"]
    headers = {"Authorization": f"Bearer {box.key('form')}"}
    with box.http.stream("GET", f"workflow/{run_id}/events", params={"user": "ada"}, headers=headers) as response:
        arriving = events(response)
        assert next(arriving) == "ping"
        assert submit(box, form_of(turn)).json() == {}
        resumed = Turn(list(arriving))
    assert resumed.one("workflow_started")["data"]["reason"] == "resumption"
    filled = resumed.one("human_input_form_filled")["data"]
    assert filled["action_id"] == "yes"
    assert filled["rendered_content"] == "Shall it say hello? be kind"
    assert resumed.answer == "hello (be kind, large)"
    assert resumed.one("workflow_finished")["data"]["outputs"]["answer"] == "hello (be kind, large)"
    assert rest(box, turn).names == ["workflow_finished"]


def test_a_form_is_answered_once(box: RunningBox) -> None:
    form = form_of(box.chat("hello", app="form"))
    assert submit(box, form).status_code == 200
    again = submit(box, form)
    assert (again.status_code, again.json()["code"]) == (412, "human_input_form_submitted")
    shown = box.request("GET", f"form/human_input/{form['form_token']}", app="form")
    assert shown.json()["code"] == "human_input_form_submitted"


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"action": "perhaps"}, "Invalid action: perhaps"), ({"inputs": {"note": ""}}, "Missing required inputs: size")],
)
def test_an_answer_that_does_not_fit_changes_nothing(box: RunningBox, changes: Any, text: str) -> None:
    form = form_of(box.chat("hello", app="form"))
    refused = submit(box, form, **changes)
    assert (refused.status_code, refused.json()["code"], refused.json()["message"]) == (400, "invalid_form_data", text)
    assert submit(box, form).status_code == 200


def test_a_form_opens_for_its_own_app_alone(box: RunningBox) -> None:
    form = form_of(box.chat("hello", app="form"))
    path = f"form/human_input/{form['form_token']}"
    assert box.request("GET", path, app="form").json()["form_content"].startswith("Shall it say hello?")
    assert box.request("GET", path, app="Clawback minimal").status_code == 404
    assert box.request("GET", "form/human_input/nothing", app="form").status_code == 404


def test_a_form_that_nobody_answers_takes_its_own_way_on(hasty: RunningBox) -> None:
    turn = hasty.chat("hello", app="form")
    resumed = rest(hasty, turn)
    assert resumed.answer == "late"
    assert resumed.one("human_input_form_timeout")["data"]["node_id"] == "form"
    late = submit(hasty, form_of(turn))
    assert (late.status_code, late.json()["code"]) == (412, "human_input_form_expired")


@pytest.mark.parts
def test_a_run_ends_whose_form_waits_for_longer_than_any_may(tmp_path: Path) -> None:
    apps = {"key-form": exports.write(tmp_path / "form.yml", exports.with_form)}
    with started(tmp_path, "--form-seconds", "0.5", "--form-check-seconds", "0", apps=apps) as box:
        turn = box.chat("hello", app="form")
        run_id = turn.one("workflow_started")["workflow_run_id"]
        eventually(lambda: box.run(run_id)["status"] == "stopped")
        assert "global timeout" in rest(box, turn).one("workflow_finished")["data"]["error"]
