"""What an app tells about itself, and about its runs."""

from tests.demo.box.running import RunningBox, Turn, events, eventually


def test_the_ready_line_says_where_everything_is(box: RunningBox) -> None:
    assert box.ready["dify_url"].startswith("http://127.0.0.1:")
    assert box.ready["dify_url"].endswith("/v1")
    assert box.ready["plugin"]["sdk"].startswith("0.10.")
    assert box.ready["apps"][0].keys() == {"name", "key", "app_id"}


def test_info_parameters_meta_and_site(box: RunningBox) -> None:
    info = box.request("GET", "info").json()
    assert (info["name"], info["mode"], info["tags"]) == ("Clawback minimal", "advanced-chat", [])
    assert box.request("GET", "parameters").json()["user_input_form"] == []
    [first, _] = box.request("GET", "parameters", app="inputs").json()["user_input_form"]
    assert first["text-input"]["variable"] == "city"
    assert first["text-input"]["required"] is True
    assert box.request("GET", "meta").json() == {"tool_icons": {}}
    assert box.request("GET", "site").json()["title"] == "Clawback minimal"


def test_a_run_can_be_looked_up(box: RunningBox) -> None:
    run_id = box.chat("hello").events[-1]["workflow_run_id"]
    run = box.request("GET", f"workflows/run/{run_id}").json()
    assert (run["id"], run["status"], run["total_steps"]) == (run_id, "succeeded", 3)
    assert run["outputs"]["answer"] == "hello"
    assert box.request("GET", f"workflows/run/{run_id}", app="Clawback router").status_code == 404


def test_the_box_shows_its_runs(box: RunningBox) -> None:
    turn = box.chat("hello", user="shown")
    run = box.run(turn.events[-1]["workflow_run_id"])
    assert (run["app"], run["user"], run["status"]) == ("Clawback minimal", "shown", "succeeded")
    assert run["conversation_id"] == turn.events[-1]["conversation_id"]
    assert set(run["nodes"].values()) == {"succeeded"}


def follow(box: RunningBox, run_id: str, **query: str) -> Turn:
    headers = {"Authorization": f"Bearer {box.key()}"}
    with box.http.stream(
        "GET", f"workflow/{run_id}/events", params={"user": "ada", **query}, headers=headers
    ) as stream:
        return Turn(list(events(stream)))


def test_a_finished_run_is_told_in_one_event(box: RunningBox) -> None:
    run_id = box.chat("hello").events[-1]["workflow_run_id"]
    turn = follow(box, run_id)
    assert turn.names == ["workflow_finished"]
    assert turn.events[0]["task_id"] == run_id


def test_a_running_run_can_be_followed_from_now_on(box: RunningBox) -> None:
    with box.streaming("!say before\n!sleep 0.7\n!say after") as stream:
        message = next(event for event in stream if event != "ping" and event["event"] == "message")
        run_id = box.state()["runs"][-1]["workflow_run_id"]
        turn = follow(box, run_id)
    assert message["answer"] == "before"
    assert turn.answer == "after"
    assert turn.names[-1] == "workflow_finished"


def test_a_snapshot_tells_what_happened_before(box: RunningBox) -> None:
    with box.streaming("!say before\n!sleep 0.7\n!say after") as stream:
        next(event for event in stream if event != "ping" and event["event"] == "message")
        run_id = box.state()["runs"][-1]["workflow_run_id"]
        turn = follow(box, run_id, include_state_snapshot="true")
    assert turn.names[:5] == ["workflow_started", "message_replace", "node_started", "node_finished", "node_started"]
    assert turn.answer == "after"


def test_only_the_runs_own_user_may_follow_it(box: RunningBox) -> None:
    run_id = box.chat("hello").events[-1]["workflow_run_id"]
    response = box.request("GET", f"workflow/{run_id}/events", params={"user": "eve"})
    assert (response.status_code, response.json()["message"]) == (404, "Workflow run not found")
    assert box.request("GET", "workflow/unknown/events", params={"user": "ada"}).status_code == 404


def test_a_run_can_be_stopped(box: RunningBox) -> None:
    with box.streaming("!say half\n!sleep 3\n!say whole") as stream:
        message = next(event for event in stream if event != "ping" and event["event"] == "message")
        stopped = box.request("POST", f"chat-messages/{message['task_id']}/stop", json={"user": "ada"})
        assert stopped.json() == {"result": "success"}
        turn = Turn(list(stream))
    assert turn.names[-1] == "workflow_finished"
    assert not turn.of("message_end")
    finished = turn.one("workflow_finished")["data"]
    assert finished["status"] == "stopped"
    assert finished["error"] in ("Aborted: User requested stop", "Stopped by user.")
    asked = {"conversation_id": message["conversation_id"], "user": "ada"}
    assert box.request("GET", "messages", params=asked).json()["data"][0]["answer"] == "half"


def test_stopping_an_unknown_task_succeeds(box: RunningBox) -> None:
    assert box.request("POST", "chat-messages/none/stop", json={"user": "ada"}).json() == {"result": "success"}


def test_another_user_can_stop_a_run_too(box: RunningBox) -> None:
    """As in Dify 1.16, where the graph's stop command asks for no user."""
    with box.streaming("!say half\n!sleep 3") as stream:
        message = next(event for event in stream if event != "ping" and event["event"] == "message")
        box.request("POST", f"chat-messages/{message['task_id']}/stop", json={"user": "eve"})
        assert Turn(list(stream)).one("workflow_finished")["data"]["error"] == "Aborted: User requested stop"


def test_a_workflow_app_runs_in_both_modes(box: RunningBox) -> None:
    body = {"inputs": {"text": "hello"}, "user": "ada"}
    answer = box.request("POST", "workflows/run", app="workflow", json=body).json()
    assert answer["data"]["outputs"] == {"text": "hello"}
    assert answer["data"]["status"] == "succeeded"
    headers = {"Authorization": f"Bearer {box.key('workflow')}"}
    wanted = {**body, "response_mode": "streaming"}
    with box.http.stream("POST", "workflows/run", json=wanted, headers=headers) as stream:
        turn = Turn(list(events(stream)))
    assert "".join(event["data"]["text"] for event in turn.of("text_chunk")) == "hello"
    assert turn.names[-1] == "workflow_finished"
    assert "conversation_id" not in turn.events[-1]


def test_the_plugins_log_is_kept(box: RunningBox) -> None:
    eventually(lambda: box.own("GET", "plugin/log").json()["lines"])
