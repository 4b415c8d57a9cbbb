"""The process: how it starts and ends, what it logs, and that many clients can be slow at once."""

import asyncio
import json
import socket
import struct
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.demo.scripted.conftest import KEY, started
from tests.demo.scripted.conversation import TOOLS, user


def test_models_are_listed(openai: OpenAI) -> None:
    names = {model.id for model in openai.models.list()}
    assert {"scripted", "scripted-light", "scripted-deepseek", "scripted-text-hermes_json"} <= names


def test_the_log_shows_requests_and_answers_in_full(http: httpx.Client, log: Any) -> None:
    body = {"model": "scripted", "messages": [user("!say hi", "!call exec")], "tools": TOOLS, "stream": True}
    http.post("/chat/completions", json=body, headers={"X-Session-Id": "s1"})
    http.post("/chat/completions", json={"model": "scripted", "messages": []})
    http.post("/chat/completions", content="no JSON")
    first, second, third = log()
    assert first["request"] == body
    assert first["headers"]["x-session-id"] == "s1"
    assert (first["status"], first["state"]) == (200, "done")
    assert first["answer"]["content"] == "hi"
    assert first["answer"]["tool_calls"][0]["function"]["name"] == "exec"
    assert first["answer"]["finish_reason"] == "tool_calls"
    assert (second["status"], second["answer"]["error"]["param"]) == (400, "messages")
    assert third["request"] == "no JSON"
    assert [entry["number"] for entry in (second, third)] == [first["number"] + 1, first["number"] + 2]


def test_the_log_shows_no_key(http: httpx.Client, log: Any) -> None:
    http.get("/models")
    assert log()[0]["headers"]["authorization"] == f"Bearer …{KEY[-4:]}"
    assert KEY not in json.dumps(log())


def test_the_log_can_be_asked_for_the_requests_that_contain_a_text(
    http: httpx.Client, any_http: httpx.Client, ready: dict[str, Any]
) -> None:
    for words in ("say a", "say b & c", "say a"):
        http.post("/chat/completions", json={"model": "scripted", "messages": [user(words)]})
    found = any_http.get(ready["log_url"], params={"containing": "b & c"}).json()
    assert [entry["request"]["messages"][0]["content"] for entry in found] == ["say b & c"]


def test_the_log_can_be_emptied(http: httpx.Client, log: Any, ready: dict[str, Any]) -> None:
    http.get("/models")
    assert len(log()) == 1
    assert http.delete(ready["log_url"]).json() == {"deleted": True}
    assert log() == []
    assert http.post(ready["log_url"]).status_code == 405


@pytest.mark.parametrize("reset", [False, True])
def test_the_log_tells_of_a_client_that_left_during_a_pause(
    http: httpx.Client, ready: dict[str, Any], log: Any, reset: bool
) -> None:
    body = json.dumps({"model": "scripted", "messages": [user("!say one", "!sleep 60", "!say two")], "stream": True})
    address = httpx.URL(ready["base_url"])
    with socket.create_connection((address.host, address.port)) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        assert connection.recv(1)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    deadline = time.monotonic() + 10
    while (state := log()[-1]["state"]) == "answering":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert state == "client_gone"


@pytest.mark.parts
def test_it_needs_no_key_when_none_is_configured_and_writes_the_ready_file(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    with started("--ready-file", str(ready), wait=False):
        deadline = time.monotonic() + 20
        while not ready.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        line = json.loads(ready.read_text())
        answer = httpx.post(
            f"{line['base_url']}/chat/completions", json={"model": "scripted", "messages": [user("hello")]}
        )
        assert answer.json()["choices"][0]["message"]["content"] == "echo: hello"
        assert list(tmp_path.iterdir()) == [ready]


@pytest.mark.parts
def test_it_ends_while_a_slow_stream_is_open() -> None:
    body = {"model": "scripted", "messages": [user("!say one", "!sleep 60")], "stream": True}
    # `started` fails where the process does not end within seconds; the stream is closed after it.
    with httpx.Client(timeout=20) as client, ExitStack() as stack, started() as ready:
        answer = stack.enter_context(client.stream("POST", f"{ready['base_url']}/chat/completions", json=body))
        assert next(answer.iter_raw())


def test_many_slow_streams_at_once_keep_to_their_own_script(ready: dict[str, Any]) -> None:
    async def one(client: httpx.AsyncClient, number: int) -> tuple[int, str]:
        lines = [f"!say {number}:", "!sleep 1", f"!say end of {number}", f'!call exec {{"command": "{number}"}}']
        body = {"model": "scripted", "messages": [user(*lines)], "tools": TOOLS, "stream": True}
        content, arguments = "", ""
        async with client.stream("POST", "/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    delta = json.loads(line[6:])["choices"][0]["delta"]
                    content += delta.get("content") or ""
                    arguments += "".join(part["function"]["arguments"] for part in delta.get("tool_calls", ()))
        assert json.loads(arguments) == {"command": str(number)}
        return number, content

    async def all_of_them() -> list[tuple[int, str]]:
        limits = httpx.Limits(max_connections=None)
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(base_url=ready["base_url"], headers=headers, timeout=60, limits=limits) as client:
            return await asyncio.gather(*(one(client, number) for number in range(100)))

    results = asyncio.run(all_of_them())
    assert results == [(number, f"{number}:\nend of {number}") for number in range(100)]
