"""What Dify says about a run is understood, in its present words and in those of 1.4.2."""

import json
from typing import Any

import pytest

from bridge.dify import events
from bridge.dify.events import answer_in, read, read_payload
from tools.sse import Oversized, ServerSentEvent
from tools.wire import Usage

ENVELOPE = {"conversation_id": "conv", "message_id": "msg", "task_id": "task", "created_at": 1790000000}
IDS = {"conversation_id": "conv", "message_id": "msg", "task_id": "task"}


def said(name: str, **fields: Any) -> events.Event | None:
    payload = {"event": name} | ENVELOPE | fields
    return read(ServerSentEvent("", json.dumps(payload)))


def test_a_run_begins_under_its_ids() -> None:
    data = {"id": "run", "workflow_id": "wf", "inputs": {}, "created_at": 1, "reason": "resumption"}
    assert said("workflow_started", workflow_run_id="run", data=data) == events.WorkflowStarted(
        workflow_run_id="run", reason="resumption", **IDS
    )
    assert said("workflow_started", workflow_run_id="run", data={"id": "run"}) == events.WorkflowStarted(
        workflow_run_id="run", **IDS
    )


def test_nodes_begin_end_fail_and_are_tried_again() -> None:
    node = {"id": "x", "node_id": "llm_1", "node_type": "llm", "title": "Work", "index": 2, "inputs": None}
    known = {"node_id": "llm_1", "title": "Work", "execution_id": "x"} | IDS
    assert said("node_started", data=node) == events.NodeStarted(node_type="llm", **known)
    assert said("node_finished", data=node | {"status": "succeeded", "error": None}) == events.NodeFinished(
        node_type="llm", status="succeeded", **known
    )
    priced = {
        "status": "succeeded",
        "execution_metadata": {"total_tokens": 7, "total_price": "0.02", "currency": "USD"},
    }
    assert said("node_finished", data=node | priced) == events.NodeFinished(
        node_type="llm", status="succeeded", total_tokens=7, price="0.02", currency="USD", **known
    )
    unpriced = {"status": "succeeded", "execution_metadata": {"total_price": "0.0", "currency": "USD"}}
    assert said("node_finished", data=node | unpriced) == events.NodeFinished(
        node_type="llm", status="succeeded", **known
    )
    assert said("node_finished", data=node | {"status": "failed", "error": "boom"}) == events.NodeFinished(
        node_type="llm", status="failed", error="boom", **known
    )
    assert said("node_retry", data=node | {"error": "boom", "retry_index": 1}) == events.NodeRetry(
        error="boom", **known
    )


def test_a_piece_of_the_answer_names_its_node_where_dify_says_it() -> None:
    assert said("message", id="msg", answer="Hi", from_variable_selector=["llm_1", "text"]) == events.Message(
        answer="Hi", node_id="llm_1", **IDS
    )
    silences: list[dict[str, Any]] = [{}, {"from_variable_selector": None}, {"from_variable_selector": []}]
    for silent in silences:
        assert said("message", id="msg", answer="Hi", **silent) == events.Message(answer="Hi", **IDS)


def test_an_empty_piece_is_a_sign_of_life_and_no_error() -> None:
    assert said("message", id="msg", answer="") == events.Message(answer="", **IDS)
    assert said("message", id="msg", answer=None) == events.Message(answer="", **IDS)


def test_reasoning_comes_apart_from_the_answer() -> None:
    data = {"message_id": "msg", "reasoning": "hm", "node_id": "llm_1", "is_final": True}
    assert said("reasoning_chunk", data=data) == events.ReasoningChunk(
        reasoning="hm", node_id="llm_1", is_final=True, **IDS
    )


def test_moderation_replaces_the_answer() -> None:
    assert said("message_replace", answer="…", reason="output_moderation") == events.MessageReplace(
        answer="…", reason="output_moderation", **IDS
    )


@pytest.mark.parametrize(
    ("metadata", "usage"),
    [
        (
            {"usage": {"prompt_tokens": 120, "completion_tokens": 30, "total_tokens": 150, "total_price": "0"}},
            Usage(prompt_tokens=120, completion_tokens=30),
        ),
        ({"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}, None),
        ({"usage": None}, None),
        ({"retriever_resources": []}, None),
        (None, None),
    ],
)
def test_usage_is_what_dify_counted_or_none(metadata: Any, usage: Usage | None) -> None:
    assert said("message_end", id="msg", metadata=metadata) == events.MessageEnd(usage=usage, **IDS)


def test_a_run_ends_in_one_of_four_ways() -> None:
    for status, good in (("succeeded", True), ("partial-succeeded", True), ("failed", False), ("stopped", False)):
        data = {"id": "run", "status": status, "outputs": {"answer": "A"}, "error": "", "total_tokens": 150}
        event = said("workflow_finished", workflow_run_id="run", data=data)
        assert event == events.WorkflowFinished(
            workflow_run_id="run", status=status, error=None, outputs={"answer": "A"}, total_tokens=150, **IDS
        )
        assert isinstance(event, events.WorkflowFinished)
        assert event.succeeded is good


def test_a_failed_run_says_why_and_has_no_outputs() -> None:
    data = {"id": "run", "status": "failed", "outputs": None, "error": "boom", "total_tokens": 0}
    assert said("workflow_finished", workflow_run_id="run", data=data) == events.WorkflowFinished(
        workflow_run_id="run", status="failed", error="boom", outputs={}, total_tokens=0, **IDS
    )


def test_a_run_that_waits_for_a_person_says_where() -> None:
    data = {"workflow_run_id": "run", "paused_nodes": ["form_1"], "reasons": [], "status": "paused"}
    assert said("workflow_paused", workflow_run_id="run", data=data) == events.WorkflowPaused(
        node_ids=("form_1",), **IDS
    )


def test_errors_and_agent_apps_and_pings_are_understood() -> None:
    assert said("error", status=400, code="invalid_param", message="no") == events.ErrorEvent(
        status=400, code="invalid_param", message="no", **IDS
    )
    assert said("agent_message", id="msg", answer="Hi") == events.AgentMessage(answer="Hi", **IDS)
    thought = said("agent_thought", id="t", position=1, thought=None, tool="search", tool_input="{}", observation="x")
    assert thought == events.AgentThought(tool="search", tool_input="{}", observation="x", **IDS)
    assert read(ServerSentEvent("ping", "")) == events.Ping()
    assert said("ping") == events.Ping(**IDS)


@pytest.mark.parametrize("name", ["iteration_started", "tts_message", "message_file", "agent_log", "of the future", ""])
def test_what_the_bridge_has_no_use_for_is_left_out(name: str) -> None:
    assert said(name, data={"anything": 1}) is None


def test_fields_of_the_wrong_kind_are_read_as_absent() -> None:
    assert read_payload({"event": "node_started", "data": None}) == events.NodeStarted(
        node_id="", title="", node_type=""
    )
    assert read_payload({"event": "message", "answer": 7, "task_id": 7}) == events.Message(answer="")


@pytest.mark.parametrize("data", ["{", "[]", '"text"', "<html>", '{"a":' * 100_000])
def test_what_is_not_dify_is_called_unreadable(data: str) -> None:
    with pytest.raises(events.Unreadable):
        read(ServerSentEvent("", data))


def test_a_giant_event_is_only_dropped_where_nothing_depends_on_it() -> None:
    assert read(Oversized('data: {"event": "node_finished", "conv')) is None
    for head in ('data: {"event": "message", "answer": "', 'data:{"event":"workflow_finished"', "data: xxxx"):
        with pytest.raises(events.Unreadable, match="too large"):
            read(Oversized(head))


REPORT = {
    "dify_model_identity": "__dify__file__",
    "transfer_method": "tool_file",
    "type": "document",
    "filename": "report.pdf",
    "url": "/files/tools/1.pdf?sign=x",
}


@pytest.mark.parametrize("outputs", [{"file": REPORT}, {"files": [REPORT]}, {"all": {"one": [REPORT]}}])
def test_files_among_a_workflow_s_outputs_are_files_and_no_answer(outputs: dict[str, Any]) -> None:
    data = {"id": "r", "status": "succeeded", "outputs": outputs}
    finished = read_payload({"event": "workflow_finished", "data": data})
    assert isinstance(finished, events.WorkflowFinished)
    assert finished.files == (events.File("report.pdf", "/files/tools/1.pdf?sign=x", is_image=False),)
    assert answer_in(finished.outputs) == ""
    assert answer_in({**outputs, "said": "words"}) == "words"


def test_what_only_looks_like_a_file_is_an_answer() -> None:
    link = {"url": "http://example/", "filename": "x"}
    assert answer_in({"link": link}) == json.dumps(link)


def test_a_user_s_own_file_is_none_of_the_app_s() -> None:
    sent = {"event": "message_file", "id": "f", "type": "image", "url": "http://dify/f.png"}
    assert read_payload({**sent, "belongs_to": "user"}) is None
    made = read_payload({**sent, "belongs_to": "assistant"})
    assert isinstance(made, events.MessageFile)
    assert made.file == events.File("f.png", "http://dify/f.png", is_image=True)
