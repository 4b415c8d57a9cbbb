"""What an upstream wants back of its thoughts, in the items of `/v1/responses`: clients keep it unread."""

import json
from typing import Any

import pytest

from bridge.api.openai.responses_request import chat_messages, parse_responses_request, stored_items
from bridge.api.openai.responses_response import ResponseTeller
from bridge.runs.segments import Calls, End, Event, Reasoning, Text
from tools.calls import ToolCall
from tools.wire import Usage

DETAILS = ({"type": "reasoning.encrypted", "data": "q83v==", "index": 0}, {"type": "reasoning.text", "signature": "s"})
CALL = ToolCall(id="call1", name="read", arguments='{"path": "a"}')


def output(*events: Any) -> list[dict[str, Any]]:
    teller = ResponseTeller("resp_x", {"model": "m"})
    told = [each for event in events for each in teller.tell(event)]
    ended = [each["item"] for each in told if each["type"] == "response.output_item.done"]
    assert ended == teller.response()["output"], "items end in their order, in which clients keep them"
    return ended


def messages(*items: dict[str, Any]) -> list[dict[str, Any]]:
    return chat_messages(parse_responses_request({"model": "m", "input": list(items)}).items)


@pytest.mark.parametrize(
    ("events", "statuses"),
    [
        ([Reasoning("a"), Text("b")], {"reasoning": "completed", "message": "incomplete"}),
        ([Reasoning("a")], {"reasoning": "incomplete"}),
    ],
)
def test_only_what_came_last_was_cut_off(events: list[Event], statuses: dict[str, str]) -> None:
    teller = ResponseTeller("resp_x", {"model": "m"})
    teller.take([*events, End("length", Usage())])
    response = teller.response()
    assert response["status"] == "incomplete"
    assert {item["type"]: item["status"] for item in response["output"]} == statuses


def test_what_the_upstream_wants_back_goes_to_the_client_and_comes_back_with_the_call() -> None:
    for thought in ([Reasoning("Hm.")], []):
        items = output(*thought, Calls((CALL,), DETAILS), End("tool_calls", Usage()))
        assert [item["type"] for item in items] == ["reasoning", "function_call"]
        answer = {"type": "function_call_output", "call_id": "call1", "output": "x"}
        user = {"role": "user", "content": "Do it."}
        for order in (items, items[::-1]):
            said = messages(user, *order, answer)[1]
            assert (said["tool_calls"][0]["id"], said["reasoning_details"]) == ("call1", list(DETAILS))


def test_a_thought_belongs_to_what_follows_it_and_to_nothing_else() -> None:
    thought = output(Calls((CALL,), DETAILS), End("tool_calls", Usage()))[0]
    user, answer = {"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}
    said = messages(user, thought, answer, user, answer, user, thought, user, answer)
    assert [("reasoning_details" in message) for message in said] == [False, True, *[False] * 5]


def test_what_another_server_sealed_is_kept_as_it_came_and_goes_nowhere() -> None:
    for foreign in ("gAAAAABo-x==", "null", "7", "[1]", '{"a": 1}', 7, None):
        item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": foreign}
        request = parse_responses_request({"model": "m", "input": [item, {"role": "assistant", "content": "Hi."}]})
        assert chat_messages(request.items) == [{"role": "assistant", "content": "Hi."}]
        [(_, kept), _] = stored_items(request.items)
        assert json.loads(kept).get("encrypted_content") == foreign
