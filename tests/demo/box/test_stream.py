"""A streamed chat message says what Dify says, in Dify's order."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.demo.box.running import RunningBox, eventually

CHAT_FRAME = {"event", "conversation_id", "message_id", "created_at", "task_id"}
NODE = ["node_started", "node_finished"]


def test_events_come_in_difys_order(box: RunningBox) -> None:
    turn = box.chat("one\ntwo")
    assert turn.events[0] == "ping"
    assert turn.names == [
        "workflow_started",
        *NODE,
        "node_started",
        *["message"] * 4,
        "node_finished",
        *NODE,
        "message_end",
        "workflow_finished",
    ]


def test_every_event_names_its_turn(box: RunningBox) -> None:
    turn = box.chat("hello")
    for event in turn.events[1:]:
        assert event.keys() >= CHAT_FRAME
        assert {name: event[name] for name in CHAT_FRAME - {"event"}} == {
            name: turn.events[1][name] for name in CHAT_FRAME - {"event"}
        }


def test_messages_carry_the_text_and_the_node_it_comes_from(box: RunningBox) -> None:
    messages = box.chat("!say grüße \n!say 世界").of("message")
    assert [message["answer"] for message in messages] == ["grüße ", "世界", "", ""]
    assert {tuple(message["from_variable_selector"]) for message in messages} == {("1770000000002", "text")}
    assert messages[0]["id"] == messages[0]["message_id"]


def test_the_end_tells_answer_and_usage(box: RunningBox) -> None:
    turn = box.chat("hello")
    usage = turn.one("message_end")["metadata"]["usage"]
    finished = turn.one("workflow_finished")["data"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] == finished["total_tokens"] > 0
    assert finished["outputs"] == {"answer": "hello", "files": []}
    assert (finished["status"], finished["error"], finished["total_steps"]) == ("succeeded", None, 3)
    assert finished["created_by"]["user"] == "ada"


def test_nodes_are_named_and_timed(box: RunningBox) -> None:
    turn = box.chat("hello")
    assert [event["data"]["title"] for event in turn.of("node_started")] == ["Start", "Assistant", "Answer"]
    model_node = turn.of("node_finished")[1]["data"]
    assert model_node["node_type"] == "llm"
    assert model_node["status"] == "succeeded"
    assert model_node["outputs"]["text"] == "hello"
    assert [each["role"] for each in model_node["process_data"]["prompts"]] == ["system", "user"]
    assert [each["files"] for each in model_node["process_data"]["prompts"]] == [[], []]


def test_prices_are_written_plainly_and_as_text(box: RunningBox) -> None:
    """The test plugin's prices are Python's `0E-7`; Dify's daemon writes them without an exponent."""
    turn = box.chat("hello")
    model_node = turn.of("node_finished")[1]["data"]
    assert model_node["execution_metadata"]["total_price"] == "0"
    for usage in (model_node["outputs"]["usage"], turn.one("message_end")["metadata"]["usage"]):
        assert {value for name, value in usage.items() if name.endswith("_price")} <= {"0"}


def test_the_workflow_tells_its_inputs_without_the_conversation(box: RunningBox) -> None:
    turn = box.chat("hello", user="grace")
    started = turn.one("workflow_started")
    inputs = started["data"]["inputs"]
    assert inputs["sys.query"] == "hello"
    assert inputs["sys.user_id"] == "grace"
    assert inputs["sys.workflow_run_id"] == started["workflow_run_id"]
    assert "sys.conversation_id" not in inputs


def test_a_waiting_run_pings(box: RunningBox) -> None:
    with box.streaming("!sleep 1.2\n!say done") as events:
        arrived = list(events)
    waited = arrived[: next(i for i, event in enumerate(arrived) if event != "ping" and event["event"] == "message")]
    assert waited.count("ping") >= 3


def test_empty_chunks_arrive_as_empty_messages(box: RunningBox) -> None:
    messages = box.chat("!beat 0.01 3\n!say x").of("message")
    assert [message["answer"] for message in messages] == ["", "", "", "x", "", ""]


def test_text_streams_while_the_node_still_works(box: RunningBox) -> None:
    with box.streaming("!say first\n!sleep 1\n!say last") as events:
        first = next(event for event in events if event != "ping" and event["event"] == "message")
        assert first["answer"] == "first"
        assert box.run(box.state()["runs"][-1]["workflow_run_id"])["status"] == "running"
        list(events)


def test_a_client_that_leaves_does_not_stop_the_run(box: RunningBox) -> None:
    with box.streaming("!sleep 0.6\n!say all of it") as events:
        run_id = next(event for event in events if event != "ping")["workflow_run_id"]
    run = eventually(lambda: (found := box.run(run_id))["status"] == "succeeded" and found)
    messages = box.request("GET", "messages", params={"conversation_id": run["conversation_id"], "user": "ada"})
    assert messages.json()["data"][0]["answer"] == "all of it"


def test_blocking_mode_answers_at_once_with_everything(box: RunningBox) -> None:
    answer = box.block("!say whole\n!say  answer").json()
    assert answer["event"] == "message"
    assert answer["answer"] == "whole answer"
    assert answer["mode"] == "advanced-chat"
    assert answer["metadata"]["usage"]["total_tokens"] > 0
    assert answer.keys() >= {"task_id", "id", "message_id", "conversation_id", "created_at"}


def test_many_runs_at_once_keep_apart(box: RunningBox) -> None:
    def one(number: int) -> tuple[str, str]:
        turn = box.chat(f"!sleep 0.5\n!say from {number}\n!tell", user=f"user-{number}")
        return turn.answer.split("{")[0], turn.told["user"]

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(one, range(40)))
    assert [text for text, _ in answers] == [f"from {number}" for number in range(40)]
    assert len({end_user for _, end_user in answers}) == 40


@pytest.mark.parametrize("app", ["Clawback minimal", "Clawback router", "Clawback pipeline"])
def test_every_json_line_is_compact_utf8(box: RunningBox, app: str) -> None:
    body = {"inputs": {}, "query": "ü", "user": "ada", "response_mode": "streaming"}
    text = box.request("POST", "chat-messages", app=app, json=body).text
    lines = [line for line in text.split("\n\n") if line]
    assert all(line == "event: ping" or line.startswith("data: {") for line in lines)
    assert '"answer":"ü"' in text
    assert json.loads(lines[-1].removeprefix("data: "))["event"] == "workflow_finished"
