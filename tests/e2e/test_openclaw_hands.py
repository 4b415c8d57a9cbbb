"""A real OpenClaw gateway writes files and runs commands for someone who chats with the Dify app."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from demo.stack import EXAMPLES, Stack, free_port
from tests.e2e.conftest import call
from tests.e2e.executors import SECONDS, Chat, Machine, wait_for

pytestmark = [pytest.mark.openclaw, pytest.mark.timeout(300)]

HANDS_KEY = "hands-key-0123456789"
GATEWAY_TOKEN = "gateway-token-0123456789"


class Gateway:
    """A running OpenClaw gateway whose configuration is the printed one and little else."""

    def __init__(self, command: Path, folder: Path, printed: str) -> None:
        self.workspace = folder / "workspace"
        self.workspace.mkdir()
        self.port = free_port()
        config = json.loads(printed)
        config["gateway"] |= {
            "mode": "local",
            "port": self.port,
            "bind": "loopback",
            "auth": {"mode": "token", "token": GATEWAY_TOKEN},
        }
        config["agents"] = {"defaults": {"workspace": str(self.workspace)}}
        config["logging"] = {"file": str(folder / "openclaw.log")}
        path = folder / "openclaw.json"
        path.write_text(json.dumps(config))
        environ = {
            **os.environ,
            "HOME": str(folder),
            "OPENCLAW_STATE_DIR": str(folder / "state"),
            "OPENCLAW_CONFIG_PATH": str(path),
            "TMPDIR": str(folder),
        }
        with (folder / "gateway.log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(command), "gateway", "run"],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(lambda: True if self._answers() else None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _answers(self) -> bool:
        assert self._process.poll() is None, "the gateway ended"
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5).is_success
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="module")
def machine(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(stack, tmp_path_factory.mktemp("machine")) as machine:
        yield machine


@pytest.fixture(scope="module")
def gateway(
    openclaw: Path, stack: Stack, machine: Machine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """OpenClaw's gateway, and its tools, those of an MCP server and a function offered to the bridge."""
    port = str(free_port())
    options = ["--port", port, "--hands-key", HANDS_KEY]
    printed = machine.clawback("executor", "openclaw", *options, "--print-config").stdout
    gateway = Gateway(openclaw, tmp_path_factory.mktemp("openclaw"), printed)
    try:
        machine.executor("openclaw", *options, "--gateway", gateway.url, "--gateway-token", GATEWAY_TOKEN)
        machine.executor("python", "tests.bridge.executors.notes")
        machine.executor("mcp", "--", sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC")
        yield gateway
    finally:
        machine.stop()
        gateway.stop()


@pytest.mark.parametrize("app", EXAMPLES)
def test_openclaw_an_mcp_server_and_a_function_work_in_one_conversation(
    app: str, stack: Stack, machine: Machine, gateway: Gateway
) -> None:
    chat = Chat(stack, app, f"ann-{app}")
    assert "HELLO" in chat.say("Shout.", call("shout", text="hello"))
    assert '"UTC' in chat.say("The time.", call("get_current_time", timezone="UTC")).replace("\\", "")
    asked = [
        "Write it down, and count it.",
        call("write", path=f"{app}.txt", content="one\ntwo\n"),
        "!then",
        call("exec", command=f"wc -l < {app}.txt; echo counted by $((40 + 2))"),
        "!then",
        call("read", path=f"{app}.txt"),
    ]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(chat.say, *asked)
        for tool in ("write", "exec"):
            waiting = machine.waiting_call()
            assert waiting["name"] == tool
            assert machine.clawback("approve", waiting["id"]).returncode == 0
        assert "two" in answer.result(SECONDS)
    assert (gateway.workspace / f"{app}.txt").read_text() == "one\ntwo\n"
    store = stack.store()
    try:
        _, found = store.call(waiting["id"]) or (None, None)
    finally:
        store.close()
    assert found is not None
    assert "counted by 42" in str(found.output)


def test_parallel_calls_run_at_the_same_time(stack: Stack, gateway: Gateway, machine: Machine) -> None:
    calls = [call("read", path=f"{number}.txt") for number in range(3)]
    for number in range(3):
        (gateway.workspace / f"{number}.txt").write_text(f"content {number}")
    answer = Chat(stack, "minimal", "bea").say("Read all.", *calls)
    assert [f"content {number}" in answer for number in range(3)] == [True, True, True]
