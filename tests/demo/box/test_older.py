"""Older Dify, as far as a caller or a plugin can tell."""

from tests.demo.box.running import RunningBox


def test_workflow_finished_came_before_message_end(older: RunningBox) -> None:
    assert older.block("hello").json()["answer"] == "hello"
    turn = older.chat("hello")
    assert turn.names[-2:] == ["workflow_finished", "message_end"]


def test_a_failure_was_told_twice(older: RunningBox) -> None:
    turn = older.chat("!raise InvokeBadRequestError broken")
    assert turn.names[-2:] == ["workflow_finished", "error"]
    assert turn.one("error")["message"] == "Run failed: broken"


def test_variables_in_parameters_were_not_resolved(older: RunningBox) -> None:
    told = older.chat("Quick answer\n!tell", app="Clawback router").told
    assert told["parameters"]["callback_key"] == "u:{{#sys.user_id#}}"


def test_the_plugin_was_not_told_the_app(older: RunningBox) -> None:
    assert older.chat("!tell").told["app_id"] is None


def test_end_users_could_not_be_looked_up(older: RunningBox) -> None:
    told = older.chat("!tell").told
    assert older.request("GET", f"end-users/{told['user']}").status_code == 404


def test_a_stream_took_its_place_until_it_ended(older: RunningBox) -> None:
    with older.streaming("!say one\n!sleep 1") as stream:
        next(event for event in stream if event != "ping")
        assert older.block("two").status_code == 429
        list(stream)
    assert older.block("three").status_code == 200
