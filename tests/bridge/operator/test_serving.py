"""`clawback serve` takes a changed configuration while runs go on, and stops without losing anything."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from bridge.config import load
from bridge.server import serving
from demo.service import Service
from demo.stack import Stack
from tests.e2e.conftest import call, stream
from tests.e2e.test_survives import ask, begin, chunks, results, text
from tests.levels import starts

WAIT_SECONDS = 30


@pytest.fixture(scope="module")
@starts("e2e")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("served"), apps=["minimal"]) as running:
        yield running


@pytest.mark.parts
def test_the_first_process_of_a_bridge_imports_nothing_that_only_its_worker_needs() -> None:
    """What it has imported it keeps, while the worker uses the same anew."""
    imported = "import sys, bridge.commands.serve, bridge.server.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True, timeout=60, check=True)
    assert {"flask", "httpx", "jinja2", "sqlalchemy", "sqlite3", "bridge.app"}.isdisjoint(done.stdout.split())


def models(stack: Stack, url: str | None = None) -> list[str]:
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    answer = httpx.get(f"{url or stack.bridge_url}/v1/models", headers=headers)
    return [model["id"] for model in answer.json()["data"]]


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.05)


def logged(stack: Stack, words: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in stack.bridge.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if words in line["message"]]


def test_a_changed_configuration_is_taken_and_no_run_is_dropped(stack: Stack) -> None:
    config = stack.folder / "clawback.toml"
    as_it_was, policy = config.read_text(), stack.folder / "policy.toml"
    transcript = begin(stack, "\n".join(["Begin.", call("exec", command="x"), "!then", "!say It went on."]), "kept")
    app = config.read_text()[config.read_text().index("[[apps]]") :]
    policy.write_text('[[rules]]\ntool = "exec"\naction = "deny"\nreason = "not any more"\n')
    config.write_text(f'policy = "{policy}"\n' + config.read_text() + app.replace('"minimal"', '"second"'))
    os.kill(stack.bridge.pid, signal.SIGHUP)
    until(lambda: models(stack) == ["minimal", "second"])
    # The run that waited meanwhile.
    with stream(stack, ask([*transcript, *results(transcript, "done")]), **{"X-Session-Affinity": "kept"}) as response:
        assert text(response) == "It went on."
    # The new rule holds for calls from now on.
    prompt = "\n".join(["Again.", call("exec", command="x"), "!then", "!say It ended."])
    with stream(stack, ask([{"role": "user", "content": prompt}]), **{"X-Session-Affinity": "new"}) as response:
        assert text(response) == "It ended."
    # The app that came serves, and doctor knows that the bridge and the file say the same.
    second = {**ask([{"role": "user", "content": "!say Here I am."}]), "model": "second"}
    with stream(stack, second, **{"X-Session-Affinity": "second"}) as response:
        assert text(response) == "Here I am."
    note = serving.find(load(config))
    assert note
    assert note.digest == serving.digest(load(config))

    # What is broken is refused with the reason, and everything stays.
    sound = config.read_text()
    config.write_text(sound.replace('policy = "', "policy = nothing # "))
    os.kill(stack.bridge.pid, signal.SIGHUP)
    until(lambda: bool(logged(stack, "was not taken")))
    assert "is not valid TOML" in logged(stack, "was not taken")[0]["message"]
    assert models(stack) == ["minimal", "second"]
    config.write_text(sound)
    policy.write_text('[[rules]]\naction = "sometimes"\n')
    os.kill(stack.bridge.pid, signal.SIGHUP)
    until(lambda: len(logged(stack, "was not taken")) == 2)
    assert "rules.0.action" in logged(stack, "was not taken")[1]["message"]
    # An app that is gone is refused from now on; a key that takes a new start is said.
    policy.write_text("")
    config.write_text('database_url = "sqlite://"\n' + sound.replace(app.replace('"minimal"', '"second"'), ""))
    os.kill(stack.bridge.pid, signal.SIGHUP)
    until(lambda: models(stack) == ["minimal"])
    assert logged(stack, "database_url has changed, which takes a new start")
    config.write_text(as_it_was)


def test_reload_takes_a_file_as_it_is_saved(stack: Stack) -> None:
    config = stack.folder / "watched.toml"
    text_ = (stack.folder / "clawback.toml").read_text()
    config.write_text(text_.replace(f"data_dir = {json.dumps(str(stack.folder / 'bridge'))}", "data_dir = 'watched'"))
    config.write_text(config.read_text().replace("data_dir = 'watched'", f'data_dir = "{stack.folder / "watched"}"'))
    command = [sys.executable, "-m", "bridge.cli", "serve", "--json", "--reload", "--port", "0"]
    bridge = Service("watched", [*command, "--config", str(config)], stack.folder / "watched.log")
    try:
        url = bridge.ready["bridge_url"]
        assert models(stack, url) == ["minimal"]
        config.write_text(config.read_text().replace('model = "minimal"', 'model = "renamed"'))
        until(lambda: models(stack, url) == ["renamed"])
    finally:
        bridge.stop()


def test_a_stop_lets_streams_end_and_keeps_tickets(stack: Stack) -> None:
    prompt = "\n".join(["Wait.", call("exec", command="x"), "!then", "!say After the stop."])
    transcript = begin(stack, prompt, "waiting")
    slow = ask([{"role": "user", "content": "Slowly.\n!say Before,\n!sleep 2\n!say and after."}])
    told: list[str] = []
    speaking = threading.Event()

    def listen() -> None:
        with stream(stack, slow, **{"X-Session-Affinity": "slow"}) as response:
            for chunk in chunks(response):
                for choice in chunk.get("choices", ()):
                    told.append(choice["delta"].get("content") or "")
                    if told[-1]:
                        speaking.set()

    reader = threading.Thread(target=listen)
    reader.start()
    assert speaking.wait(WAIT_SECONDS)
    stopper = threading.Thread(target=stack.bridge.stop)
    stopper.start()

    def readiness() -> str:
        try:
            return str(httpx.get(f"{stack.bridge_url}/readyz").json()["status"])
        except httpx.TransportError:
            return "gone"

    until(lambda: readiness() != "ready")
    assert readiness() in {"stopping", "gone"}
    assert "and after." not in "".join(told)
    reader.join(WAIT_SECONDS)
    stopper.join(WAIT_SECONDS)
    assert "".join(told).endswith("and after.")
    assert not reader.is_alive()
    assert not stopper.is_alive()
    # It came to its end by itself, although the plugin asked for its ticket again and again.
    assert stack.bridge._process.returncode == 0
    assert [line for line in stack.bridge.log.read_text().splitlines() if not line.startswith("{")] == []

    stack.bridge.start()
    assert httpx.get(f"{stack.bridge_url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{stack.bridge_url}/readyz").status_code == 200
    messages = [*transcript, *results(transcript, "done")]
    with stream(stack, ask(messages), **{"X-Session-Affinity": "waiting"}) as response:
        assert text(response) == "After the stop."
