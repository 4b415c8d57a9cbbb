"""MCP clients are offered what executors offer: a real bridge, a real executor, and the official SDK's client."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from bridge import cli
from bridge.store import Store
from bridge.store.rows import RunRow
from demo.service import Service
from demo.stack import free_port
from tests.e2e.executors import SECONDS, Machine, wait_for
from tools.tokens import hash_token, new_token

MODES = ("legacy",)


@dataclass
class Bridge:
    """A bridge without any app, in a process of its own, and a machine with its executors and somebody who decides."""

    folder: Path
    limits: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tokens = {name: new_token(name) for name in ("client", "plugin", "executor", "operator")}
        self.client_token = tokens["client"]
        self.executor_token, self.operator_token = tokens["executor"], tokens["operator"]
        port = free_port()
        self.bridge_url = f"http://127.0.0.1:{port}"
        self.config = self.folder / "clawback.toml"
        limits = {"sweep_seconds": 0.5, "keepalive_seconds": 0.5, "lease_seconds": 2, **self.limits}
        lines = [f"port = {port}", f"data_dir = {json.dumps(str(self.folder / 'data'))}"]
        lines += ["[tokens]", *(f'{name} = "{hash_token(token)}"' for name, token in tokens.items())]
        lines += ["[limits]", *(f"{name} = {value}" for name, value in limits.items())]
        self.config.write_text("\n".join(lines) + "\n")
        command = [sys.executable, "-m", cli.__name__, "serve", "--json", "--config", str(self.config)]
        self.service = Service("bridge", command, self.folder / "bridge.log")
        self.machine = Machine(self, self.folder)
        self._made = 0

    def stop(self) -> None:
        self.machine.stop()
        self.service.stop()

    def token(self, *options: str) -> str:
        """Make a token as a person does."""
        self._made += 1
        made = self.machine.clawback("token", "add", f"c{self._made}", "--mcp", "--config", str(self.config), *options)
        assert made.returncode == 0, made.stderr
        return made.stdout.split()[1]

    @asynccontextmanager
    async def client(self, token: str, mode: str = "legacy", **options: Any) -> AsyncIterator[Client]:
        """Connect the SDK's client."""
        async with httpx2.AsyncClient(headers=bearer(token), timeout=SECONDS) as http:
            transport = streamable_http_client(f"{self.bridge_url}/mcp", http_client=http)
            async with Client(transport, mode=mode, cache=None, **options) as client:
                yield client

    def ask(self, token: str, mode: str, question: Callable[[Client], Awaitable[None]], **options: Any) -> None:
        """Ask as a client of its own."""

        async def connect() -> None:
            async with self.client(token, mode, **options) as client:
                with anyio.fail_after(SECONDS):
                    await question(client)

        asyncio.run(connect())

    def post(self, token: str, body: object, **headers: str) -> httpx.Response:
        """Send a message as it is."""
        sent = {
            "Accept": "application/json",
            **bearer(token),
            **{name.replace("_", "-"): v for name, v in headers.items()},
        }
        return httpx.post(f"{self.bridge_url}/mcp", json=body, headers=sent, timeout=SECONDS)

    def newest_run(self) -> RunRow:
        with closing(Store(f"sqlite:///{self.folder / 'data' / 'bridge.sqlite3'}")) as store:
            run = store.run(store.run_ids()[-1])
        assert run is not None
        return run

    def ended(self) -> RunRow:
        """Wait until the newest run has ended."""
        return wait_for(lambda: run if (run := self.newest_run()).state != "running" else None)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def told(result: types.CallToolResult) -> tuple[bool, str]:
    """Return whether a result is an error, and its text."""
    return result.is_error, "\n".join(part.text for part in result.content if isinstance(part, types.TextContent))


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """A bridge, and an executor with the tools of a module of Python functions."""
    running = Bridge(tmp_path_factory.mktemp("mcp"))
    try:
        running.machine.executor("python", "tests.bridge.executors.notes")
        yield running
    finally:
        running.stop()


@pytest.mark.parametrize("mode", MODES)
def test_a_tool_that_only_reads_is_listed_and_called(bridge: Bridge, mode: str) -> None:
    async def question(client: Client) -> None:
        tools = (await client.list_tools()).tools
        assert [(tool.name, tool.annotations and tool.annotations.read_only_hint) for tool in tools] == [
            ("shout", True)
        ]
        assert tools[0].description == "Say it louder."
        assert tools[0].input_schema["required"] == ["text"]
        assert told(await client.call_tool("shout", {"text": "hello", "times": 2})) == (False, "HELLO HELLO")
        with pytest.raises(MCPError, match="Unknown tool: note"):
            await client.call_tool("note", {"path": "/nowhere", "text": "x"})

    bridge.ask(bridge.token(), mode, question)
    run = bridge.ended()
    assert (run.state, run.direction) == ("finished", "mcp")
    assert bridge.machine.events(run.id) == [
        ("client", "open"),
        ("bridge", "allow"),
        ("executor", "claim"),
        ("executor", "resolve"),
        ("bridge", "settle"),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_a_person_approves_while_the_client_is_told_what_it_waits_for(
    bridge: Bridge, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "note.txt"
    heard: list[tuple[float, str | None]] = []

    async def heard_of(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message))

    async def question(client: Client) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(approve)
            result = await client.call_tool("note", {"path": str(path), "text": "hello"}, progress_callback=heard_of)
            assert told(result) == (False, "noted")

    async def approve() -> None:
        waiting = await anyio.to_thread.run_sync(bridge.machine.waiting_call)
        assert not path.exists()
        listed = await anyio.to_thread.run_sync(bridge.machine.clawback, "tickets", "--json")
        assert waiting["id"] in listed.stdout
        with anyio.fail_after(SECONDS):
            while len(heard) < 3:
                await anyio.sleep(0.1)
        done = await anyio.to_thread.run_sync(bridge.machine.clawback, "approve", waiting["id"])
        assert done.returncode == 0, done.stderr

    bridge.ask(bridge.token("--tools", "no*"), mode, question)
    assert path.read_text() == "hello"
    assert heard[0][1] == heard[2][1] == "Waits for a person to approve it."
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})


@pytest.mark.parametrize("mode", MODES)
def test_what_is_denied_or_fails_is_an_error_of_the_tool(bridge: Bridge, mode: str) -> None:
    async def decide(*command: str) -> None:
        waiting = await anyio.to_thread.run_sync(bridge.machine.waiting_call)
        done = await anyio.to_thread.run_sync(bridge.machine.clawback, command[0], waiting["id"], *command[1:])
        assert done.returncode == 0, done.stderr

    async def question(client: Client) -> None:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["fail"]
        async with anyio.create_task_group() as group:
            group.start_soon(decide, "deny", "--reason", "Not on a Friday.")
            is_error, text = told(await client.call_tool("fail", {"how": "badly"}))
            assert is_error
            assert "denied. Not on a Friday." in text
        async with anyio.create_task_group() as group:
            group.start_soon(decide, "approve")
            is_error, text = told(await client.call_tool("fail", {"how": "badly"}))
            assert is_error
            assert "badly" in text
        is_error, text = told(await client.call_tool("fail", {}))
        assert is_error
        assert "Nothing was run" in text

    bridge.ask(bridge.token("--tools", "fail"), mode, question)


def test_a_token_opens_its_own_side_alone(bridge: Bridge) -> None:
    mine, ping = bridge.token(), {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert bridge.post(mine, ping).json() == {"jsonrpc": "2.0", "id": 1, "result": {}}
    for wrong in ("wrong", bridge.client_token, bridge.executor_token, bridge.operator_token):
        refused = bridge.post(wrong, ping)
        assert refused.status_code == 401
        assert "clawback token add NAME --mcp" in refused.json()["error"]["message"]
    for path in ("/v1/models", "/executor/v1/executors", "/operator/v1/tickets"):
        assert httpx.get(f"{bridge.bridge_url}{path}", headers=bearer(mine)).status_code in {401, 405}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost:1", "Origin": "http://localhost:1"}, 200),
    ],
)
def test_a_page_of_another_origin_and_a_foreign_name_are_refused(
    bridge: Bridge, headers: dict[str, str], code: int
) -> None:
    assert bridge.post(bridge.token(), {"jsonrpc": "2.0", "id": 1, "method": "ping"}, **headers).status_code == code


def test_a_client_that_cancels_or_leaves_ends_its_call(bridge: Bridge) -> None:
    token = bridge.token("--tools", "note")

    async def cancel(client: Client) -> None:
        with anyio.move_on_after(60) as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "note", {"path": "/nowhere", "text": "x"})
                await anyio.to_thread.run_sync(bridge.machine.waiting_call)
                scope.cancel()

    bridge.ask(token, "legacy", cancel)
    run = bridge.ended()
    assert (run.state, run.error) == ("cancelled", "the client cancelled this call")
    body = {"name": "note", "arguments": {"path": "/nowhere", "text": "x"}}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{bridge.bridge_url}/mcp",
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": body},
            headers=bearer(token),
            timeout=1,
        )
    run = bridge.ended()
    assert (run.state, run.error) == ("cancelled", "the client closed its connection")


def test_a_client_hears_of_other_tools(bridge: Bridge, tmp_path: Path) -> None:
    changes: list[Any] = []

    async def heard(message: Any) -> None:
        changes.append(message)

    async def question(client: Client) -> None:
        assert len((await client.list_tools()).tools) == 1
        await anyio.sleep(0.5)
        clock = bridge.machine.executor("mcp", "--", sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC")
        with anyio.fail_after(SECONDS):
            while not changes:
                await anyio.sleep(0.1)
        assert isinstance(changes[0], types.ToolListChangedNotification)
        assert "get_current_time" in [tool.name for tool in (await client.list_tools()).tools]
        await anyio.to_thread.run_sync(clock.stop)

    bridge.ask(bridge.token("--tools", "shout", "--tools", "get_*"), "legacy", question, message_handler=heard)


def test_what_a_killed_bridge_left_behind_ends_and_its_clients_go_on(tmp_path: Path) -> None:
    bridge = Bridge(tmp_path, {"forsaken_seconds": 15, "approval_seconds": 60})
    try:
        bridge.machine.executor("python", "tests.bridge.executors.notes")
        token = bridge.token("--tools", "*")

        async def be_cut_off(client: Client) -> None:
            async with anyio.create_task_group() as group:

                async def kill() -> None:
                    await anyio.to_thread.run_sync(bridge.machine.waiting_call)
                    bridge.service.kill()

                group.start_soon(kill)
                with pytest.raises(MCPError):
                    await client.call_tool("note", {"path": str(tmp_path / "x"), "text": "x"})
            bridge.service.start()
            # The same session goes on: nothing was kept of it.
            with anyio.fail_after(SECONDS):
                while not (await client.list_tools()).tools:
                    await anyio.sleep(0.2)
            assert told(await client.call_tool("shout", {"text": "still"})) == (False, "STILL")

        bridge.ask(token, "legacy", be_cut_off)
        begun = time.monotonic()
        with closing(Store(f"sqlite:///{tmp_path / 'data' / 'bridge.sqlite3'}")) as store:
            first = store.run_ids()[0]
            left = wait_for(lambda: run if (run := store.run(first)) and run.state != "running" else None)
        assert (left.state, left.error) == ("cancelled", "nobody waits for this run any more")
        assert time.monotonic() - begun < 30
        assert not (tmp_path / "x").exists()
    finally:
        bridge.stop()
