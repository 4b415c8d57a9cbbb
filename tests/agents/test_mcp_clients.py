"""MCP clients of the bridge: Codex and Claude Code, while a Dify app is their model, and MCP's conformance suite."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.stack import Stack
from tests.agents.claude_code import ClaudeCode
from tests.agents.codex import Codex
from tests.agents.test_llmprobe import NODE
from tests.conftest import AGENTS
from tests.e2e.conftest import call
from tests.e2e.executors import Machine

pytestmark = [pytest.mark.agents, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def machine(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(stack, tmp_path_factory.mktemp("machine")) as machine:
        machine.executor("python", "tests.bridge.executors.notes")
        yield machine


def token(stack: Stack, machine: Machine, name: str) -> str:
    made = machine.clawback("token", "add", name, "--mcp", "--config", str(stack.folder / "clawback.toml"))
    assert made.returncode == 0, made.stderr
    return made.stdout.split()[1]


def test_codex_calls_an_executors_tool(stack: Stack, machine: Machine, tmp_path: Path) -> None:
    codex = Codex(tmp_path, stack.base_url, stack.client_token)
    codex.environ["CLAWBACK_MCP_TOKEN"] = token(stack, machine, "codex")
    settings = (
        f'\n[mcp_servers.clawback]\nurl = "{stack.bridge_url}/mcp"\nbearer_token_env_var = "CLAWBACK_MCP_TOKEN"\n'
    )
    codex.settings.write_text(codex.settings.read_text() + settings)
    done = codex.turn("Codex shouts.", call("mcp__clawback__shout", text="from codex"))
    assert "FROM CODEX" in done.stdout, done.stderr


def test_claude_code_calls_an_executors_tool(stack: Stack, machine: Machine, claude: ClaudeCode) -> None:
    headers = {"Authorization": f"Bearer {token(stack, machine, 'claude')}"}
    servers = {"clawback": {"type": "http", "url": f"{stack.bridge_url}/mcp", "headers": headers}}
    done = claude.turn(
        "Claude shouts.",
        call("mcp__clawback__shout", text="from claude"),
        options=("--mcp-config", json.dumps({"mcpServers": servers})),
    )
    assert "FROM CLAUDE" in done.said, done.errors


SCENARIOS = (
    "server-initialize",
    "ping",
    "tools-list",
    "tools-call-simple-text",
    "tools-call-image",
    "tools-call-error",
    "tools-call-with-progress",
    "json-schema-2020-12",
    "server-sse-multiple-streams",
    "dns-rebinding-protection",
)
"""What the suite asks of a server that has tools alone: the others ask for resources, prompts, logs and the like."""


@pytest.fixture(scope="module")
def mcp_token(stack: Stack, machine: Machine) -> str:
    """A token of a bridge that has the suite's own tools."""
    machine.executor("mcp", "--", sys.executable, "-m", "tests.agents.conformance_server")
    return token(stack, machine, "conformance")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_bridge_conforms_to_mcp(scenario: str, stack: Stack, mcp_token: str, tmp_path: Path) -> None:
    suite = AGENTS / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
    bearer = Path(__file__).with_name("bearer.cjs")
    asked = ["server", "--url", f"{stack.bridge_url}/mcp", "--scenario", scenario, "--output-dir", str(tmp_path)]
    done = subprocess.run(
        [str(NODE), "--require", str(bearer), str(suite), *asked],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CLAWBACK_TOKEN": mcp_token},
        capture_output=True,
        text=True,
        check=False,
    )
    checks: list[dict[str, Any]] = json.loads(next(tmp_path.glob("*/checks.json")).read_text())
    outcomes = {check["status"] for check in checks}
    assert "SUCCESS" in outcomes, done.stderr
    assert "FAILURE" not in outcomes, [check for check in checks if check["status"] == "FAILURE"]
