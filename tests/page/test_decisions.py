"""Approve, deny, edit: on the page as anywhere else."""

import json

import pytest
from werkzeug.test import TestResponse

from bridge.store.rows import CallRow
from tests.bridge.executor.conftest import EXEC, Bridge
from tests.page.conftest import Person, form_token, words

NOTE = {
    "type": "function",
    "function": {
        "name": "note",
        "description": "Writes a note.",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string"}, "lines": {"type": "integer"}},
            "required": ["path"],
            "additionalProperties": False,
        },
    },
}
ARGUMENTS = json.dumps({"path": "/tmp/a note.txt"})


@pytest.fixture
def call(bridge: Bridge) -> str:
    """A call that waits for a person."""
    bridge.register(tools=[NOTE, EXEC])
    return bridge.open(("note", ARGUMENTS)).calls[0]


def stored(bridge: Bridge, call: str) -> CallRow:
    found = bridge.store.call(call)
    assert found
    return found[1]


def decide(ann: Person, call: str, decision: str, text: str = "", **more: str) -> TestResponse:
    return ann.send("/approvals", f"/calls/{call}/decision", decision=decision, text=text, **more)


def test_a_waiting_call_is_shown_with_its_arguments_although_content_is_hidden(ann: Person, call: str) -> None:
    page = words(ann.get("/approvals").text)
    assert "note waits for a decision" in page
    assert "Writes a note." in page
    assert "path /tmp/a note.txt" in page
    assert "rule 1 · laptop" in page, "whom an approval would be for"
    assert "/tmp/a note.txt" in words(ann.get(f"/runs/{_run(ann, call)}").text)
    assert "1 wait for a decision" in words(ann.get("/").text)


def test_approve(ann: Person, call: str) -> None:
    answer = decide(ann, call, "approve", back="/approvals")
    assert answer.location == "/approvals?done=approve"
    assert stored(ann.bridge, call).state == "ready"
    assert stored(ann.bridge, call).arguments == ARGUMENTS
    page = words(ann.get(answer.location).text)
    assert "Approved." in page
    assert "Nothing waits for you." in page


def test_the_same_edit_sent_twice_is_no_error_and_another_is(ann: Person, call: str) -> None:
    form = ann.get("/approvals").text
    token = form_token(form, f"/calls/{call}/decision")
    texts = ['{"path": "b", "lines": 2}', '{ "lines": "2",\n "path": "b" }', '{"path": "d", "lines": 2}']
    sent = [
        ann.post(f"/calls/{call}/decision", {"form_token": token, "decision": "edit", "text": text}) for text in texts
    ]
    assert [answer.status_code for answer in sent] == [303, 303, 409]
    assert '"b"' in stored(ann.bridge, call).arguments


def test_the_decision_is_noted_under_the_persons_name(ann: Person, call: str) -> None:
    decide(ann, call, "approve")
    events = ann.bridge.store.events_of_run(_run(ann, call))
    assert ("operator ann", "approve") in [(event.actor, event.event) for event in events]


def test_deny_tells_the_model_why(ann: Person, call: str) -> None:
    decide(ann, call, "deny", "Not on a Friday.")
    assert stored(ann.bridge, call).state == "denied"
    assert "Not on a Friday." in str(stored(ann.bridge, call).output)


def test_a_denial_needs_no_reason(ann: Person, call: str) -> None:
    decide(ann, call, "deny", "  ")
    assert "A person does not want it" in str(stored(ann.bridge, call).output)


def test_edited_arguments_are_what_runs(ann: Person, call: str) -> None:
    back = f"/runs/{_run(ann, call)}"
    answer = decide(ann, call, "edit", '{"path": "/tmp/b", "lines": "3"}', back=back)
    assert answer.location == back
    assert json.loads(stored(ann.bridge, call).arguments) == {"path": "/tmp/b", "lines": 3}
    assert stored(ann.bridge, call).asked == ARGUMENTS


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"path": ', "not valid JSON: Expecting value (line 1, column 10)"),
        ('["a"]', "must be a JSON object"),
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"lines": 2}', "path is required"),
        ('{"path": "a", "lines": "many"}', "lines must be an integer, not a string"),
        ('{"path": "a", "mode": "x"}', "there is no mode (there are: lines, path)"),
    ],
)
def test_arguments_that_do_not_fit_come_back_to_be_corrected(ann: Person, call: str, text: str, problem: str) -> None:
    answer = decide(ann, call, "edit", text)
    assert answer.status_code == 400
    assert problem in words(answer.text)
    assert words(text)[:1000] in words(answer.text)
    assert 'aria-invalid="true"' in answer.text
    assert "data-live" not in answer.text  # nothing that comes takes away what was written
    assert stored(ann.bridge, call).state == "awaiting_approval"


def test_a_second_decision_is_refused_and_says_so(ann: Person, call: str) -> None:
    form = {"form_token": _token(ann, call), "decision": "deny"}
    ann.bridge.ask("operator", "POST", f"/calls/{call}/approve", {"by": "bob"})
    answer = ann.post(f"/calls/{call}/decision", form)
    assert answer.status_code == 409
    assert 'role="alert"' in answer.text
    assert stored(ann.bridge, call).state == "ready"


def test_no_such_decision_and_no_such_call(ann: Person, call: str) -> None:
    assert decide(ann, call, "maybe").status_code == 400
    assert stored(ann.bridge, call).state == "awaiting_approval"


def _run(ann: Person, call: str) -> str:
    found = ann.bridge.store.call(call)
    assert found
    return found[0].run_id


def _token(ann: Person, call: str) -> str:
    return form_token(ann.get("/approvals").text, f"/calls/{call}/decision")
