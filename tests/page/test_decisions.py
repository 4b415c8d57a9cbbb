"""Approve, deny, edit: on the page as anywhere else."""

import html
import json
import re

import pytest
from werkzeug.test import TestResponse

from bridge.store.rows import CallRow, ClientRow
from tests.bridge.executor.conftest import EXEC, Bridge, MakeBridge
from tests.page.conftest import ASK, MakePerson, Person, form_token, words
from tools.ids import random_name

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


# Always allow this


def proposed(ann: Person, call: str) -> str:
    """The rule that the page shows, as its form sends it."""
    page = ann.get("/approvals").text.split(f'id="call-{call}"')[1]
    found = re.search(r'name="text" value="(\[\[rules.*?)">', page, re.DOTALL)
    assert found
    return html.unescape(found[1])


def test_always_allow_writes_the_rule_that_was_shown_and_only_this_call_runs_from_then_on(
    ann: Person, call: str
) -> None:
    bridge = ann.bridge
    policy = bridge.config.policy
    assert policy
    policy.write_text(f"# Mine.\n{policy.read_text()}")
    rule = proposed(ann, call)
    assert ARGUMENTS not in policy.read_text()
    assert decide(ann, call, "always", rule).location == "/approvals?done=always"
    assert stored(bridge, call).state == "ready"
    assert policy.read_text() == f"# Mine.\n{rule}\n{ASK}"
    again = bridge.open(("note", ARGUMENTS), attached=bridge.attach("f2")).calls[0]
    assert stored(bridge, again).state == "ready"
    others = [{"path": "/tmp/another note.txt"}, {"path": "/tmp/a note.txt", "lines": 1}]
    for number, arguments in enumerate(others):
        attached = bridge.attach(f"f3{number}")
        other = bridge.open(("note", json.dumps(arguments)), attached=attached).calls[0]
        assert stored(bridge, other).state == "awaiting_approval"


def test_a_rule_for_a_call_of_an_mcp_client_lets_nobody_elses_run(ann: Person) -> None:
    bridge = ann.bridge
    bridge.register(tools=[EXEC])
    desk, lab = (ClientRow(name, name, "[]", 0, kind="mcp", tools='["*"]') for name in ("desk", "lab"))
    [offer] = bridge.core.mcp_calls.offers(desk)
    arguments = json.dumps({"command": "ls"})

    def call_of(client: ClientRow) -> str:
        ticket = bridge.store.ticket(bridge.core.mcp_calls.begin(client, random_name(), offer, arguments).ticket_id)
        assert ticket
        return ticket.calls[0].id

    call = call_of(desk)
    rule = proposed(ann, call)
    assert 'direction = "mcp"' in rule
    assert decide(ann, call, "always", rule).status_code == 303
    of_chat = bridge.open(("exec", arguments)).calls[0]
    for other, state in ((call, "ready"), (call_of(desk), "ready"), (call_of(lab), "awaiting_approval")):
        assert stored(bridge, other).state == state
    assert stored(bridge, of_chat).state == "awaiting_approval"


@pytest.mark.parametrize("command", ["ls *", "rm -rf ~/*", "echo <word>", "**"])
def test_no_rule_with_a_free_wildcard_is_proposed(ann: Person, command: str) -> None:
    ann.bridge.register(tools=[EXEC])
    call = ann.bridge.open(("exec", json.dumps({"command": command}))).calls[0]
    page = ann.get("/approvals").text
    assert f'id="call-{call}"' in page
    assert 'value="always"' not in page


@pytest.mark.parametrize("command", ["ls; rm -rf ~", 'echo "a"\n\tb', "\x7f", "[a]?", "", "很好"])
def test_what_a_command_holds_is_taken_word_by_word(ann: Person, command: str) -> None:
    bridge = ann.bridge
    bridge.register(tools=[EXEC])
    call = bridge.open(("exec", json.dumps({"command": command}))).calls[0]
    assert decide(ann, call, "always", proposed(ann, call)).status_code == 303
    for other, state in ((command, "ready"), (f"{command} ", "awaiting_approval")):
        attached = bridge.attach(f"f-{len(other)}")
        again = bridge.open(("exec", json.dumps({"command": other})), attached=attached).calls[0]
        assert stored(bridge, again).state == state


def test_another_rule_than_the_one_that_was_shown_is_refused(ann: Person, call: str) -> None:
    policy = ann.bridge.config.policy
    assert policy
    before = policy.read_text()
    wider = proposed(ann, call).replace("only = true\n", "")
    assert decide(ann, call, "always", wider).status_code == 409
    assert policy.read_text() == before
    assert stored(ann.bridge, call).state == "awaiting_approval"


def test_a_file_that_a_rule_does_not_fit_into_stays_as_it_is(ann: Person, call: str) -> None:
    policy = ann.bridge.config.policy
    assert policy
    rule = proposed(ann, call)
    policy.write_text('rules = [{action = "ask"}]\n')
    answer = decide(ann, call, "always", rule)
    assert answer.status_code == 400
    assert "Add it yourself" in words(answer.text)
    assert policy.read_text() == 'rules = [{action = "ask"}]\n'


def test_without_a_policy_file_nothing_is_proposed_and_a_rule_is_told_by_its_text(
    make_bridge: MakeBridge, visit: MakePerson
) -> None:
    bridge = make_bridge(None)
    bridge.register(tools=[NOTE])
    bridge.open(("note", ARGUMENTS))
    assert 'value="always"' not in visit(bridge).get("/approvals").text


def test_the_text_of_the_rule_stands_beside_its_number(ann: Person, call: str) -> None:
    assert 'action = "ask"' in words(ann.get("/approvals").text)


@pytest.mark.parametrize("content", [True, False])
def test_the_question_that_led_to_a_call_stands_on_its_card_where_content_is_shown(
    make_bridge: MakeBridge, visit: MakePerson, *, content: bool
) -> None:
    bridge = make_bridge(ASK, log_content=content)
    bridge.register(tools=[NOTE])
    run = str(bridge.open(("note", ARGUMENTS)).request["run_id"])
    row = bridge.store.run(run)
    assert row
    request = json.loads(row.request) | {"query": "Write down <what> we need."}
    bridge.store.update_run(run, request=json.dumps(request))
    page = visit(bridge).get("/approvals").text
    assert ("Write down &lt;what&gt; we need." in page) == content


@pytest.mark.parametrize("path", ["/calls/%0d%0aX: y/decision", "/forms/%0d%0aX: y/answer"])
def test_the_address_of_nothing_leads_back_to_the_page(ann: Person, path: str) -> None:
    answer = ann.get(path)
    assert (answer.status_code, answer.headers.get("X")) == (303, None)
    assert answer.location.startswith("/approvals#")
