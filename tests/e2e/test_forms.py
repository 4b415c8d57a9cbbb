"""A chatflow's Human Input nodes: a person answers their forms, and the run goes on."""

import html
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bridge import cli
from demo.client import session_headers
from demo.stack import Stack
from tests.e2e.conftest import MakeStack, call, upstream_log
from tests.e2e.flows import NOTE, SIZE, flow, form, llm, say

SECONDS = 30.0
QUICK = {"keepalive_seconds": 0.5, "grace_seconds": 1, "sweep_seconds": 0.5}
ASKS = "Publish {{#draft.text#}}? {{#$output.note#}}"


def review(folder: Path, **options: Any) -> Path:
    """A draft, a form, and another model call with what the person wrote."""
    nodes = [
        llm("draft", "{{#sys.query#}}"),
        form("review", ASKS, NOTE, SIZE, **options),
        llm("final", "!say Published {{#draft.text#}}, {{#review.size#}}: {{#review.note#}}"),
        say("told", "{{#final.text#}}"),
        say("stopped", "not published"),
        say("late", "nobody looked at it"),
    ]
    ways = ("review.yes final", "final told", "review.no stopped", "review.__timeout late")
    return flow(folder / f"review{len(list(folder.iterdir()))}.yml", nodes, "start draft", "draft review", *ways)


def twice(folder: Path) -> Path:
    """Two forms, one after the other."""
    nodes = [form("first", "One?"), form("second", "Two?", NOTE), say("told", "both: {{#second.note#}}")]
    return flow(folder / "twice.yml", nodes, "start first", "first.yes second", "second.yes told")


def side_by_side(folder: Path) -> Path:
    """Two forms at the same time."""
    nodes = [form("left", "Left?"), form("right", "Right?"), say("told", "both")]
    return flow(folder / "both.yml", nodes, "start left", "start right", "left.yes told", "right.yes told")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("forms")
    exports = {"review": review(folder), "twice": twice(folder), "both": side_by_side(folder)}
    with Stack(folder, apps=[], exports=exports, bridge_settings=QUICK) as running:
        yield running


class Asking(threading.Thread):
    """A client that waits for its answer."""

    def __init__(self, stack: Stack, text: str, *, model: str = "review", session: str | None = None) -> None:
        super().__init__(daemon=True)
        self.body = {"model": model, "messages": [{"role": "user", "content": text}]}
        self.headers = {"Authorization": f"Bearer {stack.client_token}", **session_headers(session or text)}
        self.url = f"{stack.base_url}/chat/completions"
        self.status, self.answer = 0, {}
        self.start()

    def run(self) -> None:
        # The bridge may be killed meanwhile.
        with suppress(httpx.RemoteProtocolError, httpx.ReadError):
            self.ask()

    def ask(self) -> None:
        response = httpx.post(self.url, json=self.body, headers=self.headers, timeout=SECONDS * 2)
        self.status, self.answer = response.status_code, response.json()

    @property
    def text(self) -> str:
        self.join(SECONDS)
        assert self.status == 200, self.answer
        return str(self.answer["choices"][0]["message"]["content"])

    @property
    def error(self) -> dict[str, Any]:
        self.join(SECONDS)
        assert self.status >= 400, self.answer
        return dict(self.answer["error"])


def operator(stack: Stack, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {stack.operator_token}"}
    return httpx.request(method, f"{stack.bridge_url}/operator/v1{path}", headers=headers, timeout=SECONDS, **options)


def until[Found](look: Callable[[], Found | None]) -> Found:
    end = time.monotonic() + SECONDS
    while not (found := look()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return found


def waiting(stack: Stack, title: str, asks: str = "") -> dict[str, Any]:
    """Wait for a form of this title, whose text holds this."""

    def look() -> dict[str, Any] | None:
        forms = operator(stack, "GET", "/forms").json()["forms"]
        return next((each for each in forms if each["title"] == title and asks in each["content"]), None)

    return until(look)


def answer(stack: Stack, waits: dict[str, Any], action: str = "yes", **inputs: str) -> httpx.Response:
    body = {"by": "ada", "action": action, "inputs": inputs}
    return operator(stack, "POST", f"/forms/{waits['id']}/answer", json=body)


def in_dify(stack: Stack, form_id: str) -> dict[str, Any]:
    """Return what the box knows of a form."""
    forms = httpx.get(f"{stack.box_url}/box/state").json()["forms"]
    return next(each for each in forms if each["form_id"] == form_id)


def command(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = str(stack.folder / "clawback.toml")
    environ = {"CLAWBACK_OPERATOR_TOKEN": stack.operator_token, "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-m", cli.__name__, *arguments, "--config", config],
        env=environ,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def test_the_run_goes_on_in_the_same_response(stack: Stack) -> None:
    client = Asking(stack, "!say alpha")
    waits = waiting(stack, "Review", "alpha")
    assert waits["content"] == "Publish alpha? [note]"
    assert [each["name"] for each in waits["fields"]] == ["note", "size"]
    assert [each["id"] for each in waits["actions"]] == ["yes", "no"]
    assert answer(stack, waits, note="be kind", size="large").status_code == 200
    assert client.text == "Published alpha, large: be kind"
    assert in_dify(stack, waits["id"])["inputs"] == {"note": "be kind", "size": "large"}
    asked = upstream_log(stack, "alpha")
    assert len(asked) == 2, "each model call is made once"


def test_the_other_button_goes_the_other_way(stack: Stack) -> None:
    client = Asking(stack, "!say beta")
    answer(stack, waiting(stack, "Review", "beta"), "no", size="small")
    assert client.text == "not published"


def test_two_forms_one_after_the_other(stack: Stack) -> None:
    client = Asking(stack, "hello", model="twice", session="row")
    answer(stack, waiting(stack, "First"))
    answer(stack, waiting(stack, "Second"), note="two")
    assert client.text == "both: two"


def test_two_forms_at_the_same_time(stack: Stack) -> None:
    client = Asking(stack, "hello", model="both", session="both")
    left, right = waiting(stack, "Left"), waiting(stack, "Right")
    answer(stack, left)
    until(lambda: in_dify(stack, left["id"])["status"] == "submitted")
    assert in_dify(stack, right["id"])["status"] == "waiting"
    answer(stack, right)
    assert client.text == "both"


def test_by_command(stack: Stack) -> None:
    client = Asking(stack, "!say gamma")
    waits = waiting(stack, "Review", "gamma")
    shown = command(stack, "tickets", "--wide").stdout
    assert waits["id"] in shown
    assert "small | large" in shown
    refused = command(stack, "answer", waits["id"][:8], "--action", "yes", "--field", "size=huge")
    assert refused.returncode == 1
    assert "the field size takes one of: small, large" in refused.stderr
    given = command(stack, "answer", waits["id"][:8], "--action", "yes", "--field", "size=small")
    assert f"{waits['id']} (Review) is answered." in given.stdout, given.stderr
    assert client.text == "Published gamma, small: no note"


@pytest.mark.parametrize(
    ("action", "inputs", "param", "text"),
    [
        ("perhaps", {}, "action", "has no action 'perhaps'; its actions are yes, no"),
        ("yes", {"colour": "red"}, "inputs.colour", "has no field 'colour'; its fields are note, size"),
        ("yes", {}, "inputs.size", "needs its field size"),
        ("yes", {"size": "huge"}, "inputs.size", "takes one of: small, large"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_form_stays_open(
    action: str, inputs: dict[str, str], param: str, text: str, stack: Stack
) -> None:
    client = Asking(stack, f"!say {param}{action}", session=f"misfit-{param}{action}")
    waits = waiting(stack, "Review", f"{param}{action}")
    refused = answer(stack, waits, action, **inputs)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "form_answer_misfit", param)
    assert text in error["message"]
    assert answer(stack, waits, "no", size="small").status_code == 200
    assert client.text == "not published"


def test_the_first_answer_counts(stack: Stack) -> None:
    client = Asking(stack, "!say delta")
    waits = waiting(stack, "Review", "delta")
    assert answer(stack, waits, "yes", size="small").status_code == 200
    assert answer(stack, waits, "yes", size="small").status_code == 200
    other = answer(stack, waits, "yes", size="large")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "form_answered")
    misfit = answer(stack, waits, "yes")
    assert (misfit.status_code, misfit.json()["error"]["code"]) == (409, "form_answered")
    assert client.text == "Published delta, small: no note"


def test_nobody_but_operators_sees_or_answers_forms(stack: Stack) -> None:
    client = Asking(stack, "!say epsilon")
    waits = waiting(stack, "Review", "epsilon")
    for token in (stack.client_token, stack.plugin_token, stack.executor_token):
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{stack.bridge_url}/operator/v1/forms"
        assert httpx.get(url, headers=headers).status_code == 401
        given = httpx.post(f"{url}/{waits['id']}/answer", headers=headers, json={"action": "yes"})
        assert given.status_code == 401
    unknown = answer(stack, {"id": "no-such-form"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "form_not_found")
    answer(stack, waits, "no", size="small")
    assert client.text == "not published"


def test_what_a_form_holds_is_in_no_log(stack: Stack) -> None:
    client = Asking(stack, "!say zeta-secret")
    waits = waiting(stack, "Review", "zeta-secret")
    token = in_dify(stack, waits["id"])["form_token"]
    answer(stack, waits, note="a-secret-note", size="small")
    assert client.text == "Published zeta-secret, small: a-secret-note"
    logged = stack.bridge.log.read_text()
    shown = operator(stack, "GET", f"/runs/{waits['run_id']}").text
    events = operator(stack, "GET", f"/runs/{waits['run_id']}/events").text
    for secret in ("zeta-secret", "a-secret-note", token):
        assert secret not in logged + shown + events
    assert [each["event"] for each in json.loads(events)["events"]] == ["answer", "submit"]
    assert "operator ada" in events


def test_a_run_that_is_cancelled_takes_its_form_with_it(stack: Stack) -> None:
    client = Asking(stack, "!say eta")
    waits = waiting(stack, "Review", "eta")
    operator(stack, "POST", f"/runs/{waits['run_id']}/cancel", json={})
    assert client.error["code"] == "run_cancelled"
    late = answer(stack, waits, size="small")
    assert (late.status_code, late.json()["error"]["code"]) == (410, "form_cancelled")


def test_somebody_answers_in_dify_itself(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(apps=[], exports={"review": review(tmp_path)}, bridge_settings=QUICK)
    client = Asking(stack, "!say theta")
    waits = waiting(stack, "Review", "theta")
    answer_there(stack, waits, "yes", note="there", size="large")
    assert client.text == "Published theta, large: there"


def answer_there(stack: Stack, waits: dict[str, Any], action: str, **inputs: str) -> None:
    headers = {"Authorization": f"Bearer {stack.app_key('review')}"}
    url = f"{stack.dify_url}/form/human_input/{in_dify(stack, waits['id'])['form_token']}"
    given = {"action": action, "inputs": inputs, "user": "somebody"}
    assert httpx.post(url, headers=headers, json=given).status_code == 200


# A person who is slow


def test_the_client_is_told_to_ask_again_and_gets_the_answer_then(make_stack: MakeStack, tmp_path: Path) -> None:
    exports = {"review": review(tmp_path)}
    stack = make_stack(apps=[], exports=exports, bridge_settings={**QUICK, "form_hold_seconds": 1})
    error = Asking(stack, "!say iota").error
    assert error["code"] == "form_waiting"
    assert "waits for a person to answer the form 'Review'" in error["message"]
    waits = waiting(stack, "Review", "iota")
    assert operator(stack, "GET", f"/runs/{waits['run_id']}").json()["run"]["state"] == "suspended"
    again = Asking(stack, "!say iota")
    time.sleep(0.3)
    answer(stack, waits, size="small")
    assert again.text == "Published iota, small: no note"
    assert len(upstream_log(stack, "iota")) == 2


def test_a_client_that_comes_back_hears_at_once_of_an_answer_in_dify(make_stack: MakeStack, tmp_path: Path) -> None:
    exports = {"review": review(tmp_path)}
    stack = make_stack(apps=[], exports=exports, bridge_settings={**QUICK, "form_hold_seconds": 2})
    assert Asking(stack, "!say upsilon").error["code"] == "form_waiting"
    answer_there(stack, waiting(stack, "Review", "upsilon"), "no", note="", size="small")
    assert Asking(stack, "!say upsilon").text == "not published"


def test_a_run_goes_on_without_its_client_which_gets_the_answer_later(make_stack: MakeStack, tmp_path: Path) -> None:
    exports = {"review": review(tmp_path)}
    stack = make_stack(apps=[], exports=exports, bridge_settings={**QUICK, "form_hold_seconds": 0})
    assert Asking(stack, "!say kappa").error["code"] == "form_waiting"
    waits = waiting(stack, "Review", "kappa")
    answer(stack, waits, size="large")
    until(lambda: operator(stack, "GET", f"/runs/{waits['run_id']}").json()["run"]["state"] == "finished")
    assert Asking(stack, "!say kappa").text == "Published kappa, large: no note"
    assert len(upstream_log(stack, "kappa")) == 2, "nothing ran twice"


def test_a_client_that_went_away_does_not_take_the_run_with_it(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(apps=[], exports={"review": review(tmp_path)}, bridge_settings=QUICK)
    asked = Asking(stack, "!say lambda")
    waits = waiting(stack, "Review", "lambda")
    body, headers = asked.body, asked.headers | session_headers("impatient")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(asked.url, json=body, headers=headers, timeout=3)
    time.sleep(2)
    others = [each for each in operator(stack, "GET", "/forms").json()["forms"] if each["id"] != waits["id"]]
    [left] = others
    answer(stack, left, "no", size="small")
    until(lambda: operator(stack, "GET", f"/runs/{left['run_id']}").json()["run"]["state"] == "finished")
    answer(stack, waits, size="small")
    assert asked.text == "Published lambda, small: no note"


# The workflow is run again, or is of another kind


def test_a_rerun_asks_nobody_again(make_stack: MakeStack, tmp_path: Path) -> None:
    """The model behind the form calls a tool, whose result comes after the workflow was let go of."""
    nodes = [
        form("review", "Really?", NOTE),
        llm("final", "{{#review.note#}}\n{{#sys.query#}}", {"callback_wait_seconds": 0}),
        say("told", "{{#final.text#}}"),
    ]
    edges = ("start review", "review.yes final", "final told")
    stack = make_stack(apps=[], exports={"review": flow(tmp_path / "again.yml", nodes, *edges)}, bridge_settings=QUICK)
    client = Conversation(stack, f"{call('ask_user', question='x')}\n!then\n!say done", "rerun")
    asking = threading.Thread(target=client.next, daemon=True)
    asking.start()
    answer(stack, waiting(stack, "Review"), note="a note")
    asking.join(SECONDS)
    client.says("the result")
    assert client.next()["content"] == "done"
    forms = httpx.get(f"{stack.box_url}/box/state").json()["forms"]
    assert len(forms) == 2, "the workflow was run again"
    assert {(each["status"], each["action"], each["inputs"]["note"]) for each in forms} == {
        ("submitted", "yes", "a note")
    }


def test_nodes_behind_a_form_are_found_by_their_marker(make_stack: MakeStack, tmp_path: Path) -> None:
    settings = {"find_run": "marker"}
    stack = make_stack(apps=[], exports={"review": review(tmp_path)}, bridge_settings=QUICK, app_settings=settings)
    client = Asking(stack, "!say rho")
    answer(stack, waiting(stack, "Review", "rho"), size="small")
    assert client.text.startswith("Published rho")


def test_a_workflow_app(make_stack: MakeStack, tmp_path: Path) -> None:
    path = flow(tmp_path / "workflow.yml", [form("review", "Say what?", NOTE)], "start review", "review.yes end")
    export = yaml.safe_load(path.read_text())
    export["app"]["mode"] = "workflow"
    outputs = [{"variable": "text", "value_selector": ["review", "note"], "value_type": "string"}]
    graph = export["workflow"]["graph"]
    graph["nodes"].append(
        {**graph["nodes"][1], "id": "end", "data": {"type": "end", "title": "End", "outputs": outputs}}
    )
    path.write_text(yaml.safe_dump(export))
    stack = make_stack(apps=[], exports={"review": path}, bridge_settings=QUICK)
    client = Asking(stack, "hello")
    answer(stack, waiting(stack, "Review"), note="this")
    assert client.text == "this"


# The bridge is killed


def test_the_bridge_is_killed_while_a_form_is_open(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(apps=[], exports={"review": review(tmp_path)}, bridge_settings=QUICK)
    Asking(stack, "!say mu")
    waits = waiting(stack, "Review", "mu")
    stack.bridge.kill()
    stack.bridge.start()
    again = Asking(stack, "!say mu")
    answer(stack, waits, size="small")
    assert again.text == "Published mu, small: no note"
    assert len(upstream_log(stack, "mu")) == 2


def test_the_bridge_is_killed_between_an_answer_and_dify(make_stack: MakeStack, tmp_path: Path) -> None:
    """Dify is away as the answer comes, and the bridge is killed: the answer is in the store, and is given later."""
    stack = make_stack(apps=[], exports={"review": review(tmp_path)}, bridge_settings={**QUICK, "form_hold_seconds": 0})
    assert Asking(stack, "!say nu").error["code"] == "form_waiting"
    waits = waiting(stack, "Review", "nu")
    answer(stack, waits, size="small")
    stack.bridge.kill()
    assert in_dify(stack, waits["id"])["status"] == "waiting"
    stack.bridge.start()
    until(lambda: in_dify(stack, waits["id"])["status"] == "submitted")
    until(lambda: operator(stack, "GET", f"/runs/{waits['run_id']}").json()["run"]["state"] == "finished")
    assert Asking(stack, "!say nu").text == "Published nu, small: no note"


def test_the_bridge_is_killed_before_it_knows_that_dify_has_the_answer(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(apps=[], exports={"review": review(tmp_path)}, bridge_settings={**QUICK, "form_hold_seconds": 0})
    assert Asking(stack, "!say xi").error["code"] == "form_waiting"
    waits = waiting(stack, "Review", "xi")
    answer(stack, waits, size="small")
    stack.bridge.kill()
    headers = {"Authorization": f"Bearer {stack.app_key('review')}"}
    url = f"{stack.dify_url}/form/human_input/{in_dify(stack, waits['id'])['form_token']}"
    given = {"action": "yes", "inputs": {"note": "no note", "size": "small"}, "user": "the bridge"}
    assert httpx.post(url, headers=headers, json=given).status_code == 200
    stack.bridge.start()
    until(lambda: operator(stack, "GET", f"/runs/{waits['run_id']}").json()["run"]["state"] == "finished")
    assert Asking(stack, "!say xi").text == "Published xi, small: no note"
    assert in_dify(stack, waits["id"])["inputs"] == given["inputs"]


# Time is up


def test_the_store_is_away_for_a_while_as_a_form_waits(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(apps=[], exports={"review": review(tmp_path)}, bridge_settings=QUICK)
    client = Asking(stack, "!say away")
    waits = waiting(stack, "Review", "away")
    data, aside = stack.folder / "bridge", stack.folder / "aside"
    aside.mkdir()
    for file in data.glob("bridge.sqlite3*"):
        file.rename(aside / file.name)
    time.sleep(3)
    assert operator(stack, "GET", "/forms").status_code == 503
    for file in aside.iterdir():
        file.rename(data / file.name)
    until(lambda: operator(stack, "GET", "/forms").status_code == 200)
    answer(stack, waits, size="small")
    assert client.text == "Published away, small: no note"


def test_a_form_that_nobody_answers_takes_its_own_way_on(make_stack: MakeStack, tmp_path: Path) -> None:
    options = ["--form-hour-seconds", "1", "--form-check-seconds", "1"]
    exports = {"review": review(tmp_path)}
    stack = make_stack(apps=[], exports=exports, bridge_settings=QUICK, box_options=options)
    client = Asking(stack, "!say omicron")
    waits = waiting(stack, "Review", "omicron")
    assert client.text == "nobody looked at it"
    assert "nobody answered the form 'Review' in time" in client.answer["clawback"]["note"]
    late = answer(stack, waits, size="small")
    assert (late.status_code, late.json()["error"]["code"]) == (410, "form_expired")


def test_a_run_without_a_way_on_tells_that_time_was_up(make_stack: MakeStack, tmp_path: Path) -> None:
    options = ["--form-hour-seconds", "1", "--form-check-seconds", "1"]
    stack = make_stack(apps=[], exports={"twice": twice(tmp_path)}, bridge_settings=QUICK, box_options=options)
    error = Asking(stack, "hello", model="twice").error
    assert error["code"] == "form_expired"
    assert "nobody answered the form 'First' in time" in error["message"]


def test_a_form_without_the_web_app_says_what_to_change(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(apps=[], exports={"review": review(tmp_path, ways=("email",))}, bridge_settings=QUICK)
    error = Asking(stack, "!say pi").error
    assert error["code"] == "workflow_paused"
    assert "add the web app" in error["message"]


# On the page


@pytest.fixture
def ann(stack: Stack) -> Iterator[httpx.Client]:
    """Somebody who is logged in to the page."""
    headers = {"Origin": stack.bridge_url}
    with httpx.Client(base_url=stack.bridge_url, headers=headers, timeout=SECONDS) as browser:
        given = {"token": stack.operator_token, "name": "ann"}
        assert browser.post("/login", data=given).status_code == 303
        yield browser


def send(browser: httpx.Client, form_id: str, **fields: str) -> httpx.Response:
    """Fill in a form's card, as a browser does."""
    path = f"/forms/{form_id}/answer"
    page = browser.get("/approvals").text
    token = re.search(rf'action="{path}".*?name="form_token" value="(\w+)"', page, re.DOTALL)
    assert token, f"no card of {form_id}"
    return browser.post(path, data={"form_token": token[1], **fields})


def words(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_a_card_on_the_page_is_answered_within_the_hold(stack: Stack, ann: httpx.Client) -> None:
    client = Asking(stack, "!say sigma <b>bold</b>", session="sigma")
    waits = waiting(stack, "Review", "sigma")
    page = ann.get("/approvals").text
    assert "<b>bold</b>" not in page, "what a form holds is text"
    assert "Publish sigma <b>bold</b>?" in html.unescape(page)
    assert re.search(r'<textarea name="field.note"[^>]*>\s*no note</textarea>', page)
    assert '<option value="large">large</option>' in page
    assert "Go ahead" in words(page)
    assert "wait for a decision" in words(ann.get("/").text)
    sent = send(ann, waits["id"], action="yes", **{"field.note": "from\r\nthe page", "field.size": "large"})
    assert (sent.status_code, sent.headers["location"]) == (303, "/approvals?done=answer")
    assert client.text == "Published sigma <b>bold</b>, large: from"
    assert in_dify(stack, waits["id"])["inputs"] == {"note": "from\nthe page", "size": "large"}
    assert "Answered. The run continues." in words(ann.get("/approvals?done=answer").text)


def test_the_page_says_what_does_not_fit_and_keeps_what_was_written(stack: Stack, ann: httpx.Client) -> None:
    client = Asking(stack, "!say tau")
    waits = waiting(stack, "Review", "tau")
    refused = send(ann, waits["id"], action="yes", **{"field.note": "precious words", "field.size": "huge"})
    assert refused.status_code == 400
    assert "the field size takes one of: small, large" in words(refused.text)
    assert "precious words" in refused.text
    assert send(ann, waits["id"], action="no", **{"field.size": "small"}).status_code == 303
    assert client.text == "not published"
    gone = ann.get(f"/forms/{waits['id']}/answer")
    assert gone.headers["location"] == f"/approvals#form-{waits['id']}"


def test_the_page_shows_a_runs_form_without_what_is_in_it(stack: Stack, ann: httpx.Client) -> None:
    client = Asking(stack, "!say upsilon-secret")
    waits = waiting(stack, "Review", "upsilon-secret")
    shown = words(ann.get(f"/runs/{waits['run_id']}").text)
    assert "Review waits for an answer" in shown
    assert "waits for you" in shown
    send(ann, waits["id"], action="yes", **{"field.note": "a-hidden-note", "field.size": "small"})
    assert client.text == "Published upsilon-secret, small: a-hidden-note"
    after = words(ann.get(f"/runs/{waits['run_id']}").text)
    assert "by operator ann" in after
    assert "upsilon-secret" not in shown + after
    assert "a-hidden-note" not in after


def test_a_form_of_the_page_needs_a_login_and_its_own_token(stack: Stack, ann: httpx.Client) -> None:
    client = Asking(stack, "!say phi")
    waits = waiting(stack, "Review", "phi")
    path = f"/forms/{waits['id']}/answer"
    assert httpx.post(f"{stack.bridge_url}{path}", data={"action": "no"}).status_code in {401, 403}
    assert ann.post(path, data={"action": "no", "form_token": "0"}).status_code == 403
    assert send(ann, waits["id"], action="no", **{"field.size": "small"}).status_code == 303
    assert client.text == "not published"


# The client asks its own user

ASK_USER = {
    "type": "function",
    "function": {
        "name": "ask_user",
        "description": "Asks the user.",
        "parameters": {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]},
    },
}


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An app whose forms are for its client's own user."""
    folder = tmp_path_factory.mktemp("clients")
    settings = {"human_input": "client:ask_user"}
    exports = {"review": review(folder)}
    with Stack(folder, apps=[], exports=exports, bridge_settings=QUICK, app_settings=settings) as running:
        yield running


class Conversation:
    """A client that keeps its transcript, and brings a tool that asks its user."""

    def __init__(self, stack: Stack, text: str, session: str = "") -> None:
        self.stack, self.session = stack, session or text
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": text}]

    def next(self) -> dict[str, Any]:
        body = {"model": "review", "messages": self.messages, "tools": [ASK_USER]}
        headers = {"Authorization": f"Bearer {self.stack.client_token}", **session_headers(self.session)}
        url = f"{self.stack.base_url}/chat/completions"
        response = httpx.post(url, json=body, headers=headers, timeout=SECONDS)
        assert response.status_code == 200, response.text
        message = dict(response.json()["choices"][0]["message"])
        self.messages.append(message)
        return message

    def asked(self) -> str:
        """Return what the tool is to ask."""
        (made,) = self.next()["tool_calls"]
        assert made["function"]["name"] == "ask_user"
        return str(json.loads(made["function"]["arguments"])["question"])

    def says(self, output: str) -> None:
        call_id = self.messages[-1]["tool_calls"][0]["id"]
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": output})


def test_a_form_is_a_call_of_the_clients_own_tool(clients: Stack) -> None:
    client = Conversation(clients, "!say psi")
    question = client.asked()
    assert "Publish psi?" in question
    assert "size (one of: small, large)" in question
    assert operator(clients, "GET", "/forms").json()["forms"] == [], "nobody else is asked"
    client.says(json.dumps({"action": "yes", "inputs": {"note": "from the user", "size": "small"}}))
    assert client.next()["content"] == "Published psi, small: from the user"
    assert len(upstream_log(clients, "psi")) == 2


def test_a_result_that_does_not_fit_is_asked_again_and_in_the_end_left_to_the_page(clients: Stack) -> None:
    client = Conversation(clients, "!say omega")
    assert "Publish omega?" in client.asked()
    client.says("well, perhaps")
    assert "The last answer did not fit: the result names no action" in client.asked()
    client.says(json.dumps({"action": "yes", "inputs": {"size": "huge"}}))
    assert "the field size takes one of: small, large" in client.asked()
    client.says("whatever")
    waiter = threading.Thread(target=client.next, daemon=True)
    waiter.start()
    answer(clients, waiting(clients, "Review", "omega"), size="large")
    waiter.join(SECONDS)
    assert client.messages[-1]["content"] == "Published omega, large: no note"


def test_nobody_else_answers_what_a_client_asks_its_user(clients: Stack) -> None:
    client = Conversation(clients, "!say aleph")
    client.asked()
    shown = httpx.get(f"{clients.box_url}/box/state").json()["forms"]
    form_id = next(each["form_id"] for each in shown if each["status"] == "waiting")
    refused = answer(clients, {"id": form_id}, size="small")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "form_at_client")
    client.says(json.dumps({"action": "no", "inputs": {"size": "small"}}))
    assert client.next()["content"] == "not published"


def test_a_client_without_the_tool_leaves_it_to_the_page(clients: Stack) -> None:
    client = Asking(clients, "!say beth")
    answer(clients, waiting(clients, "Review", "beth"), size="small")
    assert client.text == "Published beth, small: no note"


def test_the_bridge_is_killed_while_the_client_asks_its_user(make_stack: MakeStack, tmp_path: Path) -> None:
    settings = {"human_input": "client:ask_user"}
    stack = make_stack(apps=[], exports={"review": review(tmp_path)}, bridge_settings=QUICK, app_settings=settings)
    client = Conversation(stack, "!say gimel")
    client.asked()
    stack.bridge.kill()
    stack.bridge.start()
    client.says(json.dumps({"action": "yes", "inputs": {"size": "large"}}))
    assert client.next()["content"] == "Published gimel, large: no note"
