"""What an LLM node gives to the plugin, and how its errors come back."""

import json

import pytest

from tests.demo.box.running import RunningBox, eventually

TYPED = ("InvokeRateLimitError", "InvokeBadRequestError", "InvokeConnectionError", "InvokeServerUnavailableError")


def test_the_plugin_is_told_the_end_user_and_the_app(box: RunningBox) -> None:
    told = box.chat("!tell", user="grace").told
    assert told["app_id"] == box.ready["apps"][0]["app_id"]
    user = box.request("GET", f"end-users/{told['user']}").json()
    assert (user["id"], user["session_id"], user["type"]) == (told["user"], "grace", "service-api")


def test_a_call_carries_messages_parameters_and_no_tools(box: RunningBox) -> None:
    told = box.chat("!tell").told
    assert [role for role, _ in told["messages"]] == ["system", "user"]
    assert told["messages"][-1] == ["user", "!tell"]
    assert told["parameters"] == {"external_tool_callback_enabled": True}
    assert (told["tools"], told["stop"], told["stream"]) == (None, None, True)
    assert told["pid"] == box.ready["plugin"]["pid"] == box.state()["plugin"]["pid"] != box.process.pid


def test_variables_in_parameters_are_resolved(box: RunningBox) -> None:
    told = box.chat("Quick answer\n!tell", user="007", app="Clawback router").told
    assert told["parameters"]["callback_key"] == "u:007"


def test_a_model_has_credentials_of_its_own_or_its_providers(box: RunningBox) -> None:
    assert box.chat("!tell").told["credentials"] == {"greeting": "hello"}
    assert box.chat("Quick answer\n!tell", app="Clawback router").told["credentials"] == {"greeting": "hi"}


@pytest.mark.parametrize("name", TYPED)
def test_typed_errors_pass_the_plugins_own_words(box: RunningBox, name: str) -> None:
    finished = box.chat(f"!raise {name} change the key").one("workflow_finished")["data"]
    assert (finished["status"], finished["error"]) == ("failed", "change the key")


def test_an_authorization_errors_words_are_replaced(box: RunningBox) -> None:
    finished = box.chat("!raise InvokeAuthorizationError secret detail").one("workflow_finished")["data"]
    assert finished["error"] == "[Obedient] Incorrect model credentials provided, please check and try again."


@pytest.mark.parametrize("name", ["InvokeError", "KeyError"])
def test_any_other_error_shows_all_of_its_json(box: RunningBox, name: str) -> None:
    error = box.chat(f"!raise {name} oops").one("workflow_finished")["data"]["error"]
    assert " PluginInvokeError: {" in error
    assert "oops" in json.loads(error[error.index("{") :])["message"]


def test_a_chunk_without_content_is_refused(box: RunningBox) -> None:
    finished = box.chat("!none").one("workflow_finished")["data"]
    assert "content field is required" in finished["error"]


def test_a_failed_run_ends_with_workflow_finished_alone(box: RunningBox) -> None:
    turn = box.chat("!say partly\n!raise InvokeBadRequestError broken")
    assert turn.names[-2:] == ["node_finished", "workflow_finished"]
    assert not turn.of("message_end")
    assert not turn.of("error")
    node = turn.of("node_finished")[-1]["data"]
    assert (node["status"], node["error"]) == ("failed", "broken")
    conversation = turn.events[-1]["conversation_id"]
    [message] = box.request("GET", "messages", params={"conversation_id": conversation, "user": "ada"}).json()["data"]
    assert (message["status"], message["answer"], message["error"]) == ("error", "", "Run failed: broken")


def test_a_failed_run_in_blocking_mode_is_an_http_error(box: RunningBox) -> None:
    response = box.block("!raise InvokeBadRequestError broken")
    assert response.status_code == 400
    assert response.json() == {"code": "invalid_param", "message": "Run failed: broken", "status": 400}


def test_a_node_that_retries_says_so(box: RunningBox) -> None:
    turn = box.chat("!say a\n!raise InvokeConnectionError down", app="retries")
    assert [event["data"]["retry_index"] for event in turn.of("node_retry")] == [1, 2]
    assert turn.of("node_retry")[0]["data"]["error"] == "down"
    assert turn.one("workflow_finished")["data"]["error"] == "down"


def test_text_of_a_failed_attempt_stays_in_the_stream(box: RunningBox) -> None:
    assert box.chat("!say a\n!raise InvokeConnectionError down", app="retries").answer == "aaa"


def test_a_default_value_makes_a_failure_partly_a_success(box: RunningBox) -> None:
    turn = box.chat("!raise InvokeConnectionError down", app="defaults")
    assert turn.one("workflow_finished")["data"]["status"] == "partial-succeeded"
    assert turn.of("node_finished")[1]["data"]["status"] == "exception"
    assert turn.answer == "sorry"


def test_a_model_without_credentials_is_an_error_before_the_workflow_starts(box: RunningBox) -> None:
    turn = box.chat("hello", app="unknown provider")
    assert turn.names == ["error", "workflow_started", "workflow_finished"]
    assert turn.one("error")["code"] == "provider_not_initialize"
    assert "task_id" not in turn.one("error")
    finished = turn.one("workflow_finished")
    assert finished["data"]["error"] == "Workflow stream ended without a terminal event"
    assert "conversation_id" not in finished
    assert box.block("hello", app="unknown provider").json()["code"] == "provider_not_initialize"


def test_a_plugin_that_dies_is_started_again(box: RunningBox) -> None:
    before = box.state()["plugin"]
    with box.streaming("!exit"):
        after = eventually(lambda: (now := box.state()["plugin"])["starts"] > before["starts"] and now["pid"] and now)
    assert after["pid"] != before["pid"]
    assert box.chat("hello again").answer == "hello again"
    box.ready["plugin"]["pid"] = after["pid"]
