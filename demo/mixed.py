"""`--app tools`: one node, and tools in three places: the client's, an executor's, and Dify's own.

The search and the workflow are those of a played workspace, `battery` is an executor's, and the client has the files.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bridge import cli
from demo.service import Service, ServiceFailed
from demo.stack import ROOT, Stack, Upstream
from demo.task import NOTES
from executor import tool

MODEL = "tools"
LAPTOP = "laptop"
SECONDS = 30.0
REQUEST = "Which points of my notes are still open? Word them as a message, with a tip, and keep it in message.md."

_WORKFLOW = "0b7c6f6e-9f5e-4f0c-8d40-6d9f0c6f0a01"
_PLAYED: list[dict[str, Any]] = [
    {
        "type": "builtin",
        "provider": "demo/search/search",
        "tool": "web_search",
        "parameters": [{"name": "query", "type": "string", "required": True, "form": "llm"}],
        "messages": [{"type": "text", "message": {"text": "A search for {query}: plumbers are free on Wednesdays."}}],
    },
    {
        "type": "workflow",
        "provider": _WORKFLOW,
        "tool": "compose",
        "parameters": [{"name": "points", "type": "string", "required": True, "form": "llm"}],
        "messages": [{"type": "text", "message": {"text": "Dear Ann, still open: {points}. Yours, the notes"}}],
    },
]
_POLICY = """\
[[rules]]
tool = ["web_search", "compose"]
executor = "dify"
action = "allow"
"""


@tool(read_only=True)
def battery() -> str:
    """Say how full the laptop's battery is."""
    return "The battery of the laptop is at 80 percent."


def scripted_request() -> str:
    """Return the request with the directives that the scripted model follows."""

    def call(name: str, **arguments: str) -> str:
        return f"!call {name} {json.dumps(arguments)}"

    points = "call the plumber, buy coffee, send the invoice"
    message = f"Dear Ann, still open: {points}. Plumbers are free on Wednesdays.\n"
    reads = [call("read", path=name) for name in NOTES]
    first = [*reads, call("web_search", query="plumber"), call("battery")]
    rounds = [first, [call("compose", points=points)], [call("write", path="message.md", content=message)]]
    return f"{REQUEST}\n{'\n!then\n'.join(map('\n'.join, rounds))}"


@contextmanager
def mixed(folder: Path, upstream: Upstream | None, model: str) -> Iterator[Stack]:
    """Start the parts, with a workspace of Dify's and an executor."""
    policy = folder / "policy.toml"
    policy.write_text(_POLICY)
    with Stack(
        folder,
        apps=[],
        exports={MODEL: ROOT / "examples/minimal.yml"},
        upstream=upstream,
        upstream_model=model,
        app_settings={"tools": "client+executors"},
        bridge_keys={"policy": str(policy)},
        workspace={"tools": _PLAYED, "picked": [_picked(each) for each in _PLAYED]},
    ) as stack:
        executor = _executor(stack)
        try:
            _wait_for(stack, LAPTOP, "dify")
            yield stack
        finally:
            executor.stop()


def _picked(played: dict[str, Any]) -> dict[str, Any]:
    """Return a tool as its workspace's owner picks it in the endpoint's settings."""
    return {
        "type": played["type"],
        "provider_name": played["provider"],
        "tool_name": played["tool"],
        "enabled": True,
        "settings": {},
        "parameters": {given["name"]: {"auto": 1, "value": None} for given in played["parameters"]},
    }


def _executor(stack: Stack) -> Service:
    command = [sys.executable, "-m", cli.__name__, "executor", "python", __name__, "--json", "--name", LAPTOP]
    environ = {"CLAWBACK_BRIDGE": stack.bridge_url, "CLAWBACK_EXECUTOR_TOKEN": stack.executor_token}
    return Service("executor", command, stack.folder / "executor.log", environ)


def _wait_for(stack: Stack, *names: str) -> None:
    """Wait until these executors are there. Raises ServiceFailed."""
    headers = {"Authorization": f"Bearer {stack.operator_token}"}
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        answer = httpx.get(f"{stack.bridge_url}/operator/v1/executors", headers=headers, trust_env=False).json()
        present = {each["name"] for each in answer["executors"] if each["present"]}
        if present >= set(names):
            return
        time.sleep(0.1)
    raise ServiceFailed(f"not all of {', '.join(names)} were there after {SECONDS:.0f} s:\n{stack.bridge.tail()}")
