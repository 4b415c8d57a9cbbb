"""What a kept demo has to look at: one run that is finished, one that is suspended, one that waits for a person."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from demo import task
from demo.client import Client, ClientError
from demo.local_tools import LocalTools
from demo.stack import ROOT, Stack, Upstream
from executor import tool
from tools.run_states import RunState

SECONDS = 20.0
IMPATIENT = "impatient"
"""An app as `minimal`, whose node waits for no results: its runs are suspended, and begun again with the results."""
POLICY = """\
[[rules]]
tool = "send"
action = "ask"
"""
_ASKED = """\
Send the open points to Ann.
!call send {"to": "ann@example.com", "text": "Three points are still open."}"""
_LATER = """\
What is still open on Monday?
!call read {"path": "notes/monday.md"}"""


@contextmanager
def kept(folder: Path, upstream: Upstream | None, model: str) -> Iterator[Stack]:
    """Start the parts, and make the runs where the upstream is the scripted one."""
    policy, export = folder / "policy.toml", folder / f"{IMPATIENT}.yml"
    policy.write_text(POLICY)
    ticked = "external_tool_callback_enabled: true"
    source = (ROOT / "examples/minimal.yml").read_text()
    export.write_text(source.replace(ticked, f"callback_wait_seconds: 0\n            {ticked}"))
    with Stack(
        folder,
        exports={IMPATIENT: export},
        upstream=upstream,
        upstream_model=model,
        # Who waits for a decision would else hold up its end.
        bridge_settings={"stop_seconds": 0},
        bridge_keys={"log_content": True, "policy": str(policy)},
    ) as stack:
        if stack.scripted:
            _make_runs(stack)
        yield stack


def login_url(stack: Stack) -> str:
    """Return an address that logs a browser on this machine in, once."""
    return stack.bridge_url + str(_operator(stack, "POST", "/login_links", {"by": "demo"})["path"])


def _make_runs(stack: Stack) -> None:
    folder = stack.folder / "workspace"
    task.prepare(folder)
    with suppress(ClientError):
        _client(stack, "minimal", folder).ask(task.scripted_request())
    _client(stack, IMPATIENT, folder).begin(_LATER)
    _until(lambda: any(run["state"] == RunState.SUSPENDED for run in _operator(stack, "GET", "/runs")["runs"]))
    waiting = _client(stack, "minimal", folder)
    threading.Thread(target=_ask, args=(waiting,), daemon=True, name="demo-waiting").start()
    _until(lambda: bool(_operator(stack, "GET", "/approvals")["calls"]))


@tool
def send(to: str, text: str) -> str:
    """Send a message to somebody.

    Args:
        to: their address
        text: what to tell them
    """
    return f"Nothing was sent to {to}: this is a demo. It would have been {len(text)} characters."


def _ask(client: Client) -> None:
    # It ends with the bridge, or with what a person decides.
    with suppress(ClientError, httpx.HTTPError):
        client.ask(_ASKED)


def _client(stack: Stack, app: str, folder: Path) -> Client:
    return Client(stack.base_url, stack.client_token, app, LocalTools(folder, send))


def _operator(stack: Stack, method: str, path: str, body: object = None) -> dict[str, Any]:
    answer = httpx.request(
        method,
        f"{stack.bridge_url}/operator/v1{path}",
        json=body,
        headers={"Authorization": f"Bearer {stack.operator_token}"},
        trust_env=False,
    )
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _until(holds: Callable[[], bool]) -> None:
    """Wait for it; a demo without one of its runs is still a demo."""
    until = time.monotonic() + SECONDS
    while not holds() and time.monotonic() < until:
        time.sleep(0.05)
