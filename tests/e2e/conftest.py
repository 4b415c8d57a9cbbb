"""The real parts, together: scripted upstream, bridge, Dify in a box with the plugin process."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bridge.store.rows import RunRow
from demo.client import Client
from demo.local_tools import LocalTools
from demo.stack import ROOT, Stack
from tests.e2e.wire import Cable

MakeStack = Callable[..., Stack]
MakeClient = Callable[..., Client]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All three example apps, as they are, with limits that tests can reach."""
    limits = {"keepalive_seconds": 0.5, "grace_seconds": 1.5}
    with Stack(tmp_path_factory.mktemp("stack"), bridge_settings=limits) as running:
        yield running


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[MakeStack]:
    """Start a stack of one's own."""
    started: list[Stack] = []

    def make(**options: Any) -> Stack:
        folder = tmp_path / f"stack{len(started)}"
        folder.mkdir()
        started.append(Stack(folder, **{"apps": ["minimal"], **options}))
        return started[-1]

    yield make
    for running in started:
        running.stop()


@pytest.fixture
def make_client(tmp_path: Path) -> Iterator[MakeClient]:
    """Make clients of a stack, each working in `tmp_path`."""
    made: list[Client] = []

    def make(stack: Stack, model: str = "minimal", **options: Any) -> Client:
        options.setdefault("session", f"{tmp_path.name}-{len(made)}")
        made.append(Client(stack.base_url, stack.client_token, model, LocalTools(tmp_path), **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


def export_with(folder: Path, app: str, *, node: dict[str, Any] | None = None, **parameters: Any) -> Path:
    """Write a copy of an example whose LLM nodes have these completion parameters (None takes one away)."""
    export = yaml.safe_load((ROOT / "examples" / f"{app}.yml").read_text())
    for found in export["workflow"]["graph"]["nodes"]:
        if found["data"]["type"] == "llm":
            params = found["data"]["model"]["completion_params"]
            params.update(parameters)
            for name in [name for name, value in params.items() if value is None]:
                del params[name]
            found["data"].update(node or {})
    path = folder / f"{app}-{len(list(folder.glob('*.yml')))}.yml"
    path.write_text(yaml.safe_dump(export, allow_unicode=True))
    return path


def call(name: str, **arguments: Any) -> str:
    """Return the directive that makes the scripted model call a tool."""
    return f"!call {name} {json.dumps(arguments)}"


def upstream_log(stack: Stack, containing: str) -> list[dict[str, Any]]:
    """Return what the upstream was asked in the conversation whose text contains this."""
    entries = httpx.get(stack.log_url).json()
    return [entry for entry in entries if containing in json.dumps(entry.get("request", ""))]


@contextmanager
def cut_off(stack: Stack, cable: Cable, containing: str) -> Iterator[None]:
    """Cut the cable meanwhile, a moment after the upstream was asked in the conversation that holds this text."""

    def cut() -> None:
        while not upstream_log(stack, containing):
            time.sleep(0.1)
        time.sleep(1.2)
        cable.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    yield
    cutter.join()


def runs_that_hold(stack: Stack, text: str) -> list[RunRow]:
    """Return the runs whose whole request holds this text, oldest first."""
    with closing(stack.store()) as store:
        runs = [run for run_id in store.run_ids() if (run := store.run(run_id))]
        return [run for run in runs if text in store.pieces.whole(run.session_key, run.request)]


def workflow_runs(stack: Stack, run_id: str) -> list[dict[str, Any]]:
    """Return the box's workflow runs of the Dify user that a run of the bridge drives."""
    store = stack.store()
    try:
        run = store.run(run_id)
    finally:
        store.close()
    assert run is not None
    state = httpx.get(f"{stack.box_url}/box/state").json()
    return [row for row in state["runs"] if row["user"] == run.dify_user]


def stream(stack: Stack, body: dict[str, Any], **headers: str) -> "httpx._client.StreamContextManager":
    """Open a raw stream to the endpoint."""
    return httpx.stream(
        "POST",
        f"{stack.base_url}/chat/completions",
        json={"stream": True, **body},
        headers={"Authorization": f"Bearer {stack.client_token}", **headers},
        timeout=60,
    )
