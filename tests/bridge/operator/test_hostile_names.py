"""What others name themselves, and how runs fail, is shown by every command and obeyed by no terminal."""

import json
import threading
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest

from bridge.config import load
from bridge.store.rows import ExecutorRow
from bridge.store.store import Store
from demo.client import Client
from demo.stack import Stack
from tests.bridge.operator.conftest import Clawback, read
from tests.tools.test_visible import hidden

HOSTILE = "\x1b]0;name\x07\u202e\x9b31m[bold]"


def texts(value: Any) -> list[str]:
    """List all texts within a JSON value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] if isinstance(value, str) else [text for each in inner for text in texts(each)]


@pytest.fixture(scope="module")
def store(stack: Stack, client: Client, clawback: Clawback) -> Store:
    """The bridge's store, with what an earlier version may have taken: a name, an error, a model's call."""
    client.ask("!say hi")
    store = Store(load(stack.folder / "clawback.toml").store_url)
    now = time.time() + 3600
    tool = {"type": "function", "function": {"name": "t", "parameters": {}}}
    store.executors.register(ExecutorRow("e1", HOSTILE, json.dumps([tool]), '["*"]', 4, now, now))
    run = store.run(read(clawback("runs", "--json"))["runs"][0]["id"])
    assert run
    store.insert_run(replace(run, id="hostile", model=HOSTILE, state="failed", error=f"{HOSTILE}\nforged"))
    return store


def test_a_name_that_a_terminal_would_obey_is_refused(stack: Stack) -> None:
    for name in ("a\x1b[31m", "a\u202e", "a\u2066b", "a\x07", "a\u2028b"):
        answer = httpx.post(
            f"{stack.bridge_url}/executor/v1/executors",
            json={"name": name, "tools": []},
            headers={"Authorization": f"Bearer {stack.executor_token}"},
        )
        assert answer.status_code == 400
        assert "leave them out" in answer.json()["error"]["message"]


@pytest.mark.parametrize("command", [["status"], ["runs"], ["tickets", "--all"], ["doctor", "--no-probe"]])
def test_commands_show_it(store: Store, clawback: Clawback, command: list[str]) -> None:
    for form in ([], ["--json"]):
        shown = clawback(*command, *form).stdout
        assert not hidden(shown, "\n"), command
    if command[0] in {"status", "runs"}:
        assert r"\x1b]0;name" in clawback(*command).stdout
        assert HOSTILE in texts(read(clawback(*command, "--json")))


def test_tail_shows_it_in_one_line(store: Store, clawback: Clawback) -> None:
    writing = threading.Timer(1.0, lambda: store.update_run("hostile", error=f"{HOSTILE}\nforged again"))
    writing.start()
    shown = clawback("tail", "--for", "3").stdout
    writing.join()
    (line,) = [line for line in shown.splitlines() if "forged again" in line]
    assert r"\x1b]0;name\x07\u202e\x9b31m[bold]\nforged again" in line
    assert not hidden(shown, "\n")


def test_a_refusal_shows_it(stack: Stack, clawback: Clawback) -> None:
    refused = clawback("approve", "\x1b[31mcall\u202e", "--token", stack.operator_token)
    assert refused.returncode == 1
    assert r"\x1b[31mcall\u202e" in refused.stderr
    assert not hidden(refused.stderr, "\n")
