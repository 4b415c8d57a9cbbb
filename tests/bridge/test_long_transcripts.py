"""What of a long transcript travels to the plugin: over real HTTP, with the plugin's own client."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from flask import Flask
from werkzeug.serving import make_server

from bridge.runs.core import Core
from bridge.runs.requests import RunRequest
from bridge.store.rows import RunRow
from provider.bridge import transcripts
from provider.bridge.client import BridgeClient
from provider.credentials import Credentials
from provider.engine.events import Attach, Attached
from provider.upstream import connections
from tests.bridge.test_plugin_api import app, attach, begun_run
from tests.conftest import data_dir
from tests.levels import starts
from tools.definitions import Function, ToolDefinition
from tools.results import Message
from tools.wire import AttachRequest, AttachResponse, Digests

__all__ = ["app", "data_dir"]

TOOLS = [ToolDefinition(function=Function(name=f"tool{n}", description="What it does. " * 20)) for n in range(50)]
SYSTEM: Message = {"role": "system", "content": "Be brief. " * 100}


def said(turns: int, system: Message = SYSTEM) -> list[Message]:
    words = "word " * 50
    return [system, *({"role": "user", "content": f"Turn {turn}. {words}"} for turn in range(turns))]


class Plugin:
    """The plugin, which attaches to one run after another."""

    def __init__(self, core: Core, url: str) -> None:
        self._core = core
        self._runs = 0
        self._begun = begun_run(core)
        self.url = url
        self.received: list[int] = []

    def begin(self, messages: list[Message], user: str = "clawback-user", model: str = "m") -> RunRow:
        self._core.store.update_run(self._begun.id, state="finished")
        self._runs += 1
        asked = RunRequest(messages=messages, turn=len(messages) - 1, query="x", tools=TOOLS)
        row = replace(self._begun, id=f"run-{self._runs}", dify_user=user, model=model, request=asked.model_dump_json())
        self._begun = self._core.store.insert_run(row)
        return self._begun

    def attach(self, user: str = "clawback-user", token: str = "plugin-token") -> AttachResponse:
        client = BridgeClient(Credentials.read({"bridge_url": self.url, "bridge_token": token}))
        request = AttachRequest(
            invocation_id=f"invocation-{len(self.received)}", fingerprint="f", model="main", user=user
        )
        outcome = client.attach(Attach(request))
        assert isinstance(outcome, Attached), outcome
        return outcome.response


@pytest.fixture
@starts("parts")
def plugin(app: Flask) -> Iterator[Plugin]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made = Plugin(app.extensions["clawback"], f"http://127.0.0.1:{server.port}")
    attach(app)  # a bridge that has just started answers the second one

    def count(response: httpx.Response) -> None:
        made.received.append(len(response.read()))

    hooks = connections.bridges().event_hooks["response"]
    connections.bridges().event_hooks = {"response": [*hooks, count]}
    yield made
    connections.bridges().event_hooks = {"response": hooks}
    server.shutdown()


def test_what_the_plugin_has_of_a_transcript_is_not_sent_again(plugin: Plugin) -> None:
    for turns in (200, 201, 205):
        plugin.begin(said(turns))
        answer = plugin.attach()
        assert (answer.messages, answer.tools) == (said(turns), TOOLS)
    whole, *grown = plugin.received
    assert whole > 70_000
    assert max(grown) < whole / 20


def test_what_changed_amid_a_transcript_is_sent(plugin: Plugin) -> None:
    plugin.begin(said(200))
    plugin.attach()
    changed = said(200, {"role": "system", "content": "Be long."})
    changed[3] = {"role": "user", "content": "Never mind."}
    for messages in (changed, changed[:40], [*changed[:2], *changed[3:]], said(3), said(201)):
        plugin.begin(messages)
        assert plugin.attach().messages == messages
    assert plugin.received[1] < plugin.received[0] / 20


def test_another_token_and_another_user_get_all_of_it(plugin: Plugin) -> None:
    plugin.begin(said(200))
    plugin.attach()
    plugin.attach(token="next-token")
    plugin.begin(said(200), user="somebody else")
    plugin.attach(user="somebody else")
    assert min(plugin.received) > 70_000


def test_a_plugin_that_remembers_nothing_gets_all_of_it(app: Flask, plugin: Plugin) -> None:
    """So does one of a version before, which does not say what it has."""
    plugin.begin(said(200))
    plugin.attach()
    transcripts._kept.clear()
    assert plugin.attach().messages == said(200)
    of_before = attach(app, "of-before")
    assert (of_before["messages"], len(of_before["tools"]), of_before["digests"]) == (said(200), 50, None)


def test_a_digest_that_is_not_the_run_s_brings_all_of_it(app: Flask, plugin: Plugin) -> None:
    plugin.begin(said(200))
    parts = [{"count": count, "digest": "0" * 32} for count in (1, 200, 9)]
    has: dict[str, Any] = {"messages": parts, "tools": "0" * 32}
    answer = attach(app, "guessing", has=has)
    assert (answer["messages"], answer["omits"], answer["omits_tools"]) == (said(200), [], False)


def test_so_many_characters_are_kept_and_no_more() -> None:
    digests = Digests(characters=transcripts.MOST_CHARACTERS // 3)
    for number in range(9):
        transcripts.keep((f"user{number}",), AttachResponse(messages=said(1), digests=digests))
    assert [bool(transcripts.last((f"user{number}",)).messages) for number in range(9)] == [False] * 6 + [True] * 3
    transcripts.keep(("short",), AttachResponse(messages=said(1)))
    assert not transcripts.last(("short",)).messages
