"""How much one request may hold, at every route that takes messages or tools; and that each is looked at once."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from bridge.api.anthropic import messages_request
from bridge.api.bodies import check_sizes
from bridge.api.openai import responses_request
from bridge.api.openai.call_ids import _renamed
from bridge.api.openai.chat_request import ask_of, parse_chat_request
from bridge.api.openai.tool_choice import offer
from bridge.api.openai.turns import Ask
from bridge.api.reading import loads
from bridge.app import create_app
from bridge.config import Limits, parse
from bridge.runs.executors.registry import Registration
from bridge.runs.requests import RunRequest
from bridge.runs.sessions.sessions import Session, past_of, request_key, turn_key
from bridge.runs.transcripts import transcript_of
from bridge.store.rows import CallRow
from tools.definitions import ToolDefinition
from tools.results import Message
from tools.tokens import hash_token
from tools.transcript import repair

MESSAGES, TOOLS = 12, 5
USER = {"role": "user", "content": "hi"}
TOKENS = ("client", "executor")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    folder: Path = tmp_path_factory.mktemp("sizes")
    made = create_app(
        parse(
            {
                "data_dir": str(folder),
                "tokens": {name: hash_token(name) for name in TOKENS},
                "apps": [{"model": "m", "base_url": "http://127.0.0.1:9/v1", "api_key": "app-x"}],
                "limits": {"messages": MESSAGES, "tools": TOOLS},
            }
        )
    )
    yield made
    made.extensions["clawback"].sweeper.stop()
    made.extensions["clawback"].store.close()


def named(count: int) -> list[dict[str, Any]]:
    return [{"type": "function", "name": f"t{number}"} for number in range(count)]


def tools(count: int) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": f"t{number}"}} for number in range(count)]


def calls(count: int) -> dict[str, Any]:
    asked = [{"id": f"c{number}", "type": "function", "function": {"name": "t"}} for number in range(count)]
    return {"role": "assistant", "content": None, "tool_calls": asked}


def choice(count: int) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools(count)}}


CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
EXECUTORS, HEARTBEAT = "/executor/v1/executors", "/executor/v1/executors/x/heartbeat"
OUTPUTS = [{"tool_call_id": f"c{number}", "output": "x"} for number in range(MESSAGES + 1)]
TEXTS = [{"type": "text", "text": "x"}] * (MESSAGES + 1)
ITEM = {"type": "message", "role": "user", "content": "hi"}
TOO_MUCH: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "messages": (CHAT, "client", {"messages": [USER] * (MESSAGES + 1)}, "messages"),
    "parts": (CHAT, "client", {"messages": [{"role": "user", "content": TEXTS}]}, "messages"),
    "calls": (CHAT, "client", {"messages": [USER, calls(MESSAGES)]}, "messages"),
    "results": (CHAT, "client", {"messages": [USER], "tool_results": OUTPUTS}, "tool_results"),
    "tools": (CHAT, "client", {"messages": [USER], "tools": tools(TOOLS + 1)}, "tools"),
    "functions": (CHAT, "client", {"messages": [USER], "functions": named(TOOLS + 1)}, "functions"),
    "allowed tools": (CHAT, "client", {"messages": [USER], "tools": tools(TOOLS), "tool_choice": choice(TOOLS + 1)},
                      "tool_choice.allowed_tools.tools"),
    "items": (RESPONSES, "client", {"input": [ITEM] * (MESSAGES + 1)}, "input"),
    "tools of responses": (RESPONSES, "client", {"input": "hi", "tools": named(TOOLS + 1)}, "tools"),
    "tools allowed of responses": (RESPONSES, "client", {"input": "hi", "tools": named(TOOLS), "tool_choice": {
        "type": "allowed_tools", "mode": "auto", "tools": named(TOOLS + 1)}}, "tool_choice.tools"),
    "an executor's tools": (EXECUTORS, "executor", {"name": "x", "tools": tools(TOOLS + 1)}, "tools"),
    "an executor's new tools": (HEARTBEAT, "executor", {"tools": tools(TOOLS + 1)}, "tools"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_MUCH)
def test_more_than_the_limit_is_refused_with_the_number(app: Flask, name: str) -> None:
    path, token, body, field = TOO_MUCH[name]
    answer = app.test_client().post(path, json={"model": "m", **body}, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 400
    error = answer.json["error"] if answer.json else {}
    assert error["param"] == field
    limit, kind = (TOOLS, "tools") if "tools" in field or field == "functions" else (MESSAGES, "messages")
    assert error["code"] == f"too_many_{kind}"
    assert f"there are {limit + 1} " in error["message"]
    assert f"at most {limit} " in error["message"]
    assert f"limits.{kind}" in error["message"]


def test_as_many_as_the_limit_are_taken(app: Flask) -> None:
    limits = Limits(messages=MESSAGES, tools=TOOLS)
    check_sizes({"messages": [USER] * (MESSAGES - 2) + [calls(2)], "tools": tools(TOOLS)}, limits)
    check_sizes({"messages": "x", "tools": 7, "input": [1, None], "tool_choice": {"tools": "x"}}, limits)
    body = {"name": "full", "tools": tools(TOOLS)}
    answer = app.test_client().post(EXECUTORS, json=body, headers={"Authorization": "Bearer executor"})
    assert answer.status_code == 200


def test_a_chain_of_responses_counts_as_what_it_holds(app: Flask) -> None:
    """Each request of it is short; together they are what the model would be sent."""
    client, headers = app.test_client(), {"Authorization": "Bearer client"}
    before: str | None = None
    for _ in range(3):
        body = {"model": "m", "input": [ITEM] * (MESSAGES // 2), "background": True, "previous_response_id": before}
        answer = client.post(RESPONSES, json=body, headers=headers)
        if answer.status_code == 400:
            break
        before = (answer.json or {})["id"]
        end = time.monotonic() + 30
        while client.get(f"{RESPONSES}/{before}", headers=headers).json["status"] == "in_progress":  # type: ignore[index]
            assert time.monotonic() < end
    error = answer.json["error"] if answer.json else {}
    assert (error["code"], error["param"]) == ("too_many_messages", "previous_response_id")


# Each of many is looked at once


def lines_of(work: Callable[[], Any]) -> int:
    """Count the lines that are run, comprehensions included, while `work` is done."""
    count = 0

    def seen(frame: Any, event: str, _argument: Any) -> Any:
        nonlocal count
        frame.f_trace_lines = True
        count += event == "line"
        return seen

    before = sys.gettrace()
    sys.settrace(seen)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def words(turns: int) -> list[tuple[str, str]]:
    """Return who said what in so many turns, and what the user says then."""
    told = [(role, f"{n} {'x' * 40}") for n in range(turns) for role in ("user", "assistant")]
    return [*told, ("user", f"{turns} {'x' * 40}")]


def chat(turns: int) -> Ask:
    body = read({"messages": [{"role": role, "content": text} for role, text in words(turns)]})
    return ask_of(parse_chat_request(body), body, 1000)


def anthropic(turns: int) -> Ask:
    """As Claude Code asks: the last message is marked, and is not any more once another one stands behind it."""
    blocks = [(role, {"type": "text", "text": text}) for role, text in words(turns)]
    blocks[-1] = ("user", blocks[-1][1] | {"cache_control": {"type": "ephemeral"}})
    body = read({"system": "Help.", "messages": [{"role": role, "content": [block]} for role, block in blocks]})
    return messages_request.ask_of(messages_request.parse_messages_request(body), body, 1000)


def responses(turns: int) -> Ask:
    kinds = {"user": "input_text", "assistant": "output_text"}
    items = [{"role": role, "content": [{"type": kinds[role], "text": text}]} for role, text in words(turns)]
    body = read({"instructions": "Help.", "input": items})
    asked = responses_request.parse_responses_request(body)
    return responses_request.ask_of(asked, body, [], asked.items, asked.offered(), 1000)


def read(body: dict[str, Any]) -> dict[str, Any]:
    taken: dict[str, Any] = loads(json.dumps({"model": "m", **body}).encode())
    check_sizes(taken, Limits())
    return taken


@pytest.mark.parametrize("asking", [chat, anthropic, responses])
def test_what_was_said_before_is_not_looked_at_again(asking: Callable[[int], Ask]) -> None:
    """Clients send all of a transcript with each request: its last turn costs little more than its first."""
    session = Session("s", "openclaw", alone=True)

    def turn(turns: int) -> None:
        messages = transcript_of(asking(turns).messages)
        asked = RunRequest(messages=messages, turn=0, query="")
        asked.pieces()
        turn_key(session, "m", messages)
        request_key(session, "m", asked)
        past_of(messages)

    whole, last = lines_of(partial(turn, 500)), lines_of(partial(turn, 501))
    assert 20 * last < whole


class Counted(str):
    """A name that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)  # type: ignore[no-any-return]


def comparisons_of(work: Callable[[], Any]) -> int:
    Counted.compared = 0
    work()
    return Counted.compared


def definitions(count: int) -> list[ToolDefinition]:
    read = [ToolDefinition.model_validate(tool) for tool in tools(count)]
    for tool in read:
        tool.function.name = Counted(tool.function.name)
    return read


def test_tools_are_compared_with_few_others() -> None:
    offered = definitions(2_000)
    assert comparisons_of(lambda: offer(offered, "auto")) < 10 * len(offered)
    registered = Registration.model_construct(name="x", tools=offered)
    assert comparisons_of(registered._has_distinct_tools) < 10 * len(offered)


def history(count: int) -> list[Message]:
    """A transcript whose call ids were all used before, and share their beginnings."""
    made: list[Message] = []
    for number in range(count):
        call_id = f"{'x' * 36}{number % (count // 2)}"
        function = {"name": "t", "arguments": "{}"}
        made.append({"role": "assistant", "content": None, "tool_calls": [{"id": call_id, "function": function}]})
        made.append({"role": "tool", "tool_call_id": call_id, "content": "x"})
    return made


def rows(count: int) -> list[CallRow]:
    return [CallRow(f"call{n}", "t", "read", f'{{"n": {n}}}', None, None, state="open") for n in range(count)]


def renamed(count: int) -> list[Message]:
    asked = [
        {"id": f"own{n}", "function": {"name": "read", "arguments": f'{{"n": {n}.0}}'}} for n in reversed(range(count))
    ]
    return list(_renamed([{"role": "assistant", "tool_calls": asked}], set(), rows(count)))


def test_calls_that_a_client_renamed_are_found_whatever_their_order_and_their_numbers_look_like() -> None:
    (message,) = renamed(5)
    assert [call["id"] for call in message["tool_calls"]] == ["call4", "call3", "call2", "call1", "call0"]


GROWING: dict[str, Callable[[int], Callable[[], Any]]] = {
    "repair": lambda count: partial(repair, history(count)),
    "renamed": lambda count: lambda: renamed(count),
}


@pytest.mark.parametrize("name", GROWING)
def test_a_transcript_four_times_as_long_is_about_four_times_the_work(name: str) -> None:
    short, long = (lines_of(GROWING[name](count)) for count in (200, 800))
    assert long < 6 * short


def test_neighbours_with_one_role_are_one() -> None:
    spoken = [*([USER] * 3), {"role": "assistant", "content": "a"}, USER]
    merged = [{"role": "user", "content": "hihihi"}, *spoken[3:]]
    assert past_of(spoken).whole == past_of(merged).whole
