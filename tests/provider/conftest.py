"""The real plugin process, the real scripted upstream, and a small bridge that the test steers."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.box.errors import DaemonError
from demo.box.plugin_process import PluginProcess
from tests.levels import starts
from tests.provider.bridge_server import TOKEN, Bridge, serving
from tools.definitions import Function, ToolDefinition
from tools.wire import AttachResponse

ROOT = Path(__file__).parents[2]
KEY = "sk-upstream-0123456789abcdef"


@pytest.fixture(scope="session")
@starts("parts")
def upstream() -> Iterator[dict[str, Any]]:
    """The scripted upstream: its ready line, with `base_url` and `log_url`."""
    command = [sys.executable, "-m", "demo.scripted", "--api-key", KEY]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=10)


@pytest.fixture(scope="session")
@starts("parts")
def plugin() -> Iterator[PluginProcess]:
    """The plugin as Dify's daemon starts it."""
    with started_plugin() as process:
        yield process


@contextmanager
def started_plugin() -> Iterator[PluginProcess]:
    """The plugin in a process of its own, with this process's environment."""
    process = PluginProcess(ROOT)
    process.start()
    yield process
    instance = process._instance
    process.stop()
    assert instance
    for pipe in (instance.process.stdin, instance.process.stdout, instance.process.stderr):
        assert pipe
        pipe.close()


@pytest.fixture
@starts("parts")
def bridge() -> Iterator[Bridge]:
    """A bridge of this test's own."""
    with serving(Bridge()) as served:
        yield served


@dataclass
class Told:
    """What Dify hears of one invocation; `error` is the SDK's type and its text."""

    chunks: list[dict[str, Any]] = field(default_factory=list)
    error: tuple[str, str] | None = None
    whole_error: str = ""

    @property
    def text(self) -> str:
        return "".join(chunk["message"]["content"] for chunk in self.chunks)

    @property
    def last(self) -> dict[str, Any]:
        return self.chunks[-1]

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [call["function"] for chunk in self.chunks for call in chunk["message"]["tool_calls"]]


@dataclass
class Dify:
    """Calls the plugin as Dify's LLM node does."""

    plugin: PluginProcess
    credentials: dict[str, str]

    def ask(self, action: str, **data: Any) -> list[dict[str, Any]]:
        request = {"user_id": "user1", "provider": "clawback", "model_type": "llm", "model": "main"}
        return list(self.plugin.invoke(action, request | {"credentials": self.credentials} | data))

    def invoke(self, text: str | list[dict[str, Any]], told: Told | None = None, **data: Any) -> Told:
        """Invoke the model with one user message (or a whole prompt) and collect what comes."""
        told = told or Told()
        prompt = [{"role": "user", "content": text}] if isinstance(text, str) else text
        request = {
            "user_id": "user1",
            "provider": "clawback",
            "model_type": "llm",
            "model": "main",
            "credentials": self.credentials,
            "prompt_messages": prompt,
            "model_parameters": {},
            "tools": None,
            "stop": None,
            "stream": True,
        } | data
        try:
            for chunk in self.plugin.invoke("invoke_llm", request, app_id="app1"):
                told.chunks.append(chunk["delta"])
        except DaemonError as error:
            told.whole_error = error.message
            fields = json.loads(error.message)
            told.error = (fields["error_type"], fields["message"])
        return told

    def start(self, text: str, **data: Any) -> "Running":
        """Invoke in the background, callbacks on."""
        told = Told()
        parameters = {"external_tool_callback_enabled": True} | data.pop("model_parameters", {})
        thread = threading.Thread(
            target=lambda: self.invoke(text, told, model_parameters=parameters, **data), daemon=True
        )
        thread.start()
        return Running(told, thread)


@dataclass
class Running:
    """An invocation under way."""

    told: Told
    thread: threading.Thread

    def end(self, seconds: float = 60) -> Told:
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "the invocation did not end"
        return self.told


@pytest.fixture
def dify(plugin: PluginProcess, upstream: dict[str, Any], bridge: Bridge) -> Dify:
    """Dify with credentials for both sides."""
    return Dify(
        plugin,
        {
            "upstream_base_url": upstream["base_url"],
            "upstream_api_key": KEY,
            "upstream_model": "scripted",
            "bridge_url": bridge.url,
            "bridge_token": TOKEN,
        },
    )


@pytest.fixture
def log(upstream: dict[str, Any]) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What the upstream was asked in this test, oldest first."""
    with httpx.Client(timeout=20) as client:
        client.delete(upstream["log_url"])
        yield lambda: client.get(upstream["log_url"]).json()


def run_of(text: str, *names: str, texts: Sequence[str] = ()) -> AttachResponse:
    """A run whose client said `text` and brings tools of these names, each with these parameters."""
    parameters = {"type": "object", "properties": {name: {"type": "string"} for name in texts}}
    tools = [ToolDefinition(function=Function(name=name, parameters=parameters)) for name in names]
    return AttachResponse(run_id="run1", messages=[{"role": "user", "content": text}], turn=0, query=text, tools=tools)
