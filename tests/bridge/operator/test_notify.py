"""Somebody is told when a call waits for them, or a run fails; and nobody waits for that."""

import http.server
import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.config import ConfigError, Notify, parse
from bridge.dify.forms import Form, FormAction, PausedForm
from bridge.server import notify
from tests.bridge.executor.conftest import Bridge, MakeBridge, make_bridge

__all__ = ["make_bridge"]

ASK = '[[rules]]\naction = "ask"\n'
SECONDS = 10.0


class Receiver:
    """An address that takes down what it is sent, as soon as `answers` says so."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers = threading.Event()
        self.answers.set()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                receiver.answers.wait(SECONDS)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/secret-topic"

    def told(self, number: int = 1) -> list[tuple[dict[str, str], bytes]]:
        end = time.monotonic() + SECONDS
        while len(self.got) < number and time.monotonic() < end:
            time.sleep(0.02)
        assert len(self.got) >= number
        return self.got


@contextmanager
def listening() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.answers.set()
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()


def telling(bridge: Bridge, **target: Any) -> None:
    bridge.config.notify = [Notify(**target)]


def waits(bridge: Bridge, *commands: str) -> str:
    bridge.register()
    calls = [("exec", json.dumps({"command": command})) for command in commands or ("rm <plans>",)]
    return str(bridge.open(*calls).request["run_id"])


@pytest.mark.parts
@pytest.mark.parametrize("content", [False, True])
def test_a_webhook_is_told_of_a_call_that_waits_and_of_its_content_only_where_that_is_shown(
    make_bridge: MakeBridge, *, content: bool
) -> None:
    bridge = make_bridge(ASK, log_content=content)
    bridge.config.page.url = "https://clawback.example.org/"
    with listening() as receiver:
        telling(bridge, kind="webhook", url=receiver.url)
        waits(bridge)
        [(_, body)] = receiver.told()
    text = json.loads(body)["text"]
    assert text.startswith("exec waits for your decision.")
    assert "https://clawback.example.org/approvals#call-" in text
    # `<` has a meaning to Slack.
    assert ("rm &lt;plans&gt;" in text) == content
    assert ("plans" in text) == content


@pytest.mark.parts
def test_ntfy_gets_a_text_and_a_token_and_a_failed_run_its_code(make_bridge: MakeBridge) -> None:
    bridge = make_bridge(ASK)
    with listening() as receiver:
        telling(bridge, kind="ntfy", url=receiver.url, token="tk_1", on=["failed"])
        run = bridge.store.run(waits(bridge))
        assert run
        bridge.core.services.observers.run_failed(run, "upstream_error")
        [(headers, body)] = receiver.told()
    assert headers["Authorization"] == "Bearer tk_1"
    assert body.decode().endswith("failed (upstream_error).")


@pytest.mark.parts
def test_a_command_gets_json_and_neither_a_shell_nor_the_bridges_secrets(
    make_bridge: MakeBridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFY_APP_KEY", "app-secret")
    bridge, told = make_bridge(ASK), tmp_path / "told.json"
    program = (
        "import json, os, sys; given = json.load(sys.stdin); "
        "open(sys.argv[1], 'w').write(json.dumps([given, sys.argv[2], dict(os.environ)]))"
    )
    telling(bridge, kind="command", command=[sys.executable, "-c", program, str(told), "$(id); `id`"])
    run = waits(bridge)
    end = time.monotonic() + SECONDS
    while not (told.exists() and told.read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    given, argument, environment = json.loads(told.read_text())
    assert (given["event"], given["tool"], given["run_id"]) == ("approval", "exec", run)
    assert "content" not in given
    assert argument == "$(id); `id`"
    assert "app-secret" not in environment.values()


@pytest.mark.parts
@pytest.mark.parametrize("content", [False, True])
def test_a_form_that_waits_is_told_of_and_what_it_asks_only_where_that_is_shown(
    make_bridge: MakeBridge, *, content: bool
) -> None:
    bridge = make_bridge(log_content=content)
    bridge.config.page.url = "https://clawback.example.org"
    form = Form(title="Review", content="Publish the plans?", actions=[FormAction(id="yes", title="Yes")])
    run = bridge.store.run(waits(bridge))
    assert run
    with listening() as receiver:
        telling(bridge, kind="webhook", url=receiver.url, on=["form"])
        opened = bridge.core.forms.pause(run, [PausedForm("form-1", "node", form, token="a-token")])
        assert opened
        bridge.core.forms.tell(run, opened.forms)
        [(_, body)] = receiver.told()
    text = json.loads(body)["text"]
    assert "The form 'Review' of " in text
    assert "waits for your answer." in text
    assert "https://clawback.example.org/approvals#form-form-1" in text
    assert ("Publish the plans?" in text) == content
    assert "a-token" not in text


@pytest.mark.parts
def test_several_at_once_are_one_message(make_bridge: MakeBridge) -> None:
    bridge = make_bridge(ASK)
    with listening() as receiver:
        telling(bridge, kind="webhook", url=receiver.url)
        waits(bridge, *(f"echo {number}" for number in range(15)))
        receiver.told()
        time.sleep(2 * notify.TOGETHER_SECONDS)
        [(_, body)] = receiver.got
    lines = json.loads(body)["text"].splitlines()
    assert len(lines) == notify.MOST_LINES + 1
    assert lines[-1] == "... and 5 more"


@pytest.mark.parts
def test_a_turn_does_not_wait_for_somebody_who_does_not_answer(make_bridge: MakeBridge) -> None:
    bridge = make_bridge(ASK)
    with listening() as receiver:
        receiver.answers.clear()
        telling(bridge, kind="webhook", url=receiver.url)
        waits(bridge)
        receiver.told()
        began = time.monotonic()
        for number in range(notify.MOST_WAITING + 20):
            run = bridge.store.run(str(bridge.last_attach["run_id"]))
            assert run
            bridge.core.services.observers.run_failed(run, f"code_{number}")
        assert time.monotonic() - began < SECONDS / 2


@pytest.mark.parts
@pytest.mark.parametrize(
    "target",
    [
        {"kind": "webhook", "url": "http://127.0.0.1:9/secret-hook"},
        {"kind": "command", "command": ["/does/not/exist"]},
        {"kind": "command", "command": [sys.executable, "-c", "raise SystemExit(3)"]},
        {"kind": "command", "command": [sys.executable, "-c", "import time; time.sleep(60)"]},
    ],
)
def test_what_cannot_be_sent_is_a_line_in_the_log_without_the_address(
    make_bridge: MakeBridge,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    target: dict[str, Any],
) -> None:
    monkeypatch.setattr(notify, "SECONDS", 0.5)
    bridge = make_bridge(ASK)
    with caplog.at_level(logging.WARNING, "clawback.notify"):
        telling(bridge, **target)
        waits(bridge)
        end = time.monotonic() + SECONDS
        while "could not be sent" not in caplog.text and time.monotonic() < end:
            time.sleep(0.02)
    assert "could not be sent" in caplog.text
    assert "secret-hook" not in caplog.text


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"kind": "webhook"}, "url is missing"),
        ({"kind": "command"}, "command is missing"),
        ({"kind": "ntfy", "url": "ntfy.sh/x"}, "url"),
        ({"kind": "webhook", "url": "http://x", "command": ["x"]}, "command does not belong"),
        ({"kind": "pager", "url": "http://x"}, "kind"),
        ({"kind": "ntfy", "url": "http://x", "on": ["lunch"]}, "on"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(target: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse({"notify": [target]})
