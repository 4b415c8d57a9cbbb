"""Dify's own tools, run by the bridge through Clawback Tools: the real plugin, the real bridge, a played workspace."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.stack import Stack
from tests.e2e.conftest import call
from tests.e2e.executors import SECONDS, Chat, Machine, wait_for

WORKFLOW = "0b7c6f6e-9f5e-4f0c-8d40-6d9f0c6f0a01"
WHO = [{"name": "who", "type": "string", "required": True, "form": "llm"}]


def tool(type_: str, provider: str, name: str, said: str, **more: Any) -> dict[str, Any]:
    message = {"type": "text", "message": {"text": said}}
    return {"type": type_, "provider": provider, "tool": name, "messages": [message], **more}


def picked(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "type": each["type"],
            "provider_name": each["provider"],
            "tool_name": each["tool"],
            "enabled": True,
            "settings": {},
            "parameters": {given["name"]: {"auto": 1, "value": None} for given in each.get("parameters", [])},
        }
        for each in tools
    ]


TOOLS = [
    tool("builtin", "acme/google/google", "google_search", "seven results"),
    tool("workflow", WORKFLOW, "greet", "hi {who}", parameters=WHO),
    tool("builtin", "mail", "send_mail", "sent", seconds=4),
    tool("builtin", "mail", "look", "seen", seconds=4),
    tool("builtin", "mail", "broken", "", error="Request failed with status code 500 and out of stamps"),
]
LOGIN = {"email": "owner@example.com", "password": "correct horse"}
POLICY = """
[[rules]]
tool = "google_search"
action = "ask"

[[rules]]
action = "allow"
"""


def settings(folder: Path, tools: list[dict[str, Any]] = TOOLS) -> dict[str, Any]:
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    return {
        "workspace": {"tools": tools, "picked": picked(tools), "retry": {"look": "safe"}, "login": LOGIN},
        "bridge_keys": {"policy": str(policy)},
        "bridge_settings": {"lease_seconds": 1, "sweep_seconds": 0.3, "executor_seconds": 5},
    }


def made(stack: Stack, name: str) -> int:
    """How often a tool of Dify ran."""
    return sum(each["tool"] == name for each in calls(stack))


def calls(stack: Stack) -> list[dict[str, Any]]:
    """What ran in Dify."""
    made: list[dict[str, Any]] = httpx.get(f"{stack.box_url}/box/tools").json()["calls"]
    return made


def present(stack: Stack) -> dict[str, Any] | None:
    headers = {"Authorization": f"Bearer {stack.operator_token}"}
    found = httpx.get(f"{stack.bridge_url}/operator/v1/executors", headers=headers).json()["executors"]
    return next((each for each in found if each["name"] == "dify" and each["present"]), None)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    with Stack(folder, apps=["minimal"], **settings(folder)) as running:
        wait_for(lambda: present(running))
        yield running


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_the_picked_tools_are_those_of_an_executor(stack: Stack) -> None:
    executor = present(stack)
    assert executor is not None
    assert sorted(executor["tools"]) == sorted(each["tool"] for each in TOOLS)


def test_a_round_of_dify_s_tools_runs_at_once(stack: Stack) -> None:
    answer = Chat(stack, "minimal", "ann").say("Greet.", call("greet", who="Ada"), call("look"), call("send_mail"))
    assert "hi Ada" in answer
    assert "seen" in answer
    began = {each["tool"]: each["at"] for each in calls(stack)}
    assert abs(began["look"] - began["send_mail"]) < 4, "one waited for the other, which takes four seconds"


def test_a_tool_s_error_corrects_the_model(stack: Stack) -> None:
    said = Chat(stack, "minimal", "bob").say("Greet.", call("greet"))
    assert "Missing required parameter who" in said
    assert "out of stamps" in Chat(stack, "minimal", "bea").say("Send.", call("broken"))


def test_the_policy_asks_about_a_tool_of_dify(stack: Stack, pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    machine = Machine(stack, tmp_path)
    answer = pool.submit(Chat(stack, "minimal", "cleo").say, "Search.", call("google_search"))
    waiting = machine.waiting_call()
    assert made(stack, "google_search") == 0
    assert waiting["executors"] == ["dify"]
    assert machine.clawback("approve", waiting["id"]).returncode == 0
    assert "seven results" in answer.result(SECONDS)
    assert ("executor", "resolve") in machine.events(waiting["run_id"])


def test_its_name_is_taken(stack: Stack) -> None:
    headers = {"Authorization": f"Bearer {stack.executor_token}"}
    body = {"name": "dify", "tools": []}
    refused = httpx.post(f"{stack.bridge_url}/executor/v1/executors", headers=headers, json=body)
    assert refused.status_code == 400
    assert "[[dify_tools]]" in refused.json()["error"]["message"]


def sync(stack: Stack, *options: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "bridge.cli",
        "dify-tools",
        "sync",
        "--config",
        str(stack.folder / "clawback.toml"),
    ]
    return subprocess.run(
        [*command, *options], input=typed, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def test_sync_reads_the_types_with_a_login_that_is_not_kept(stack: Stack) -> None:
    refused = sync(stack, typed="owner@example.com\nwrong secret\n")
    assert refused.returncode == 1
    assert "did not take the login" in refused.stderr
    assert "wrong secret" not in refused.stdout + refused.stderr
    done = sync(stack, typed="\n".join([LOGIN["email"], LOGIN["password"], ""]))
    assert done.returncode == 0, done.stderr
    assert "greet: 1 parameter\n" in done.stdout
    [schema] = [schema for key, schema in stack.store().executors.schemas("dify").items() if "greet" in key]
    assert '"required":["who"]' in schema
    kept = b"".join(path.read_bytes() for path in stack.folder.rglob("*") if path.suffix in {".sqlite3", ".log"})
    assert LOGIN["password"].encode() not in kept


def test_sync_takes_a_saved_answer(stack: Stack, tmp_path: Path) -> None:
    saved = tmp_path / "workflow.json"
    said = {"name": "who", "type": "select", "options": [{"value": "Ada"}], "form": "llm", "required": True}
    saved.write_text(
        json.dumps({"workflow": [{"id": WORKFLOW, "name": "x", "tools": [{"name": "greet", "parameters": [said]}]}]})
    )
    assert "greet: 1 parameter\n" in sync(stack, "--from", str(saved)).stdout
    [schema] = stack.store().executors.schemas("dify").values()
    assert '"enum":["Ada"]' in schema
    saved.write_text("[1]")
    assert "no tools of Dify" in sync(stack, "--from", str(saved)).stderr
    assert "has no [[dify_tools]]" in sync(stack, "--name", "other", "--from", str(saved)).stderr


def kill_the_bridge_once(stack: Stack, name: str, before: int) -> None:
    """Kill the bridge between the call and its answer."""
    wait_for(lambda: True if made(stack, name) > before else None)
    stack.bridge.kill()
    stack.bridge.start()


def test_a_call_of_which_nothing_is_known_asks_a_person_and_never_runs_twice(
    stack: Stack, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    machine, before = Machine(stack, tmp_path), made(stack, "send_mail")
    answer = pool.submit(Chat(stack, "minimal", "dora").say, "Send.", call("send_mail"))
    kill_the_bridge_once(stack, "send_mail", before)
    waiting = machine.waiting_call()
    assert waiting["verdict"] == "unknown whether it ran"
    wait_for(lambda: present(stack))
    time.sleep(2)
    assert machine.waiting_call()["id"] == waiting["id"]
    assert machine.clawback("deny", waiting["id"], "--reason", "I looked: it was sent.").returncode == 0
    said = answer.result(SECONDS)
    assert "unknown whether it ran" in said
    assert "I looked: it was sent." in said
    assert made(stack, "send_mail") == before + 1


def test_an_approved_one_gets_the_answer_that_the_plugin_remembers(
    stack: Stack, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    machine, before = Machine(stack, tmp_path), made(stack, "send_mail")
    answer = pool.submit(Chat(stack, "minimal", "dan").say, "Send.", call("send_mail"))
    kill_the_bridge_once(stack, "send_mail", before)
    assert machine.clawback("approve", machine.waiting_call()["id"]).returncode == 0
    assert "sent" in answer.result(SECONDS)
    assert made(stack, "send_mail") == before + 1


def test_a_safe_one_is_handed_out_again_and_nobody_is_asked(
    stack: Stack, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    machine = Machine(stack, tmp_path)
    answer = pool.submit(Chat(stack, "minimal", "eve").say, "Look.", call("look"))
    kill_the_bridge_once(stack, "look", made(stack, "look"))
    assert "seen" in answer.result(SECONDS)
    headers = {"Authorization": f"Bearer {stack.operator_token}"}
    newest = httpx.get(f"{stack.bridge_url}/operator/v1/runs", headers=headers).json()["runs"][0]
    happened = [event for _, event in machine.events(newest["id"])]
    assert "lose" in happened
    assert "ask" not in happened


def test_a_dead_endpoint_says_so_and_comes_back(stack: Stack) -> None:
    wait_for(lambda: present(stack))
    stack.box.kill()
    wait_for(lambda: None if present(stack) else True)
    assert "cannot be reached" in stack.bridge.log.read_text()
    stack.box.start()
    wait_for(lambda: present(stack))
