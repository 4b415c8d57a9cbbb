"""The package in Dify's own plugin daemon: installed, invoked, waiting, out of time, killed and back."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bridge.commands.package.contents import archive, package_contents
from demo.box.config import DaemonAddress
from demo.box.errors import DaemonError
from demo.box.plugin_daemon import PluginDaemon
from demo.client import Client, Outcome
from demo.local_tools import LocalTools
from demo.stack import ROOT, Stack
from tests.e2e.conftest import call
from tests.e2e.daemon import PLUGIN, WORKSPACE, Daemon, missing, wait_until

LACKING = missing()
pytestmark = [
    pytest.mark.daemon,
    pytest.mark.skipif(LACKING is not None, reason=LACKING or ""),
    pytest.mark.timeout(400),
]

EXECUTION_SECONDS = 25
IDLE_SECONDS = 15


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    running = Daemon(tmp_path_factory.mktemp("daemon"), EXECUTION_SECONDS)
    try:
        running.install(archive(package_contents(ROOT)))
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def stack(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Dify's part is played by the box, whose LLM nodes go to the daemon over HTTP."""
    limits = ["--plugin-idle-seconds", str(IDLE_SECONDS)]
    with Stack(tmp_path_factory.mktemp("stack"), box_options=["--daemon", daemon.address, *limits]) as running:
        yield running


@pytest.fixture
def plugin(daemon: Daemon) -> Iterator[PluginDaemon]:
    speaking = PluginDaemon(DaemonAddress(daemon.url, daemon.key, WORKSPACE), PLUGIN)
    yield speaking
    speaking.stop()


class SlowTools(LocalTools):
    """Tools that take their time."""

    seconds = 0.0

    def run(self, name: str, arguments: dict[str, str]) -> str:
        threading.Event().wait(self.seconds)
        return super().run(name, arguments)


def ask(stack: Stack, folder: Path, text: str, *, app: str = "minimal", seconds: float = 0) -> Outcome:
    """Ask as a client whose tools take `seconds`."""
    tools = SlowTools(folder)
    tools.seconds = seconds
    with closing(Client(stack.base_url, stack.client_token, app, tools, session=folder.name)) as client:
        return client.ask(text)


WRITE = call("write", path="made.txt", content="here")


def test_credentials_are_validated(stack: Stack, plugin: PluginDaemon) -> None:
    good = {
        "upstream_base_url": stack.upstream.base_url,
        "upstream_api_key": stack.upstream.api_key,
        "upstream_model": "scripted",
        "bridge_url": stack.bridge_url,
        "bridge_token": stack.plugin_token,
    }
    request = {"provider": "clawback", "credentials": good}
    [answer] = plugin.invoke("validate_provider_credentials", request)
    assert answer["result"] is True
    with pytest.raises(DaemonError, match="upstream_api_key"):
        list(
            plugin.invoke("validate_provider_credentials", request | {"credentials": good | {"upstream_api_key": "x"}})
        )


def test_text_arrives_while_the_model_still_speaks(stack: Stack, plugin: PluginDaemon) -> None:
    request = {
        "provider": "clawback",
        "model_type": "llm",
        "model": "main",
        "credentials": {
            "upstream_base_url": stack.upstream.base_url,
            "upstream_api_key": stack.upstream.api_key,
            "upstream_model": "scripted",
        },
        "prompt_messages": [{"role": "user", "content": "!say one \n!sleep 1\n!say two"}],
        "model_parameters": {},
        "stream": True,
    }
    texts = [chunk["delta"]["message"]["content"] for chunk in plugin.invoke("invoke_llm", request)]
    assert "".join(texts) == "one \ntwo"
    assert len(texts) > 2


@pytest.mark.parametrize("app", ["minimal", "router", "pipeline"])
def test_a_turn_with_a_tool_call(app: str, stack: Stack, tmp_path: Path) -> None:
    outcome = ask(stack, tmp_path, f"Write a file.\n{WRITE}\n!then\n!say written", app=app)
    assert outcome.reply.text.endswith("written")
    assert (tmp_path / "made.txt").read_text() == "here"


def test_a_wait_beyond_difys_idle_limit_is_held_by_heartbeats(stack: Stack, tmp_path: Path) -> None:
    outcome = ask(stack, tmp_path, f"Wait.\n{WRITE}\n!then\n!say waited", seconds=IDLE_SECONDS + 2)
    assert (outcome.reply.text, len(outcome.runs)) == ("waited", 1)


def test_a_wait_beyond_the_execution_limit_suspends_the_run_and_resumes_it(stack: Stack, tmp_path: Path) -> None:
    outcome = ask(stack, tmp_path, f"Long.\n{WRITE}\n!then\n!say resumed", seconds=EXECUTION_SECONDS + 3)
    assert (outcome.reply.text, len(outcome.runs)) == ("resumed", 1)
    store = stack.store()
    run = store.run(outcome.runs[0])
    store.close()
    assert run is not None
    assert run.attempt == 2


def answers(plugin: PluginDaemon) -> bool:
    """Whether the plugin's process is ready: the daemon takes it for one as soon as it runs."""
    request = {"provider": "clawback", "model_type": "llm", "model": "main", "credentials": {}}
    try:
        return bool(list(plugin.invoke("get_ai_model_schemas", request)))
    except DaemonError:
        return False


def test_a_plugin_that_is_killed_comes_back(daemon: Daemon, stack: Stack, plugin: PluginDaemon, tmp_path: Path) -> None:
    killed = daemon.plugin_pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: daemon.plugin_pid not in (None, killed), "another plugin process", 30)
    wait_until(lambda: answers(plugin), "an answer of the new process", 60)
    outcome = ask(stack, tmp_path, f"Again.\n{WRITE}\n!then\n!say back")
    assert outcome.reply.text == "back"
