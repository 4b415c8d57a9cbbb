"""Coding agents as they are, before the real parts."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.stack import Stack
from tests.agents.claude_code import ClaudeCode
from tests.e2e.wire import Cable


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All three example apps; every other model name leads to the first."""
    with Stack(
        tmp_path_factory.mktemp("agents"),
        bridge_settings={"keepalive_seconds": 0.5, "grace_seconds": 5, "dify_streams": 100},
        each_app={"minimal": {"aliases": ["claude-*", "dify-app"]}},
    ) as running:
        yield running


@pytest.fixture
def apart() -> Iterator[Path]:
    """A folder that another user reaches: each pytest that starts closes those of pytest to all but their owner."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def claude(stack: Stack, apart: Path) -> ClaudeCode:
    """A Claude Code that has done nothing yet."""
    return ClaudeCode(apart, stack.bridge_url, stack.client_token)


@pytest.fixture
def cable(stack: Stack) -> Iterator[Cable]:
    """Carries a client's connections to the bridge, and hears what it says."""
    made = Cable()
    made.target = int(stack.bridge_url.rpartition(":")[2])
    yield made
    made.close()
