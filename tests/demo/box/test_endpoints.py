"""Clawback Tools in its real runtime: the endpoint of a plugin that calls the workspace's tools."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.demo.box.running import ROOT, RunningBox, started
from tests.levels import starts

TOKEN = "a-token-that-nobody-guesses"
WORKFLOW, API = "0b7c6f6e-9f5e-4f0c-8d40-6d9f0c6f0a01", "5a2f6a2c-3b1c-4b54-9a0b-2f52a2a0f002"
PIXEL = "https://files.example/cat.png"


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "message": {"text": said}}


def in_json(value: Any) -> dict[str, Any]:
    return {"type": "json", "message": {"json_object": value}}


def variable(name: str, value: Any, stream: bool = False) -> dict[str, Any]:
    return {"type": "variable", "message": {"variable_name": name, "variable_value": value, "stream": stream}}


def tool(type_: str, provider: str, name: str, *messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": type_, "provider": provider, "tool": name, "messages": list(messages), **more}


NEEDS_WHO = [{"name": "who", "type": "string", "required": True, "form": "llm"}]
TOOLS = [
    tool("builtin", "time", "now", text("noon in {zone}, as {style}")),
    tool("builtin", "acme/maps/maps", "find", text("found"), {"type": "image_link", "message": {"text": PIXEL}}),
    tool(
        "workflow",
        WORKFLOW,
        "greet",
        variable("said", "hi {who}"),
        text('{"said": "hi {who}"}'),
        in_json({"said": "hi {who}"}),
        parameters=NEEDS_WHO,
    ),
    tool("api", API, "ticket", in_json({"id": 7})),
    tool("mcp", "notes", "add", text("kept"), {"type": "link", "message": {"text": "/files/tools/a.pdf"}}),
    tool("builtin", "code", "fails", error="Request failed with status code 500 and out of paper"),
    tool("builtin", "code", "slow", text("late"), seconds=0.3),
    tool("builtin", "code", "endless", text("never"), seconds=60),
    tool("builtin", "code", "unpicked", text("secret")),
    tool("builtin", "code", "streams", variable("said", "a", stream=True), variable("said", "b", stream=True)),
]


def pick(type_: str, provider: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": type_, "provider_name": provider, "tool_name": name, "enabled": True, "settings": {}, **more}


PICKS = [
    pick(
        "builtin",
        "time",
        "now",
        settings={"style": {"value": {"type": "constant", "value": "ISO"}}},
        parameters={"zone": {"auto": 1, "value": None}},
    ),
    *(pick(each["type"], each["provider"], each["tool"]) for each in TOOLS[1:] if each["tool"] != "unpicked"),
    pick("builtin", "code", "unpicked", enabled=False),
    pick("builtin", "gone", "away"),
    pick("api", "0b7c6f6e-0000-4f0c-8d40-000000000000", "gone"),
]


@dataclass
class Endpoint:
    """Clawback Tools behind its address."""

    box: RunningBox
    file: Path

    def ask(self, method: str, path: str, token: str | None = TOKEN, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return self.box.http.request(method, f"{self.box.ready['endpoint_url']}/{path}", headers=headers, **options)

    def call(self, type_: str, provider: str, name: str, key: str | None = None, **parameters: Any) -> httpx.Response:
        body = {"type": type_, "provider": provider, "tool": name, "parameters": parameters, "key": key}
        return self.ask("POST", "call", json=body)

    def made(self, name: str) -> int:
        """How often a tool was run."""
        calls = self.box.own("GET", "tools").json()["calls"]
        return sum(call["tool"] == name for call in calls)


@pytest.fixture(scope="module")
@starts("parts")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("endpoint")
    file = folder / "workspace.json"
    file.write_text(json.dumps({"settings": {"token": TOKEN, "tools": PICKS}, "tools": TOOLS}))
    options = ("--tools-plugin", str(ROOT / "dify_tools"), "--workspace", str(file), "--backwards-seconds", "1")
    with started(folder, *options) as box:
        yield Endpoint(box, file)


@pytest.mark.parametrize(
    ("asked", "output"),
    [
        (("builtin", "acme/maps/maps", "find"), "found"),
        (("api", API, "ticket"), '{"id": 7}'),
        (("mcp", "notes", "add"), "kept\nFile: /files/tools/a.pdf"),
        (("builtin", "code", "streams"), '{"said": "ab"}'),
    ],
)
def test_a_tool_of_each_type_answers(endpoint: Endpoint, asked: tuple[str, str, str], output: str) -> None:
    answered = endpoint.call(*asked)
    assert answered.status_code == 200
    assert answered.json()["output"] == output


def test_what_a_workflow_tells_in_three_forms_is_told_once(endpoint: Endpoint) -> None:
    assert endpoint.call("workflow", WORKFLOW, "greet", who="Ada").json()["output"] == '{"said": "hi Ada"}'


def test_images_stay_images(endpoint: Endpoint) -> None:
    assert endpoint.call("builtin", "acme/maps/maps", "find").json()["images"] == [PIXEL]


def test_what_the_form_fixes_is_merged_in_and_cannot_be_changed(endpoint: Endpoint) -> None:
    answered = endpoint.call("builtin", "time", "now", zone="Oslo", style="none of your business")
    assert answered.json()["output"] == "noon in Oslo, as ISO"


@pytest.mark.parametrize("token", [None, "wrong", TOKEN + "x", "é"])
@pytest.mark.parametrize("path", ["call", "tools", "health"])
def test_nothing_is_answered_without_the_token(endpoint: Endpoint, path: str, token: str | None) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
    url = f"{endpoint.box.ready['endpoint_url']}/{path}"
    method = "POST" if path == "call" else "GET"
    answered = endpoint.box.http.request(method, url, headers=headers)
    assert answered.status_code == 401
    assert answered.json()["error"]["type"] == "unauthorized"


@pytest.mark.parametrize(
    "asked", [("builtin", "code", "unpicked"), ("builtin", "time", "other"), ("mcp", "time", "now")]
)
def test_what_is_not_picked_is_not_called(endpoint: Endpoint, asked: tuple[str, str, str]) -> None:
    answered = endpoint.call(*asked)
    assert (answered.status_code, answered.json()["error"]["type"]) == (403, "not_picked")
    assert endpoint.made(asked[2]) == (0 if asked[2] != "now" else endpoint.made("now"))


@pytest.mark.parametrize(
    ("asked", "type_", "said"),
    [
        (("workflow", WORKFLOW, "greet"), "invalid_parameters", "Missing required parameter who"),
        (("builtin", "code", "fails"), "tool_failed", "out of paper"),
        (("builtin", "code", "endless"), "timeout", "timeout"),
        (("builtin", "gone", "away"), "dify_failed", "pick it again"),
        (("api", "0b7c6f6e-0000-4f0c-8d40-000000000000", "gone"), "dify_failed", "Dify failed"),
    ],
)
def test_each_failure_has_a_type_and_words_that_help(
    endpoint: Endpoint, asked: tuple[str, str, str], type_: str, said: str
) -> None:
    error = endpoint.call(*asked).json()["error"]
    assert error["type"] == type_
    assert said in error["message"]
    assert "request failed" not in error["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"type": "plugin", "provider": "a", "tool": "b"}',
        b'{"type": "api", "provider": "", "tool": "b"}',
    ],
)
def test_a_bad_body_is_refused(endpoint: Endpoint, body: bytes) -> None:
    answered = endpoint.ask("POST", "call", content=body)
    assert (answered.status_code, answered.json()["error"]["type"]) == (400, "invalid_request")


def test_the_same_key_again_runs_nothing_again(endpoint: Endpoint) -> None:
    before = endpoint.made("ticket")
    answers = [endpoint.call("api", API, "ticket", key="k1").json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert endpoint.made("ticket") == before + 1
    assert endpoint.call("api", API, "ticket", key="k1", more=1).status_code == 409


def test_a_picked_tool_is_listed_with_all_that_the_setting_knows(endpoint: Endpoint) -> None:
    listed = endpoint.ask("GET", "tools").json()
    assert [entry for entry in PICKS if entry["enabled"]] == listed["tools"]
    assert listed["limits"] == {"call_seconds": 240, "total_seconds": 600}
    assert endpoint.ask("GET", "health").json() == {"status": "ok", "tools": len(listed["tools"])}


def test_a_slow_tool_is_waited_for_and_another_address_is_nobody(endpoint: Endpoint) -> None:
    began = time.monotonic()
    assert endpoint.call("builtin", "code", "slow").json()["output"] == "late"
    assert time.monotonic() - began >= 0.3
    nowhere = endpoint.box.http.get(endpoint.box.ready["endpoint_url"].replace("/e/tools", "/e/other") + "/health")
    assert nowhere.status_code == 404
