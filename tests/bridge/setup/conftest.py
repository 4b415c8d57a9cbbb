"""`clawback init` and `clawback doctor` as a person runs them: as processes, with Dify in a box beside them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.stack import Stack
from tests.bridge.setup.commands import Command


@pytest.fixture(scope="session")
def dify(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Dify with two chatflows."""
    with Stack(tmp_path_factory.mktemp("dify"), apps=["minimal", "router"]) as running:
        yield running


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Where the configuration will be."""
    return tmp_path / "home" / "clawback" / "clawback.toml"


@pytest.fixture
def init(config: Path) -> Command:
    """`clawback init` for this configuration, without a terminal."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "bridge.cli", "init", "--config", str(config), *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
            env={**os.environ, "NO_COLOR": "1"},
        )

    return run
