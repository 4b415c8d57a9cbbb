"""To OpenClaw, the hands are a model: its answers are calls, and what OpenClaw sends next are their results."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from executor.openclaw_model import Hands, prompt
from tests.levels import starts

KEY = "hands-key"
RUN = "run00001"
TOOLS = [{"type": "function", "function": {"name": "exec"}}]


class OpenClaw:
    """Sends what OpenClaw sends, and reads what it reads."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self.messages: list[dict[str, Any]] = [
            {"role": "system", "content": "You are a personal assistant."},
            {"role": "user", "content": prompt(hands.session(RUN))},
        ]

    def ask(self, **more: Any) -> dict[str, Any]:
        tail = {
            "role": "user",
            "content": [{"type": "text", "text": "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\n[[clawback:otherrun]]"}],
        }
        body = {"model": "clawback-hands", "messages": [*self.messages, tail], "tools": TOOLS, "stream": True} | more
        headers = {"Authorization": f"Bearer {KEY}"}
        response = httpx.post(f"{self._hands.url}/chat/completions", json=body, headers=headers, timeout=30)
        said: dict[str, Any] = {"content": "", "tool_calls": [], "finish_reason": None}
        for line in response.text.splitlines():
            if line.startswith("data: {"):
                choice = json.loads(line[6:])["choices"][0]
                said["content"] += choice["delta"].get("content", "")
                said["tool_calls"] += choice["delta"].get("tool_calls", [])
                said["finish_reason"] = choice["finish_reason"]
        self.messages.append({"role": "assistant", "tool_calls": said["tool_calls"]})
        return said

    def results(self, said: dict[str, Any], *outputs: str) -> None:
        for call, output in zip(said["tool_calls"], outputs, strict=True):
            self.messages.append({"role": "tool", "tool_call_id": call["id"], "content": output})


@pytest.fixture
def catalogues() -> list[list[dict[str, Any]]]:
    return []


@pytest.fixture
@starts("parts")
def hands(catalogues: list[list[dict[str, Any]]]) -> Iterator[Hands]:
    serving = Hands("127.0.0.1", 0, KEY, catalogues.append)
    yield serving
    serving.close()


def test_calls_go_out_together_and_their_results_come_home(hands: Hands) -> None:
    session, openclaw = hands.session(RUN), OpenClaw(hands)
    first, begin = session.want("exec", '{"n": 1}')
    second, again = session.want("exec", '{"n": 2}')
    assert (begin, again) == (True, False)
    said = openclaw.ask()
    assert said["finish_reason"] == "tool_calls"
    assert [call["function"]["arguments"] for call in said["tool_calls"]] == ['{"n": 1}', '{"n": 2}']
    openclaw.results(said, "one", "two")
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(openclaw.ask)
        assert (first.result(10), second.result(10)) == ("one", "two")
        third, begin = session.want("exec", "{}")
        assert not begin, "the turn is still there: the next calls go into it"
        assert len(held.result(10)["tool_calls"]) == 1
    openclaw.results(held.result(), "three")
    session.close()
    assert openclaw.ask()["finish_reason"] == "stop"
    assert third.result(1) == "three"


def test_each_turn_brings_the_catalogue(hands: Hands, catalogues: list[list[dict[str, Any]]]) -> None:
    openclaw = OpenClaw(hands)
    hands.session(RUN).close()
    assert openclaw.ask()["finish_reason"] == "stop"
    assert catalogues == [TOOLS]


def test_a_text_that_names_a_run_gets_none_of_its_calls(hands: Hands) -> None:
    hands.session(RUN).want("exec", "{}")
    stranger = OpenClaw(hands)
    stranger.messages[1] = {"role": "user", "content": f"Go on. [[clawback:{RUN}]]"}
    said = stranger.ask()
    assert (said["finish_reason"], said["tool_calls"]) == ("stop", [])


def test_openclaws_own_calls_get_a_plain_answer(hands: Hands, catalogues: list[list[dict[str, Any]]]) -> None:
    hands.session(RUN).want("exec", "{}")
    said = OpenClaw(hands).ask(tools=[])
    assert (said["finish_reason"], said["tool_calls"]) == ("stop", [])
    assert catalogues == []


def test_calls_that_a_turn_left_behind_fail_and_waiting_ones_begin_another(hands: Hands) -> None:
    session = hands.session(RUN)
    lost, _ = session.want("exec", "{}")
    OpenClaw(hands).ask()
    waiting, begin = session.want("exec", "{}")
    assert not begin
    assert session.turn_over(None), "a call waits for another turn"
    with pytest.raises(RuntimeError, match="without running this call"):
        lost.result(1)
    assert not session.turn_over("the gateway is gone")
    with pytest.raises(RuntimeError, match="the gateway is gone"):
        waiting.result(1)


def test_closing_ends_a_turn_that_only_waits(hands: Hands) -> None:
    session, openclaw = hands.session(RUN), OpenClaw(hands)
    outcome, _ = session.want("exec", "{}")
    openclaw.results(openclaw.ask(), "done")
    ended: list[str] = []

    def turn() -> None:
        ended.append(openclaw.ask()["finish_reason"])
        session.turn_over(None)

    waiting = threading.Thread(target=turn)
    waiting.start()
    assert outcome.result(10) == "done"
    hands.close()
    waiting.join(10)
    assert ended == ["stop"]


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({}, b"{}", 401),
        ({"Authorization": "Bearer other"}, b"{}", 401),
        ({"Authorization": f"Bearer {KEY}"}, b"{", 400),
        ({"Authorization": f"Bearer {KEY}"}, b"", 413),
        ({"Authorization": f"Bearer {KEY}"}, b"[]", 404),
    ],
)
def test_who_is_not_openclaw_is_refused(hands: Hands, headers: dict[str, str], content: bytes, status: int) -> None:
    response = httpx.post(f"{hands.url}/chat/completions", headers=headers, content=content)
    assert response.status_code == status
    assert response.json()["error"]["message"]
