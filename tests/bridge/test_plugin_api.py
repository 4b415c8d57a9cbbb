"""What the plugin can rely on: attach, tickets, waits and records, over HTTP with a real database file."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from bridge.app import create_app
from bridge.config import parse
from bridge.errors import BridgeError
from bridge.runs.core import Core
from bridge.runs.requests import RunRequest
from bridge.runs.tickets.tickets import Tickets
from bridge.store.clock import AWAY_SECONDS
from bridge.store.rows import RunRow
from tools.results import ToolResult
from tools.run_states import RunEvent
from tools.tokens import hash_token
from tools.wire import PROTOCOL

PLUGIN = {"Authorization": "Bearer plugin-token"}
EXECUTOR = {"Authorization": "Bearer executor-token"}
CALL = {"id": "call0000000001", "name": "read", "arguments": "{}"}
SECOND = {"id": "call0000000002", "name": "read", "arguments": "{}"}


@pytest.fixture
def app(data_dir: Path) -> Iterator[Flask]:
    made = create_app(
        parse(
            {
                "data_dir": str(data_dir),
                "tokens": {"plugin": hash_token("plugin-token"), "executor": hash_token("executor-token")},
                "plugins": [
                    {"name": "next", "token": hash_token("next-token")},
                    {"name": "own", "token": hash_token("own-token"), "apps": ["m"]},
                    {"name": "other", "token": hash_token("other-token"), "apps": ["n"]},
                ],
                "apps": [
                    {"model": model, "base_url": "http://127.0.0.1:9/v1", "api_key": "app-x"} for model in ("m", "n")
                ],
                "limits": {"calls_per_run": 3},
            }
        )
    )
    yield made
    made.extensions["clawback"].sweeper.stop()
    made.extensions["clawback"].store.close()


@pytest.fixture
def run(app: Flask) -> RunRow:
    """A run as the endpoint would have started it."""
    return begun_run(app.extensions["clawback"])


def begun_run(core: Core) -> RunRow:
    request = RunRequest.model_validate(
        {
            "messages": [{"role": "user", "content": "hello"}],
            "turn": 0,
            "query": "hello",
            "tools": [{"type": "function", "function": {"name": "read"}}],
        }
    )
    now = time.time()
    row = RunRow(
        id="run0000000001",
        model="m",
        session_key="s",
        turn_key="t",
        dify_user="clawback-user",
        conversation_id="",
        query_digest="q",
        auxiliary=None,
        state="running",
        attempt=1,
        task_id="",
        workflow_run_id="",
        request=request.model_dump_json(),
        error=None,
        created_at=now,
        updated_at=now,
        expires_at=now + 60,
        began_at=now,
        driven_at=now,
    )
    core.store.insert_run(row)
    return row


def call(app: Flask, method: str, path: str, body: Any = None, headers: dict[str, str] = PLUGIN) -> tuple[int, Any]:
    response = app.test_client().open(path, method=method, json=body, headers=headers)
    return response.status_code, response.get_json(silent=True)


def attach(app: Flask, invocation: str = "invocation1", fingerprint: str = "f", **more: Any) -> dict[str, Any]:
    body = {"invocation_id": invocation, "fingerprint": fingerprint, "model": "main", "user": "clawback-user", **more}
    status, answer = call(app, "POST", "/plugin/v1/attach", body)
    if status == 503 and answer["error"]["code"] == "just_started":
        status, answer = call(app, "POST", "/plugin/v1/attach", body)
    assert status == 200, answer
    return dict(answer)


def open_ticket(
    app: Flask, run: RunRow, invocation: str = "invocation1", *calls: dict[str, str], wait: float = 0
) -> dict[str, Any]:
    body = {
        "run_id": run.id,
        "invocation_id": invocation,
        "round": 0,
        "content": "Look.",
        "calls": list(calls or [CALL]),
    }
    status, answer = call(app, "PUT", f"/plugin/v1/tickets/ticket1?wait={wait}", body)
    assert status == 200, answer
    return dict(answer)


def post(app: Flask, *results: tuple[str, str]) -> tuple[int, Any]:
    """Bring results as the run's own client does; its transcript would be read on the way."""
    tickets: Tickets = app.extensions["clawback"].tickets
    brought = [ToolResult(tool_call_id=call_id, output=output) for call_id, output in results]
    try:
        ticket = tickets.add_results("ticket1", brought)
    except BridgeError as error:
        return error.status, error.body()
    return 200, {"state": ticket.state}


def restart(app: Flask, run: RunRow) -> None:
    """What a second workflow run of the same run looks like to the plugin."""
    app.extensions["clawback"].store.update_run(run.id, attempt=2, state="running")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic plugin-token"}])
def test_nobody_gets_in_without_the_plugins_token(app: Flask, headers: dict[str, str]) -> None:
    status, body = call(app, "GET", "/plugin/v1/ping", headers=headers)
    assert status == 401
    assert "plugin token" in body["error"]["message"]


def test_an_audience_without_a_token_is_closed(app: Flask) -> None:
    status, body = call(app, "GET", "/v1/models", headers=PLUGIN)
    assert status == 401
    assert "clawback token client" in body["error"]["message"]


def drive(core: Core, run: RunRow, attempt: int) -> None:
    """Let this process drive the run's attempt."""
    live = core.runs._make_live(run, RunRequest.model_validate_json(run.request))
    live.begin(attempt)
    core.live_runs.add(live)


def test_ping_tells_the_protocol(app: Flask) -> None:
    status, body = call(app, "GET", "/plugin/v1/ping")
    assert (status, body["service"], body["protocol"]) == (200, "clawback", PROTOCOL)


def test_another_protocol_is_refused_with_what_to_do(app: Flask) -> None:
    body = {"invocation_id": "invocation1", "fingerprint": "f", "model": "main", "protocol": PROTOCOL + 1}
    status, answer = call(app, "POST", "/plugin/v1/attach", body)
    assert status == 400
    assert "install the same version" in answer["error"]["message"]


def test_an_invocation_that_began_before_the_workflow_was_run_again_is_too_late(app: Flask, run: RunRow) -> None:
    core: Core = app.extensions["clawback"]
    drive(core, run, 1)
    body = {"invocation_id": "invocation1", "fingerprint": "f", "model": "m", "user": run.dify_user, "age_seconds": 600}
    status, answer = call(app, "POST", "/plugin/v1/attach", body)
    assert (status, answer["error"]["code"]) == (410, "run_over")
    assert attach(app, age_seconds=0)["run_id"] == run.id
    core.store.update_run(run.id, began_at=time.time() + 10)
    assert attach(app, age_seconds=1)["run_id"] == run.id, "it had attached in time"


@pytest.mark.parametrize("drives", [True, False])
@pytest.mark.parametrize("stopped", [True, False])
@pytest.mark.parametrize("given_up", ["an earlier attempt", "an earlier run"])
def test_a_bridge_that_has_just_started_or_was_stopped_asks_a_node_how_old_it_really_is_where_one_was_given_up(
    app: Flask, run: RunRow, monkeypatch: pytest.MonkeyPatch, drives: bool, stopped: bool, given_up: str
) -> None:
    core: Core = app.extensions["clawback"]
    attempt = 2 if given_up == "an earlier attempt" else 1
    core.store.update_run(run.id, attempt=attempt)
    if attempt == 1:
        core.store.insert_run(replace(run, id="run-before", created_at=run.created_at - 30))
        core.store.end_run("run-before", RunEvent.CANCEL)
    if drives:
        drive(core, run, attempt)
    monkeypatch.setattr(core.services.presence, "_since", 0.0)
    if stopped:
        monkeypatch.setattr(core.services.presence, "_seen_at", time.monotonic() - 2 * AWAY_SECONDS)
    body = {"invocation_id": "invocation1", "fingerprint": "f", "model": "m", "user": run.dify_user}
    status, answer = call(app, "POST", "/plugin/v1/attach", body)
    if stopped:
        assert (status, answer["error"]["code"]) == (503, "just_started")
        status, answer = call(app, "POST", "/plugin/v1/attach", body)
    assert status == 200, answer


def test_attach_brings_the_transcript_and_the_tools(app: Flask, run: RunRow) -> None:
    answer = attach(app)
    assert answer["run_id"] == run.id
    assert answer["messages"] == [{"role": "user", "content": "hello"}]
    assert [tool["function"]["name"] for tool in answer["tools"]] == ["read"]
    assert answer["rounds"] == []


def test_an_invocation_of_nobodys_run_is_told_so(app: Flask) -> None:
    answer = attach(app, user=None)
    assert answer["run_id"] is None
    assert "neither a user" in answer["reason"]


def test_a_ticket_opened_twice_is_one_ticket(app: Flask, run: RunRow) -> None:
    attach(app)
    assert open_ticket(app, run)["state"] == open_ticket(app, run)["state"] == "open"
    assert len(list(app.extensions["clawback"].store.record(run.id).calls())) == 1


@pytest.mark.parametrize("is_open", [True, False])
def test_a_wait_ends_as_soon_as_the_last_result_is_in(app: Flask, run: RunRow, *, is_open: bool) -> None:
    """Whoever opens a ticket may wait for it with the same request: nothing of it is answered before."""
    attach(app)
    answers: list[Any] = []
    if is_open:
        open_ticket(app, run, "invocation1", CALL, SECOND)
        path = "/plugin/v1/tickets/ticket1?wait=20&invocation_id=invocation1"
        waiting = threading.Thread(target=lambda: answers.append(call(app, "GET", path)[1]))
    else:
        waiting = threading.Thread(
            target=lambda: answers.append(open_ticket(app, run, "invocation1", CALL, SECOND, wait=20))
        )
    waiting.start()
    while not app.extensions["clawback"].store.ticket("ticket1"):
        time.sleep(0.01)
    assert post(app, (CALL["id"], "one"))[1]["state"] == "open"
    assert waiting.is_alive()
    assert post(app, (SECOND["id"], "two"))[1]["state"] == "resolved"
    waiting.join(10)
    assert answers[0]["state"] == "resolved"
    assert [result["output"] for result in answers[0]["results"]] == ["one", "two"]


def test_a_ticket_that_is_opened_again_is_waited_for_again(app: Flask, run: RunRow) -> None:
    attach(app)
    assert open_ticket(app, run, wait=0.05)["state"] == "open"
    post(app, (CALL["id"], "one"))
    assert open_ticket(app, run, wait=20)["state"] == "resolved"


def test_nobody_waits_for_a_ticket_that_was_not_opened(app: Flask, run: RunRow) -> None:
    attach(app)
    app.extensions["clawback"].store.end_run(run.id, RunEvent.CANCEL, "nobody waits")
    assert open_ticket(app, run, wait=20)["state"] == "cancelled"
    assert app.extensions["clawback"].store.ticket("ticket1") is None


def test_a_ticket_whose_run_was_let_go_of_meanwhile_is_let_go_of_at_once(app: Flask, run: RunRow) -> None:
    attach(app)
    open_ticket(app, run)
    assert call(app, "POST", "/plugin/v1/tickets/ticket1/suspend?invocation_id=invocation1")[1]["state"] == "open"
    assert open_ticket(app, run, wait=20)["let_go"]


def test_a_wait_that_nobody_ends_comes_back_open(app: Flask, run: RunRow) -> None:
    attach(app)
    open_ticket(app, run)
    assert call(app, "GET", "/plugin/v1/tickets/ticket1?wait=0.05")[1]["state"] == "open"


@pytest.mark.parametrize("wait", ["x", "-1", "31", "nan"])
def test_a_wait_without_an_end_is_refused(app: Flask, run: RunRow, wait: str) -> None:
    attach(app)
    open_ticket(app, run)
    for method in ("GET", "PUT"):
        status, body = call(app, method, f"/plugin/v1/tickets/ticket1?wait={wait}")
        assert (status, body["error"]["param"]) == (400, "wait")


def test_the_same_result_again_changes_nothing_and_another_is_refused(app: Flask, run: RunRow) -> None:
    attach(app)
    open_ticket(app, run)
    assert post(app, (CALL["id"], "one"))[0] == post(app, (CALL["id"], "one"))[0] == 200
    status, body = post(app, (CALL["id"], "other"))
    assert (status, body["error"]["code"]) == (409, "result_conflict")
    assert call(app, "GET", "/plugin/v1/tickets/ticket1")[1]["results"][0]["output"] == "one"


def test_results_of_a_cancelled_ticket_are_gone(app: Flask, run: RunRow) -> None:
    attach(app)
    open_ticket(app, run)
    assert call(app, "POST", "/plugin/v1/tickets/ticket1/cancel", {"reason": "why"})[1]["state"] == "cancelled"
    status, body = post(app, (CALL["id"], "late"))
    assert status == 410
    assert "why" in body["error"]["message"]


def test_an_unknown_ticket_is_not_found(app: Flask) -> None:
    assert call(app, "GET", "/plugin/v1/tickets/none")[0] == 404
    assert call(app, "GET", "/executor/v1/tickets/none", headers=EXECUTOR)[0] == 404


def test_nobody_asks_the_model_for_what_follows_results_whose_run_has_ended_since(app: Flask, run: RunRow) -> None:
    attach(app)
    open_ticket(app, run)
    post(app, (CALL["id"], "one"))
    app.extensions["clawback"].runs.cancel(run.id, "the client went away")
    status, answer = call(app, "GET", "/plugin/v1/tickets/ticket1?invocation_id=invocation1")
    assert (status, answer["state"], answer["reason"]) == (200, "cancelled", "the client went away")


def test_a_ticket_of_a_run_that_ended_is_cancelled_at_once(app: Flask, run: RunRow) -> None:
    attach(app)
    app.extensions["clawback"].store.end_run(run.id, RunEvent.CANCEL, "nobody waits")
    answer = open_ticket(app, run)
    assert (answer["state"], answer["reason"]) == ("cancelled", "nobody waits")


def test_a_run_has_only_so_many_calls(app: Flask, run: RunRow) -> None:
    attach(app)
    four = [{**CALL, "id": f"call000000000{number}"} for number in range(4)]
    answer = open_ticket(app, run, "invocation1", *four)
    assert answer["state"] == "expired"
    assert "limits.calls_per_run" in answer["reason"]


def test_a_second_workflow_run_replays_what_the_first_did(app: Flask, run: RunRow) -> None:
    attach(app)
    open_ticket(app, run)
    post(app, (CALL["id"], "one"))
    restart(app, run)
    answer = attach(app, "invocation2")
    assert [(r["content"], r["results"][0]["output"]) for r in answer["rounds"]] == [("Look.", "one")]
    stale = call(app, "GET", "/plugin/v1/tickets/ticket1?invocation_id=invocation1")[1]
    assert stale["state"] == "cancelled"
    assert "run again" in stale["reason"]


def test_what_an_upstream_wants_back_is_remembered_by_the_call_s_id(app: Flask, run: RunRow) -> None:
    """Most clients cannot carry it into their next turn. Another app's upstream gets none of it."""
    core: Core = app.extensions["clawback"]
    attach(app)
    signature = {"extra_content": {"google": {"thought_signature": "AbC=="}}}
    kept = {"reasoning_content": "Hm.", "tool_calls": {CALL["id"]: signature}}
    body = {"run_id": run.id, "invocation_id": "invocation1", "round": 0, "calls": [CALL], "reasoning": kept}
    assert call(app, "PUT", "/plugin/v1/tickets/ticket1", body)[0] == 200
    post(app, (CALL["id"], "one"))
    core.store.update_run(run.id, state="finished", client="ada")

    function = {"name": "read", "arguments": "{}"}
    asking = {"role": "assistant", "tool_calls": [{"id": CALL["id"], "type": "function", "function": function}]}
    transcript = [{"role": "user", "content": "hello"}, asking, {"role": "user", "content": "and now?"}]
    later = RunRequest.model_validate({"messages": transcript, "turn": 2, "query": "and now?", "tools": []})
    for model, client, carried in (("m", "ada", True), ("other", "ada", False), ("m", "default", False)):
        name = f"{model}-of-{client}"
        row = replace(run, id=f"run-{name}", model=model, dify_user=f"user-{name}", turn_key=name, client=client)
        core.store.insert_run(replace(row, request=later.model_dump_json()))
        said = attach(app, f"invocation-{name}", user=row.dify_user)["messages"][1]
        assert (said.get("reasoning_content") == "Hm.") is carried
        assert ("extra_content" in said["tool_calls"][0]) is carried


def test_a_node_that_the_first_workflow_run_did_not_reach_has_nothing_to_replay(app: Flask, run: RunRow) -> None:
    attach(app)
    open_ticket(app, run)
    restart(app, run)
    attach(app, "invocation2")
    assert attach(app, "invocation3", "another node")["rounds"] == []


def test_a_ticket_that_nobody_answered_is_waited_for_again(app: Flask, run: RunRow) -> None:
    attach(app)
    open_ticket(app, run)
    assert call(app, "POST", "/plugin/v1/tickets/ticket1/suspend")[1]["state"] == "open"
    restart(app, run)
    assert attach(app, "invocation2")["open_ticket"]["ticket_id"] == "ticket1"


def test_an_answer_is_replayed_and_a_failure_is_not(app: Flask, run: RunRow) -> None:
    attach(app)
    attach(app, "invocation2", "g")
    record = "/plugin/v1/invocations/{}/record"
    assert call(app, "POST", record.format("invocation1"), {"run_id": run.id, "text": "done"})[0] == 204
    assert call(app, "POST", record.format("invocation2"), {"run_id": run.id, "error": "upstream"})[0] == 204
    restart(app, run)
    assert attach(app, "invocation3", "f")["answer"]["text"] == "done"
    assert attach(app, "invocation4", "g")["answer"] is None


def test_the_same_prompt_again_in_one_workflow_run_is_another_invocation(app: Flask, run: RunRow) -> None:
    attach(app)
    open_ticket(app, run)
    post(app, (CALL["id"], "one"))
    call(app, "POST", "/plugin/v1/invocations/invocation1/record", {"run_id": run.id, "text": "done"})
    again = attach(app, "invocation2")
    assert (again["rounds"], again["answer"]) == ([], None)


def test_a_suspended_ticket_that_was_answered_meanwhile_lets_the_plugin_go_on(app: Flask, run: RunRow) -> None:
    attach(app)
    open_ticket(app, run)
    post(app, (CALL["id"], "in time"))
    assert call(app, "POST", "/plugin/v1/tickets/ticket1/suspend")[1]["state"] == "resolved"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'{"x":' * 5000, b"\xff\xfe"])
def test_a_body_that_is_no_json_object_is_named(app: Flask, raw: bytes) -> None:
    response = app.test_client().post("/plugin/v1/attach", data=raw, headers=PLUGIN)
    assert response.status_code == 400
    assert response.get_json()["error"]["code"] == "invalid_json"


def test_a_field_that_is_wrong_is_named(app: Flask, run: RunRow) -> None:
    status, body = call(app, "PUT", "/plugin/v1/tickets/ticket1", {"run_id": run.id, "round": -1, "calls": []})
    assert status == 400
    assert body["error"]["param"] in {"invocation_id", "round", "calls"}


def test_what_is_not_there_has_openais_shape_too(app: Flask) -> None:
    status, body = call(app, "GET", "/nothing/here")
    assert (status, body["error"]["type"]) == (404, "invalid_request_error")
    assert call(app, "DELETE", "/plugin/v1/attach")[0] == 405


def test_a_ticket_that_is_not_waited_for_any_longer_keeps_the_results_that_came(app: Flask, run: RunRow) -> None:
    attach(app)
    open_ticket(app, run, "invocation1", CALL, SECOND)
    post(app, (CALL["id"], "one"))
    path = "/plugin/v1/tickets/ticket1/expire?invocation_id="
    assert call(app, "POST", path + "invocation9")[1]["state"] == "cancelled"
    for _ in range(2):
        status, told = call(app, "POST", path + "invocation1")
        assert (status, told["state"]) == (200, "expired")
        assert [result["output"] for result in told["results"]] == ["one"]
    assert post(app, (SECOND["id"], "two"))[0] == 410


OTHER = {"Authorization": "Bearer other-token"}


@pytest.mark.parametrize("token", ["plugin-token", "next-token", "own-token"])
def test_each_token_of_the_plugin_opens_its_apps_runs(app: Flask, run: RunRow, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    body = {"invocation_id": "invocation1", "fingerprint": "f", "model": "main", "user": "clawback-user"}
    assert call(app, "POST", "/plugin/v1/attach", body, headers)[1]["run_id"] == run.id


def test_a_token_of_another_apps_plugin_opens_nothing_of_a_run(app: Flask, run: RunRow) -> None:
    attach(app)
    open_ticket(app, run)
    asked = {"invocation_id": "invocation2", "fingerprint": "f", "model": "main", "user": "clawback-user"}
    for invocation in ("invocation1", "invocation2"):
        status, answer = call(app, "POST", "/plugin/v1/attach", asked | {"invocation_id": invocation}, OTHER)
        assert (status, answer.get("run_id")) == (200, None)
        assert "'m'" in answer["reason"]
        assert "hello" not in str(answer)
    ended = {"run_id": run.id, "text": "stolen", "finish_reason": "stop", "usage": {}}
    opened = {"run_id": run.id, "invocation_id": "invocation9", "round": 1, "calls": [SECOND]}
    for method, path, body in (
        ("GET", "tickets/ticket1", None),
        ("POST", "tickets/ticket1/cancel", {"reason": "mine"}),
        ("POST", "tickets/ticket1/suspend", None),
        ("POST", "tickets/ticket1/expire", None),
        ("PUT", "tickets/ticket1", opened),
        ("PUT", "tickets/ticket2", opened),
        ("PUT", "tickets/ticket2", opened | {"run_id": "run-unknown", "invocation_id": "invocation1"}),
        ("POST", "invocations/invocation1/record", ended),
        ("POST", "invocations/invocation7/record", ended),
        ("POST", "invocations/invocation1/drafts", {"run_id": run.id, "round": 0, "calls": []}),
    ):
        assert call(app, method, f"/plugin/v1/{path}", body, OTHER)[0] == 404, (method, path)
    assert call(app, "GET", "/plugin/v1/tickets/ticket1")[1]["state"] == "open"


def test_a_token_of_some_apps_gives_executors_no_calls_of_others(app: Flask) -> None:
    tool = {"type": "function", "function": {"name": "read", "parameters": {}}}
    register = {"name": "shell", "tools": [tool], "patterns": ["*"]}
    status, answer = call(app, "POST", "/executor/v1/executors", register, EXECUTOR)
    assert status == 200, answer
    asked = {"invocation_id": "invocation1", "fingerprint": "f", "model": "main", "user": "somebody"}
    status, answer = call(app, "POST", "/plugin/v1/attach", asked, OTHER)
    assert (status, answer.get("run_id")) == (200, None)
    assert call(app, "POST", "/plugin/v1/attach", asked)[1]["run_id"]
