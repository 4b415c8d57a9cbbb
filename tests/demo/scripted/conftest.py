import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.levels import starts

ROOT = Path(__file__).parents[3]
KEY = "sk-scripted-0123456789"


@contextmanager
def started(*options: str, wait: bool = True) -> Iterator[dict[str, Any]]:
    """The real server in its own process; yields its ready line (if it waits for it), ends it with SIGTERM."""
    command = [sys.executable, "-m", "demo.scripted", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield json.loads(process.stdout.readline()) if wait else {}
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0


@pytest.fixture(scope="session")
@starts("parts")
def ready() -> Iterator[dict[str, Any]]:
    with started("--api-key", KEY) as line:
        yield line


@pytest.fixture(scope="session")
def any_http(ready: dict[str, Any]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ready["base_url"], headers={"Authorization": f"Bearer {KEY}"}, timeout=20) as client:
        yield client


@pytest.fixture
def http(any_http: httpx.Client, ready: dict[str, Any]) -> httpx.Client:
    any_http.delete(ready["log_url"])
    return any_http


@pytest.fixture
def openai(http: httpx.Client, ready: dict[str, Any]) -> OpenAI:
    return OpenAI(base_url=ready["base_url"], api_key=KEY, max_retries=0, timeout=20, http_client=http)


@pytest.fixture
def log(http: httpx.Client, ready: dict[str, Any]) -> Callable[[], list[dict[str, Any]]]:
    return lambda: http.get(ready["log_url"]).json()  # type: ignore[no-any-return]
