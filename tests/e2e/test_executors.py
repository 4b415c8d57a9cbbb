"""Someone chats with the Dify app itself; executors run the tools, and a person decides what may run."""

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from demo.service import Service
from demo.stack import EXAMPLES, ROOT, Stack
from tests.e2e.conftest import MakeClient, MakeStack, call
from tests.e2e.executors import SECONDS, Chat, Machine, slow_tool, wait_for


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    limits = {"lease_seconds": 2}
    with Stack(tmp_path_factory.mktemp("stack"), bridge_settings=limits) as running:
        yield running


@pytest.fixture(scope="module")
def machine(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with Python functions and an MCP server from PyPI."""
    with Machine(stack, tmp_path_factory.mktemp("machine")) as machine:
        machine.executor("python", "tests.bridge.executors.notes")
        machine.executor("mcp", "--", sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC")
        yield machine


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.mark.parametrize("app", EXAMPLES)
def test_a_function_an_mcp_server_and_an_approval_in_one_conversation(
    app: str, stack: Stack, machine: Machine, pool: ThreadPoolExecutor
) -> None:
    chat = Chat(stack, app, f"ann-{app}")
    said = chat.say("Shout, and tell the time.", call("shout", text="hello"), call("get_current_time", timezone="UTC"))
    assert "HELLO" in said
    assert '"UTC' in said.replace("\\", "")
    path = machine.folder / f"{app}.txt"
    answer: Future[str] = pool.submit(
        chat.say, "Write it down.", call("note", path=str(path), text="hello"), "!then", "!say It is written."
    )
    waiting = machine.waiting_call()
    assert not path.exists()
    assert waiting["id"] in machine.clawback("tickets", "--json").stdout
    assert machine.clawback("approve", waiting["id"]).returncode == 0
    assert answer.result(SECONDS) == "It is written."
    assert path.read_text() == "hello"
    trail = machine.events(waiting["run_id"])
    assert [who for who, event in trail if event == "approve"] == ["operator"]
    assert trail[-2:] == [("executor", "resolve"), ("bridge", "settle")]


def test_a_denied_call_is_not_run_and_the_model_learns_why(
    stack: Stack, machine: Machine, pool: ThreadPoolExecutor
) -> None:
    path = machine.folder / "denied.txt"
    answer = pool.submit(Chat(stack, "minimal", "bob").say, call("note", path=str(path), text="x"))
    waiting = machine.waiting_call()
    assert machine.clawback("deny", waiting["id"], "--reason", "Not on a Friday.").returncode == 0
    assert "Not on a Friday." in answer.result(SECONDS)
    assert not path.exists()
    assert "nothing to decide" in machine.clawback("approve", waiting["id"]).stderr


def test_edited_arguments_are_what_runs(stack: Stack, machine: Machine, pool: ThreadPoolExecutor) -> None:
    path = machine.folder / "edited.txt"
    answer = pool.submit(Chat(stack, "minimal", "cleo").say, call("note", path="/etc/elsewhere", text="x"))
    waiting = machine.waiting_call()
    edited = json.dumps({"path": str(path), "text": "y"})
    assert machine.clawback("approve", waiting["id"], "--arguments", edited).returncode == 0
    assert "A person changed the arguments" in answer.result(SECONDS)
    assert path.read_text() == "y"


def slow_call(
    stack: Stack, machine: Machine, pool: ThreadPoolExecutor, folder: Path, name: str, seconds: str
) -> tuple[Service, Future[str]]:
    """Return an executor of this name that has begun a call of a tool which takes so long, and the answer to come."""
    slow_tool(folder, seconds, "'slowly done'")
    machine.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{folder}"
    executor = machine.executor("python", "slowly", name=name)
    answer = pool.submit(Chat(stack, "minimal", f"asks-{name}").say, call("slowly", folder=str(folder)))
    wait_for(lambda: True if (folder / "begun0").exists() else None)
    return executor, answer


def test_a_killed_executors_call_is_handed_to_the_next_one(
    stack: Stack, machine: Machine, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    first, answer = slow_call(stack, machine, pool, tmp_path, "first", "0 if begun else 60")
    first.kill()
    second = machine.executor("python", "slowly", name="second")
    assert "slowly done" in answer.result(SECONDS)
    second.stop()
    assert (tmp_path / "begun1").exists()


def test_an_executor_that_is_told_to_end_hands_in_what_it_runs_and_waits_for_no_more(
    stack: Stack, machine: Machine, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    executor, answer = slow_call(stack, machine, pool, tmp_path, "ends", "2")
    assert executor.stop() == 0, "it had to be killed: its claim still waited for calls"
    assert "slowly done" in answer.result(SECONDS)
    assert not (tmp_path / "begun1").exists()


ENDS = """
import asyncio, sys
from pathlib import Path
from executor import tool

def ran(name):
    with Path("ran").open("a") as file:
        file.write(name + "\\n")

@tool(read_only=True)
def exits() -> str:
    ran("exits")
    sys.exit(2)

@tool(read_only=True)
def interrupts() -> str:
    ran("interrupts")
    raise KeyboardInterrupt

@tool(read_only=True)
async def cancels() -> str:
    ran("cancels")
    raise asyncio.CancelledError

class Unspoken(Exception):
    def __str__(self):
        raise ValueError

@tool(read_only=True)
def mumbles() -> str:
    ran("mumbles")
    raise Unspoken

@tool(read_only=True)
def finds() -> str:
    ran("finds")
    return "caf\\udce9.txt"
"""


def test_whatever_a_tool_ends_with_it_runs_once_and_the_model_learns_of_it(
    stack: Stack, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends.py").write_text(ENDS)
    monkeypatch.chdir(tmp_path)
    executor = machine.executor("python", "ends", "--concurrency", "1", name="ends-oddly")
    said = Chat(stack, "minimal", "ivy").say(*map(call, ("exits", "interrupts", "cancels", "mumbles", "finds")))
    for told in ("SystemExit: 2", "KeyboardInterrupt", "CancelledError", 'mumbles: "Error', "caf\ufffd.txt"):
        assert told in said
    assert sorted((tmp_path / "ran").read_text().split()) == ["cancels", "exits", "finds", "interrupts", "mumbles"]
    assert executor.stop() == 0


def test_the_bridge_may_be_killed_while_a_call_waits_for_a_person(
    stack: Stack, machine: Machine, pool: ThreadPoolExecutor
) -> None:
    path = machine.folder / "survived.txt"
    answer = pool.submit(Chat(stack, "minimal", "eve").say, call("note", path=str(path), text="still here"))
    waiting = machine.waiting_call()
    stack.bridge.kill()
    stack.bridge.start()
    assert machine.clawback("approve", waiting["id"]).returncode == 0
    assert "noted" in answer.result(SECONDS)
    assert path.read_text() == "still here"


def test_without_executors_the_chat_is_a_chat(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "alone"
    folder.mkdir()
    with Stack(folder, apps=["minimal"]) as alone:
        assert Chat(alone, "minimal", "finn").say("!say Just words.") == "Just words."


def test_a_client_of_the_endpoint_keeps_its_own_tools(stack: Stack, machine: Machine) -> None:
    body = {
        "model": "minimal",
        "messages": [{"role": "user", "content": call("own", x=1)}],
        "tools": [{"type": "function", "function": {"name": "own"}}],
    }
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    answer = httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=SECONDS).json()
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


ENDPOINT_ASKS = """
[[rules]]
direction = "endpoint"
tool = "exec"
action = "ask"

[[rules]]
direction = "endpoint"
tool = "write"
action = "deny"
reason = "Nothing is written here."
"""


def test_a_policy_may_also_stand_before_the_tools_of_an_endpoints_client(
    pool: ThreadPoolExecutor, tmp_path: Path, make_client: MakeClient
) -> None:
    folder, policy = tmp_path / "stack", tmp_path / "policy.toml"
    folder.mkdir()
    policy.write_text(ENDPOINT_ASKS)
    with Stack(folder, apps=["minimal"], bridge_keys={"policy": str(policy)}) as stack:
        machine = Machine(stack, tmp_path)
        client = make_client(stack)
        asked = [call("exec", command="echo ran"), call("write", path="no.txt", content="x")]
        outcome = pool.submit(client.ask, "\n".join(asked))
        waiting = machine.waiting_call()
        assert [message["role"] for message in client.messages] == ["user"], "nothing was handed out before"
        machine.clawback("approve", waiting["id"])
        text = outcome.result(SECONDS).reply.text
    (calls,) = [message["tool_calls"] for message in client.messages if message.get("tool_calls")]
    assert [each["function"]["name"] for each in calls] == ["exec"]
    assert "ran" in text
    assert "Nothing is written here." in text
    assert not (tmp_path / "no.txt").exists()


def test_a_call_that_brings_nothing_new_is_stopped_at_the_endpoint_too(
    make_stack: MakeStack, make_client: MakeClient
) -> None:
    stack = make_stack(bridge_settings={"identical_calls": 2})
    client = make_client(stack)
    rounds = [line for _ in range(3) for line in (call("exec", command="echo the same"), "!then")]
    text = client.ask("\n".join(["Again.", *rounds])).reply.text
    assert len([message for message in client.messages if message.get("tool_calls")]) == 2
    assert "made 2 times" in text
