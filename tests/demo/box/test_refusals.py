"""What the service API refuses, in Dify's words."""

from typing import Any

import pytest

from tests.demo.box.running import RunningBox

GOOD = {"inputs": {}, "query": "hi", "user": "ada", "response_mode": "streaming"}


def refused(box: RunningBox, body: dict[str, Any], **options: Any) -> tuple[int, str, str]:
    response = box.request("POST", "chat-messages", json=body, **options)
    answer = response.json()
    assert answer["status"] == response.status_code
    return response.status_code, answer["code"], answer["message"]


def test_a_wrong_key_is_unauthorized(box: RunningBox) -> None:
    assert refused(box, GOOD, key="nonsense") == (401, "unauthorized", "Access token is invalid")


@pytest.mark.parametrize("header", [{}, {"Authorization": "key-minimal"}])
def test_a_missing_key_is_unauthorized(box: RunningBox, header: dict[str, str]) -> None:
    response = box.http.post("chat-messages", json=GOOD, headers=header)
    assert response.status_code == 401
    assert response.json()["message"] == "Authorization header must be provided and start with 'Bearer'"
    assert response.headers["www-authenticate"] == 'Bearer realm="api"'


def test_another_scheme_is_unauthorized(box: RunningBox) -> None:
    response = box.http.get("info", headers={"Authorization": "Basic key-minimal"})
    assert response.json()["message"] == "Authorization scheme must be 'Bearer'"


def test_a_user_must_be_named(box: RunningBox) -> None:
    body = {name: value for name, value in GOOD.items() if name != "user"}
    assert refused(box, body) == (400, "invalid_param", "Arg user must be provided.")


@pytest.mark.parametrize("missing", ["query", "inputs"])
def test_query_and_inputs_must_be_there(box: RunningBox, missing: str) -> None:
    status, code, message = refused(box, {name: value for name, value in GOOD.items() if name != missing})
    assert (status, code) == (400, "invalid_param")
    assert f"\n{missing}\n" in message


@pytest.mark.parametrize(("name", "value"), [("conversation_id", "abc"), ("response_mode", "fast"), ("inputs", "x")])
def test_a_value_of_the_wrong_kind_is_an_invalid_param(box: RunningBox, name: str, value: str) -> None:
    assert refused(box, {**GOOD, name: value})[:2] == (400, "invalid_param")


def test_an_empty_query_is_refused_in_blocking_mode(box: RunningBox) -> None:
    body = {**GOOD, "query": "", "response_mode": "blocking"}
    assert refused(box, body) == (400, "invalid_param", "query is required")


def test_an_empty_query_fails_the_run_in_streaming_mode(box: RunningBox) -> None:
    turn = box.chat("")
    assert turn.names == ["workflow_started", "workflow_finished"]
    assert turn.one("workflow_finished")["data"]["error"] == "query is required"


def test_a_body_that_is_no_json_is_a_bad_request(box: RunningBox) -> None:
    headers = {"Authorization": f"Bearer {box.key()}", "Content-Type": "application/json"}
    response = box.http.post("chat-messages", content=b"{", headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


def test_an_unknown_workflow_version_is_not_found(box: RunningBox) -> None:
    assert refused(box, {**GOOD, "workflow_id": "x"})[:2] == (400, "bad_request")
    unknown = "2f0c6a3e-0d7a-4f3e-8f6e-2a9f9c8b7a60"
    assert refused(box, {**GOOD, "workflow_id": unknown})[:2] == (404, "not_found")


def test_a_workflow_is_no_chat_app(box: RunningBox) -> None:
    assert refused(box, GOOD, app="workflow")[:2] == (400, "not_chat_app")
    response = box.request("POST", "workflows/run", json={"inputs": {}, "user": "ada"})
    assert response.json()["code"] == "not_workflow_app"


def test_inputs_must_fit_the_start_node(box: RunningBox) -> None:
    body = {"query": "hi", "user": "ada", "response_mode": "blocking"}
    message = "city is required in input form"
    assert refused(box, {**body, "inputs": {}}, app="inputs") == (400, "invalid_param", message)
    turn = box.chat("hi", app="inputs", inputs={"city": "much too long a name"})
    assert turn.one("workflow_finished")["data"]["error"] == "city in input form must be less than 10 characters"


def test_inputs_that_nobody_declared_are_dropped(box: RunningBox) -> None:
    turn = box.chat("!tell", app="inputs", inputs={"city": "Oslo", "secret": "x"})
    inputs = turn.one("workflow_started")["data"]["inputs"]
    assert {name: value for name, value in inputs.items() if not name.startswith("sys.")} == {
        "city": "Oslo",
        "size": None,
    }
    assert turn.told["messages"][0] == ["system", "In Oslo."]


def test_another_apps_end_user_is_not_found(box: RunningBox) -> None:
    end_user = box.chat("!tell").told["user"]
    assert box.request("GET", f"end-users/{end_user}").status_code == 200
    other = box.request("GET", f"end-users/{end_user}", app="Clawback router")
    assert (other.status_code, other.json()["code"]) == (404, "end_user_not_found")


def test_an_owner_can_switch_the_api_off(box: RunningBox) -> None:
    try:
        box.own("POST", "apps/inputs", json={"enable_api": False})
        response = box.request("GET", "info", app="inputs")
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    finally:
        box.own("POST", "apps/inputs", json={"enable_api": True})


def test_an_app_that_is_not_published_is_unavailable(box: RunningBox) -> None:
    try:
        box.own("POST", "apps/inputs", json={"published": False})
        assert box.request("GET", "parameters", app="inputs").json()["code"] == "app_unavailable"
        assert refused(box, GOOD, app="inputs") == (400, "invalid_param", "Workflow not published")
    finally:
        box.own("POST", "apps/inputs", json={"published": True})


def test_unknown_switches_are_refused(box: RunningBox) -> None:
    assert box.own("POST", "apps/inputs", json={"loud": True}).status_code == 400
    assert box.own("POST", "apps/nobody", json={}).status_code == 404
