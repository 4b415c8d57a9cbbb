"""The plugin starts with no network, no secret and no input, as the marketplace's install test wants.

And Dify's SDK reads it, and invokes it without needless work.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.provider.conftest import KEY

pytestmark = pytest.mark.parts

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_it_starts_in_serverless_mode_and_is_healthy() -> None:
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "INSTALL_METHOD": "serverless",
        "SERVERLESS_HOST": "127.0.0.1",
        "SERVERLESS_PORT": str(port),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "main"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert health(process, f"http://127.0.0.1:{port}/health").text == "OK"
    finally:
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate(timeout=10)
    assert "Traceback" not in errors


def health(process: "subprocess.Popen[str]", url: str) -> httpx.Response:
    end = time.monotonic() + 60
    while True:
        try:
            return httpx.get(url, timeout=5)
        except httpx.TransportError:
            assert process.poll() is None, "the plugin ended"
            assert time.monotonic() < end, "the plugin is not healthy"
            time.sleep(0.1)


def test_what_the_daemon_sees_of_it() -> None:
    """The SDK reads the manifest, the forms and the classes without complaint, in a process of its own."""
    code = (
        "import json\n"
        "from dify_plugin import DifyPluginEnv\n"
        "from dify_plugin.core.plugin_registration import PluginRegistration\n"
        "from dify_plugin.entities.model import ModelType\n"
        "registration = PluginRegistration(DifyPluginEnv())\n"
        "[provider] = registration.models_configuration\n"
        "model = registration.get_model_instance('clawback', ModelType.LLM)\n"
        "names = sorted(schema.model for schema in model.model_schemas)\n"
        "print(json.dumps([registration.configuration.name, provider.provider, names,\n"
        "    sorted(file.filename for file in registration.files)]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == '["clawback", "clawback", ["light", "main"], ["icon.svg", "icon_dark.svg"]]'


def test_the_schema_of_an_invocation_is_made_once(upstream: dict[str, Any]) -> None:
    """The SDK asks for it with each parameter's rules and each price, and it takes long to make."""
    code = (
        "from dify_plugin import DifyPluginEnv\n"
        "from dify_plugin.core.plugin_registration import PluginRegistration\n"
        "from dify_plugin.entities.model import ModelType\n"
        "from dify_plugin.entities.model.message import UserPromptMessage\n"
        "model = PluginRegistration(DifyPluginEnv()).get_model_instance('clawback', ModelType.LLM)\n"
        "code, made = type(model).get_model_schema.__globals__, []\n"
        "schema_for = code['schema_for']\n"
        "code['schema_for'] = lambda *given: made.append(schema_for(*given)) or made[-1]\n"
        f"form = {{'upstream_base_url': {upstream['base_url']!r}, 'upstream_api_key': {KEY!r}}}\n"
        "said = list(model.invoke('scripted', form, [UserPromptMessage(content='!say Yes.')], {'temperature': 0.5}))\n"
        "print(''.join(chunk.delta.message.content for chunk in said), bool(said[-1].delta.usage), len(made))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "Yes. True 1"
