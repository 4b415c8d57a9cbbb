"""Dify's limits, made short enough to reach."""

import threading
import time
from pathlib import Path

import pytest

from tests.demo.box.running import RunningBox, Turn, eventually, started


def test_an_invocation_that_takes_too_long_is_killed(hurried: RunningBox) -> None:
    turn = hurried.chat("!say before\n!sleep 2\n!say too late")
    finished = turn.one("workflow_finished")["data"]
    assert finished["status"] == "failed"
    assert finished["error"].startswith("[Obedient] Error: req_id: ")
    assert finished["error"].endswith("PluginDaemonInternalServerError: killed by timeout")
    assert turn.answer == "before"


def test_chunks_do_not_prolong_an_invocation(hurried: RunningBox) -> None:
    assert "killed by timeout" in hurried.chat("!beat 0.2 20").one("workflow_finished")["data"]["error"]


def test_the_plugin_is_not_told_and_its_late_output_is_dropped(hurried: RunningBox) -> None:
    pid = hurried.state()["plugin"]["pid"]
    hurried.chat("!sleep 1.8\n!say too late")
    time.sleep(0.5)
    assert hurried.chat("next").answer == "next"
    assert hurried.state()["plugin"]["pid"] == pid


def test_a_call_whose_plugin_died_hangs_until_its_limit(hurried: RunningBox) -> None:
    finished = hurried.chat("!say last words\n!exit").one("workflow_finished")["data"]
    assert finished["error"].endswith("killed by timeout")
    assert hurried.chat("next").answer == "next"


def test_a_workflow_that_took_too_long_dies_when_its_node_ends(hurried: RunningBox) -> None:
    """No single node is too slow here, but planner and worker are together."""
    turn = hurried.chat("!sleep 1.1\n!say done", app="Clawback pipeline")
    finished = turn.one("workflow_finished")["data"]
    assert finished["status"] == "stopped"
    assert finished["error"].startswith("Aborted: Maximum execution time exceeded")
    assert [event["data"]["title"] for event in turn.of("node_finished")] == ["Start", "Planner", "Worker"]


@pytest.mark.parts
def test_an_app_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    with started(tmp_path, "--app-seconds", "0.8") as box:
        turn = box.chat("!say half\n!sleep 20\n!say whole")
    assert turn.answer == "half"
    finished = turn.one("workflow_finished")["data"]
    assert (finished["status"], finished["error"]) == ("stopped", "Stopped by user.")


def test_a_run_without_a_worker_slot_waits_in_silence(hurried: RunningBox) -> None:
    turns: list[Turn] = []
    busy = [threading.Thread(target=lambda: turns.append(hurried.chat("!beat 0.1 8", user="busy"))) for _ in range(2)]
    for thread in busy:
        thread.start()
    eventually(lambda: [run["status"] for run in hurried.state()["runs"]].count("running") == 2)
    with hurried.streaming("!say my turn") as stream:
        assert next(stream) == "ping"
        [queued] = [run for run in hurried.state()["runs"] if run["status"] == "queued"]
        path = f"workflows/run/{queued['workflow_run_id']}"
        assert hurried.request("GET", path).status_code == 404
        rest = Turn(list(stream))
    assert rest.events[0]["event"] == "workflow_started"
    assert rest.answer == "my turn"
    for thread in busy:
        thread.join()
    assert all(turn.names[-1] == "workflow_finished" for turn in turns)


def test_blocking_requests_take_the_places_of_an_app(hurried: RunningBox) -> None:
    """Dify gives a stream's place back before its run starts, so only blocking requests can fill them."""
    busy = [threading.Thread(target=hurried.block, args=("!beat 0.1 10",)) for _ in range(3)]
    for thread in busy:
        thread.start()
    eventually(lambda: [run["status"] for run in hurried.state()["runs"]].count("running") == 3)
    body = {"inputs": {}, "query": "hi", "user": "ada", "response_mode": "streaming"}
    response = hurried.request("POST", "chat-messages", json=body)
    assert (response.status_code, response.json()["code"]) == (429, "too_many_requests")
    for thread in busy:
        thread.join()
    assert hurried.chat("hi").answer == "hi"
