"""MCP clients are offered what executors offer: a real bridge, a real executor, and the official SDK's client."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing
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
from mcp.client.subscriptions import ToolsListChanged

from bridge import cli
from bridge.api.mcp import MOST_STREAMS_EACH
from bridge.store.rows import RunRow
from bridge.store.store import Store
from demo.service import Service
from demo.stack import free_port
from tests.e2e.executors import SECONDS, Machine, wait_for
from tools.tokens import hash_token, new_token

MODES = ("legacy", "auto")


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
        limits = {"sweep_seconds": 0.5, "keepalive_seconds": 0.5, "lease_seconds": 2, "stop_seconds": 2, **self.limits}
        lines = [f"port = {port}", f"data_dir = {json.dumps(str(self.folder / 'data'))}"]
        lines += ["[tokens]", *(f'{name} = "{hash_token(token)}"' for name, token in tokens.items())]
        lines += ["[limits]", *(f"{name} = {value}" for name, value in limits.items())]
        self.config.touch(mode=0o600)
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


async def decide(bridge: Bridge, decision: str, *more: str) -> None:
    """Decide about the call that waits, as a person does."""
    waiting = await anyio.to_thread.run_sync(bridge.machine.waiting_call)
    done = await anyio.to_thread.run_sync(bridge.machine.clawback, decision, waiting["id"], *more)
    assert done.returncode == 0, done.stderr


def request(method: str, request_id: object = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """A bridge, and an executor with the tools of a module of Python functions."""
    running = Bridge(tmp_path_factory.mktemp("mcp"), {"request_bytes": 100_000})
    try:
        running.machine.executor("python", "tests.bridge.executors.notes")
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def reader(bridge: Bridge) -> str:
    """A token for tools that only read."""
    return bridge.token()


@pytest.mark.parametrize("mode", MODES)
def test_a_tool_that_only_reads_is_listed_and_called(bridge: Bridge, mode: str) -> None:
    async def question(client: Client) -> None:
        assert client.session.protocol_version == {"legacy": "2025-11-25", "auto": "2026-07-28"}[mode]
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
    async def question(client: Client) -> None:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["fail"]
        async with anyio.create_task_group() as group:
            group.start_soon(decide, bridge, "deny", "--reason", "Not on a Friday.")
            is_error, text = told(await client.call_tool("fail", {"how": "badly"}))
            assert is_error
            assert "denied. Not on a Friday." in text
        async with anyio.create_task_group() as group:
            group.start_soon(decide, bridge, "approve")
            is_error, text = told(await client.call_tool("fail", {"how": "badly"}))
            assert is_error
            assert "badly" in text
        is_error, text = told(await client.call_tool("fail", {}))
        assert is_error
        assert "Nothing was run" in text

    bridge.ask(bridge.token("--tools", "fail"), mode, question)


@pytest.mark.parametrize("mode", MODES)
def test_images_come_as_images(bridge: Bridge, mode: str) -> None:
    async def question(client: Client) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(decide, bridge, "approve")
            [image] = (await client.call_tool("picture")).content
        assert isinstance(image, types.ImageContent)
        assert (image.mime_type, image.data) == ("image/png", "iVBORw0KGgo=")

    bridge.ask(bridge.token("--tools", "picture"), mode, question)


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
    asked = request("tools/call", name="note", arguments={"path": "/nowhere", "text": "x"})
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{bridge.bridge_url}/mcp", json=asked, headers=bearer(token), timeout=1)
    run = bridge.ended()
    assert (run.state, run.error) == ("cancelled", "the client closed its connection")


def test_no_client_and_no_session_cancels_anothers_call(bridge: Bridge) -> None:
    mine, others = bridge.token("--tools", "note"), bridge.token("--tools", "note")
    asked = request("tools/call", name="note", arguments={"path": "/nowhere", "text": "x"})
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(bridge.post, mine, asked, Mcp_Session_Id="s1")
        bridge.machine.waiting_call()
        for token, headers in ((others, {"Mcp_Session_Id": "s1"}), (mine, {"Mcp_Session_Id": "s2"}), (mine, {})):
            assert bridge.post(token, cancel, **headers).status_code == 202
        assert bridge.newest_run().state == "running"
        assert bridge.post(mine, cancel, Mcp_Session_Id="s1").status_code == 202
        assert answer.result(SECONDS).json()["error"]["message"] == "the client cancelled this call"


def test_a_request_that_comes_twice_is_one_call(bridge: Bridge) -> None:
    mine = bridge.token("--tools", "note")
    asked = request("tools/call", name="note", arguments={"path": "/nowhere", "text": "x"})
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(bridge.post, mine, asked, Mcp_Session_Id="s3")
        bridge.machine.waiting_call()
        again = bridge.post(mine, asked, Mcp_Session_Id="s3")
        assert (again.status_code, again.json()["id"]) == (400, 1)
        assert "still under way" in again.json()["error"]["message"]
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        assert bridge.post(mine, cancel, Mcp_Session_Id="s3").status_code == 202
        assert "cancelled" in answer.result(SECONDS).json()["error"]["message"]
    assert "/nowhere" not in bridge.machine.clawback("tickets", "--wide").stdout


def test_one_client_does_not_take_the_places_of_the_others(bridge: Bridge) -> None:
    """Each stream for changes is one of a limited number."""
    mine, others = bridge.token(), bridge.token()
    limits = httpx.Limits(max_connections=None)
    with ExitStack() as streams, httpx.Client(base_url=bridge.bridge_url, limits=limits, timeout=SECONDS) as http:

        def opened(token: str) -> int:
            headers = {"Accept": "text/event-stream", **bearer(token)}
            return streams.enter_context(http.stream("GET", "/mcp", headers=headers)).status_code

        assert [opened(mine) for _ in range(MOST_STREAMS_EACH + 1)] == [*[200] * MOST_STREAMS_EACH, 429]
        assert opened(others) == 200


MODERN = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/list"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (request("no/such"), {}, 200, -32601),
        (request("no/such", _meta=META), MODERN | {"Mcp_Method": "no/such"}, 404, -32601),
        (request("initialize", _meta=META), MODERN | {"Mcp_Method": "initialize"}, 404, -32601),
        (request("tools/list"), MODERN, 400, -32602),
        (request("tools/list", _meta=META), MODERN | {"Mcp_Method": "tools/call"}, 400, -32020),
        (request("tools/list", _meta=META | {next(iter(META)): "x"}), MODERN, 400, -32020),
        (request("tools/list"), {"MCP_Protocol_Version": "1999-01-01"}, 400, -32022),
        (request("tools/list", cursor="x"), {}, 200, -32602),
        (request("tools/call", name="shout", arguments=[]), {}, 200, -32602),
        (request("ping", None), {}, 400, -32600),
        (request("ping", 1.5), {}, 400, -32600),
        ([request("ping")], {}, 400, -32700),
        ({"jsonrpc": "1.0", "id": 1, "method": "ping"}, {}, 400, -32600),
        (request("ping", text="x" * 200_000), {}, 413, -32600),
    ],
)
def test_what_is_wrong_is_said_with_a_code(
    bridge: Bridge, reader: str, body: object, headers: dict[str, str], status: int, code: int
) -> None:
    answer = bridge.post(reader, body, **headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert answer.json()["error"]["message"]


def test_each_version_is_answered_as_it_asks_for(bridge: Bridge, reader: str) -> None:
    for asked, told_version in (
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("1999-01-01", "2025-11-25"),
    ):
        answer = bridge.post(reader, request("initialize", protocolVersion=asked, capabilities={}, clientInfo={}))
        assert answer.json()["result"]["protocolVersion"] == told_version
        assert answer.headers["Mcp-Session-Id"]
    unknown = bridge.post(reader, request("ping"), MCP_Protocol_Version="1999-01-01").json()["error"]["data"]
    assert unknown["supported"] == ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]
    assert bridge.post(reader, {"jsonrpc": "2.0", "method": "notifications/initialized"}).status_code == 202
    assert bridge.post(reader, {"jsonrpc": "2.0", "id": 1, "result": {}}).status_code == 202


def test_a_run_of_an_mcp_client_is_shown_as_what_it_is(bridge: Bridge, reader: str) -> None:
    answer = bridge.post(reader, request("tools/call", name="shout", arguments={"text": "hello"}))
    assert answer.json()["result"] == {"content": [{"type": "text", "text": "HELLO"}], "isError": False}
    run = bridge.ended()
    with httpx.Client(base_url=bridge.bridge_url, headers={"Origin": bridge.bridge_url}) as page:
        page.post("/login", data={"name": "ada", "token": bridge.operator_token})
        shown = page.get(f"/runs/{run.id}").text
    assert "an MCP client asks" in shown
    assert "shout" in shown
    assert "Model call" not in shown
    [status] = [
        each
        for each in json.loads(
            bridge.machine.clawback("token", "list", "--json", "--config", str(bridge.config)).stdout
        )
        if f"mcp:{each['name']}" == run.model
    ]
    assert (status["kind"], status["tools"]) == ("mcp", None)


def test_clients_of_each_version_hear_of_other_tools_that_are_theirs(bridge: Bridge) -> None:
    token, others = bridge.token("--tools", "shout", "--tools", "get_*"), bridge.token("--tools", "shout")
    changes: list[Any] = []
    none: list[Any] = []

    async def heard(message: Any) -> None:
        changes.append(message)

    async def heard_by_others(message: Any) -> None:
        none.append(message)

    async def question(client: Client) -> None:
        assert len((await client.list_tools()).tools) == 1
        async with (
            bridge.client(others, message_handler=heard_by_others) as other,
            bridge.client(token, "auto") as modern,
            modern.listen(tools_list_changed=True) as subscription,
        ):
            assert len((await other.list_tools()).tools) == 1
            await anyio.sleep(0.5)
            command = ["--", sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC"]
            clock = await anyio.to_thread.run_sync(bridge.machine.executor, "mcp", *command)
            assert isinstance(await anext(subscription), ToolsListChanged)
            while not changes:
                await anyio.sleep(0.1)
            assert isinstance(changes[0], types.ToolListChangedNotification)
            for each in (client, modern):
                assert "get_current_time" in [tool.name for tool in (await each.list_tools()).tools]
            await anyio.to_thread.run_sync(clock.stop)
            assert none == []

    bridge.ask(token, "legacy", question, message_handler=heard)


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
        assert (left.state, left.error) == ("cancelled", "nobody waits for this call any more")
        assert time.monotonic() - begun < 30
        assert not (tmp_path / "x").exists()
    finally:
        bridge.stop()


def test_every_wait_ends(tmp_path: Path) -> None:
    bridge = Bridge(tmp_path, {"approval_seconds": 3})
    try:
        bridge.machine.executor("python", "tests.bridge.executors.notes")
        token = bridge.token("--tools", "note")
        asked = request("tools/call", name="note", arguments={"path": str(tmp_path / "x"), "text": "x"})
        result = bridge.post(token, asked).json()["result"]
        assert result["isError"]
        assert "nobody approved this call in time. It was not run." in result["content"][0]["text"]
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(bridge.post, token, asked)
            bridge.machine.waiting_call()
            bridge.service.stop()
            assert "the bridge stops, and this call was cancelled" in answer.result(SECONDS).json()["error"]["message"]
        run = bridge.newest_run()
        assert (run.state, run.error) == ("cancelled", "the bridge was stopped")
    finally:
        bridge.stop()
