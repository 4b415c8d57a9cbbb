"""A bridge beside Dify, and the commands with which an operator watches it."""

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from bridge.cli import main
from demo.client import Client
from demo.local_tools import LocalTools
from demo.stack import Stack
from tests.levels import starts

Clawback = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
@starts("e2e")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), apps=["minimal"]) as running:
        yield running


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    asking = Client(stack.base_url, stack.client_token, "minimal", LocalTools(stack.folder), session="operator")
    yield asking
    asking.close()


@pytest.fixture(scope="module")
def clawback(stack: Stack) -> Clawback:
    """`clawback COMMAND` on the bridge's own machine."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        config = [] if "--config" in arguments else ["--config", str(stack.folder / "clawback.toml")]
        done = CliRunner(env={"NO_COLOR": "1", "COLUMNS": "200"}).invoke(main, [*arguments, *config])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return run


def read(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
