"""Codex and Claude Code as MCP clients of the bridge, while a Dify app behind the same bridge is their model."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.stack import Stack
from tests.agents.claude_code import ClaudeCode
from tests.agents.codex import Codex
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
