"""Transcripts as clients write them: torn apart, cut, repeated, with words of the user where nobody expects any."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from demo.stack import Stack
from tests.e2e.conftest import call, upstream_log

Message = dict[str, Any]
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("read", "write")
]
# One pixel.
PNG = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


def post(stack: Stack, messages: list[Message], status: int = 200, **more: Any) -> httpx.Response:
    response = httpx.post(
        f"{stack.base_url}/chat/completions",
        json={"model": "minimal", "messages": messages, "tools": TOOLS, **more},
        headers={"Authorization": f"Bearer {stack.client_token}"},
        timeout=60,
    )
    assert response.status_code == status, response.text
    return response


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def said(response: httpx.Response) -> Message:
    message: Message = response.json()["choices"][0]["message"]
    return message


def asks(*calls: Message, text: str | None = None) -> Message:
    return {"role": "assistant", "content": text, "tool_calls": list(calls)}


def result(of: Message, content: Any) -> Message:
    return {"role": "tool", "tool_call_id": of["id"], "content": content}


@pytest.fixture
def two(stack: Stack, request: pytest.FixtureRequest) -> tuple[Message, httpx.Response, list[Message]]:
    """A turn whose model waits for two results."""
    asked = user(f"{call('read', path='a')}\n{call('write', path='b')}\n!then\n!say done {request.node.name}")
    waiting = post(stack, [asked])
    return asked, waiting, said(waiting)["tool_calls"]


Two = tuple[Message, httpx.Response, list[Message]]
Told = Callable[[Message, list[Message]], list[Message]]


@pytest.mark.parametrize(
    "told",
    [
        lambda asked, c: [asked, asks(c[0]), result(c[0], "A"), asks(c[1]), result(c[1], "B")],
        lambda asked, c: [asked, result(c[0], "A"), result(c[1], "B")],
        lambda _, c: [{"role": "system", "content": "Be brief."}, result(c[0], "A"), result(c[1], "B")],
        lambda asked, c: [asked, asks(c[1]), result(c[1], "B"), result(c[0], "A")],
        lambda asked, c: [asked, result(c[0], "A"), asks(*c), result(c[1], "B")],
        lambda asked, c: [asked, asks(*c), result(c[0], "A"), {"role": "assistant", "content": "…"}, result(c[1], "B")],
        lambda asked, c: [asked, asks(*c), result(c[0], "A"), result(c[0], "other"), result(c[1], "B")],
        lambda asked, c: [asked, asks(*c), result(c[0], "[Tool result missing]"), result(c[0], "A"), result(c[1], "B")],
        lambda asked, c: [asked, asks(*c), result(c[0], "A"), result(c[1], "B"), asks(*c), result(c[0], "again")],
        lambda asked, c: [asked, asks(*_with(c, arguments={"path": "a"})), result(c[0], "A"), result(c[1], "B")],
    ],
    ids=[
        "a call a message",
        "calls cut away",
        "all but the results cut away",
        "one call cut away",
        "before its call",
        "text between",
        "two results",
        "stand-in first",
        "run twice",
        "arguments as objects",
    ],
)
def test_the_results_of_an_open_round_are_found(stack: Stack, two: Two, told: Told) -> None:
    asked, waiting, calls = two
    answered = post(stack, told(asked, calls))
    assert answered.headers["x-clawback-run"] == waiting.headers["x-clawback-run"]
    (*_, last) = upstream_log(stack, said(answered)["content"])
    results = [message["content"] for message in last["request"]["messages"] if message["role"] == "tool"]
    assert results == ["A", "B"]


@pytest.mark.parametrize("word", ["[Tool result missing]", "aborted", "(no output recorded)"])
def test_a_result_that_comes_after_its_stand_in_counts(stack: Stack, two: Two, word: str) -> None:
    asked, waiting, calls = two
    given_up = [asked, said(waiting), result(calls[0], "A"), result(calls[1], word)]
    for _ in range(2):
        answered = post(stack, given_up)
        assert answered.headers["x-clawback-run"] == waiting.headers["x-clawback-run"]
    late = post(stack, [*given_up[:-1], result(calls[1], "B")])
    assert late.headers["x-clawback-run"] != waiting.headers["x-clawback-run"]
    (*_, last) = upstream_log(stack, said(late)["content"])
    assert [m["content"] for m in last["request"]["messages"] if m["role"] == "tool"] == ["A", "B"]
    refused = post(stack, [*given_up[:2], result(calls[0], "other"), result(calls[1], word)], 409).json()["error"]
    assert refused["type"] == "invalid_request_error"


def _with(calls: list[Message], **function: Any) -> list[Message]:
    return [each | {"function": each["function"] | function} for each in calls]


def test_words_behind_some_of_the_results_begin_a_new_turn(stack: Stack, two: Two) -> None:
    asked, waiting, calls = two
    some = [asked, said(waiting), result(calls[0], "A")]
    refused = post(stack, some, 400).json()["error"]
    assert (refused["code"], calls[1]["id"] in refused["message"]) == ("missing_tool_results", True)
    for words in (["!say on"], ["!say on"], ["well", "!say on"]):
        moved = post(stack, [*some, *map(user, words)])
        assert said(moved)["content"].startswith("on")
    store = stack.store()
    try:
        old = store.run(waiting.headers["x-clawback-run"])
    finally:
        store.close()
    assert old
    assert old.state == "cancelled"


def test_words_behind_all_results_belong_to_the_turn(stack: Stack, two: Two) -> None:
    asked, waiting, calls = two
    told = [asked, said(waiting), result(calls[0], "A"), user("hurry"), result(calls[1], "B")]
    assert post(stack, told).headers["x-clawback-run"] == waiting.headers["x-clawback-run"]


def test_words_behind_an_answer_that_never_arrived_are_answered(stack: Stack, two: Two) -> None:
    asked, waiting, calls = two
    done = [asked, said(waiting), result(calls[0], "A"), result(calls[1], "B")]
    first = post(stack, done)
    again = post(stack, done)
    assert said(again) == said(first)
    moved = post(stack, [*done, user("!say elsewhere")])
    assert "elsewhere" in said(moved)["content"]


@pytest.mark.parametrize("call_id", ["c" * 281, "call_x__thought__" + "Q" * 4554, "", None, 7])
def test_ids_of_finished_turns_are_no_business_of_ours(stack: Stack, call_id: Any) -> None:
    old = {"id": call_id, "type": "function", "function": {"name": "read", "arguments": "{}"}}
    post(stack, [user("a"), asks(old), result(old, "x"), {"role": "assistant", "content": "ok"}, user("!say ok")])


def test_the_same_id_may_come_every_turn(stack: Stack) -> None:
    old = {"id": "call_0", "type": "function", "function": {"name": "read", "arguments": "{}"}}
    turn = [user("a"), asks(old), result(old, "x"), {"role": "assistant", "content": "ok"}]
    post(stack, [*turn, *turn, *turn, user("!say ok")])


@pytest.mark.parametrize("arguments", [{"path": "a"}, None, [], 3, "{", ""])
def test_arguments_of_finished_turns_are_mended(stack: Stack, arguments: Any) -> None:
    old = {"id": "c1", "type": "function", "function": {"name": "read", "arguments": arguments}}
    post(stack, [user("a"), asks(old), result(old, "x"), {"role": "assistant", "content": "ok"}, user("!say ok")])


def test_thinking_of_finished_turns_is_left_out(stack: Stack) -> None:
    thought = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "ok"},
    ]
    post(stack, [user("a"), {"role": "assistant", "content": thought}, user("!say ok")])
    unknown = [{"type": "nothing", "text": "ok"}]
    post(stack, [user("a"), {"role": "assistant", "content": unknown}, user("!say ok")], 400)


def test_ids_that_a_client_lost_are_found_again_in_order(stack: Stack, two: Two) -> None:
    asked, waiting, calls = two
    bare = [each | {"id": ""} for each in calls]
    answered = post(stack, [asked, asks(*bare), result(bare[0], "A"), result(bare[1], "B")])
    assert answered.headers["x-clawback-run"] == waiting.headers["x-clawback-run"]
    (*_, last) = upstream_log(stack, said(answered)["content"])
    assert [m["content"] for m in last["request"]["messages"] if m["role"] == "tool"] == ["A", "B"]


def test_an_image_in_a_result_reaches_the_model(stack: Stack, two: Two) -> None:
    asked, waiting, calls = two
    shown = [{"type": "text", "text": "here"}, {"type": "image_url", "image_url": {"url": PNG}}]
    done = [asked, said(waiting), result(calls[0], shown), result(calls[1], "B")]
    answered = post(stack, done)
    (*_, last) = upstream_log(stack, said(answered)["content"])
    assert PNG in json.dumps(last["request"]["messages"])
    post(stack, [*done, said(answered), user("!say later")])
    (*_, later) = upstream_log(stack, "!say later")
    assert PNG in json.dumps(later["request"]["messages"])


@pytest.mark.parametrize("observations", [1, 2], ids=["together", "each"])
def test_calls_and_results_as_text_go_on_in_the_same_run(stack: Stack, two: Two, observations: int) -> None:
    asked, waiting, calls = two
    wrote = {"role": "assistant", "content": [{"type": "text", "text": f"Calling tools:\n{calls}"}]}
    texts = ["Observation:\nA\nB"] if observations == 1 else ["Observation:\nA", "Observation:\nB"]
    for _ in range(2):
        answered = post(stack, [asked, wrote, *map(user, texts)])
        assert answered.headers["x-clawback-run"] == waiting.headers["x-clawback-run"]
    moved = post(stack, [asked, wrote, *map(user, texts), said(answered), user("!say on")])
    assert said(moved)["content"].startswith("on")


def test_the_user_s_next_words_behind_results_as_text_are_the_user_s(stack: Stack, two: Two) -> None:
    asked, _, calls = two
    wrote = {"role": "assistant", "content": f"Calling tools:\n{calls}"}
    moved = post(stack, [asked, wrote, user("Observation:\nA\nB\nNew task:\nGo on.\n!say on")])
    assert said(moved)["content"] == "on"
    (*_, last) = upstream_log(stack, "Go on.")
    assert last["request"]["messages"][-1] == user("New task:\nGo on.\n!say on")


@pytest.mark.parametrize("words", ["", "\nNew task:\nLook.\n!say seen"], ids=["of a result", "of the next words"])
def test_pictures_beside_results_as_text_reach_the_model(stack: Stack, two: Two, words: str) -> None:
    asked, waiting, calls = two
    wrote = {"role": "assistant", "content": f"Calling tools:\n{calls}"}
    picture = {"type": "image_url", "image_url": {"url": PNG}}
    behind = {"role": "user", "content": [{"type": "text", "text": f"Observation:\nA\nB{words}"}, picture]}
    answered = post(stack, [asked, wrote, behind])
    assert (answered.headers["x-clawback-run"] == waiting.headers["x-clawback-run"]) is not words
    (*_, last) = upstream_log(stack, asked["content"].rpartition("!say ")[2])
    assert PNG in json.dumps(last["request"]["messages"][-1])


def test_ids_of_somebody_else_in_a_text_are_text(stack: Stack, two: Two) -> None:
    _, waiting, calls = two
    one_of_them = {"role": "assistant", "content": f"I saw {calls[0]['id']}."}
    other = post(stack, [user("Look."), one_of_them, user("!say what of it")])
    assert other.headers["x-clawback-run"] != waiting.headers["x-clawback-run"]
