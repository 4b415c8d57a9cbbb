"""The bridge begins again with another configuration while a client runs the calls of an open ticket."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from bridge.app import create_app
from bridge.config import parse
from bridge.runs.core import Core
from bridge.store.rows import RunRow, TicketRow
from tests.bridge.dify.byte_server import ByteServer, event_stream, finished, piece, problem, started
from tests.bridge.test_plugin_api import CALL, attach, begun_run, open_ticket
from tests.levels import starts
from tools.tokens import hash_token

DAY = 86_400
TOOL = {"type": "function", "function": {"name": "read"}}
FOLLOW_UP = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "tool_calls": [{"id": CALL["id"], "type": "function", "function": CALL}]},
    {"role": "tool", "tool_call_id": CALL["id"], "content": "the result"},
]


@dataclass
class Host:
    """A machine whose bridge is started with one configuration after the other, on the same store."""

    folder: Path
    dify: ByteServer

    @contextmanager
    def bridge(self, token: str = "t", **app: Any) -> Iterator[Flask]:
        """Start it with an app of these keys, `m` unless it is told otherwise."""
        values = {
            "data_dir": str(self.folder),
            "tokens": {"client": hash_token(token), "plugin": hash_token("plugin-token")},
            "apps": [{"model": "m", "base_url": self.dify.base_url, "api_key": "app-first", **app}],
        }
        started_app = create_app(parse(values))
        core: Core = started_app.extensions["clawback"]
        try:
            yield started_app
        finally:
            core.sweeper.stop()
            core.store.close()

    def answered(self, app: Flask, token: str = "t", model: str = "m") -> tuple[int, Any]:
        """Bring the results of the open ticket as its client does; return the status and the body."""
        body = {"model": model, "messages": FOLLOW_UP, "tools": [TOOL]}
        headers = {"Authorization": f"Bearer {token}"}
        response = app.test_client().post("/v1/chat/completions", json=body, headers=headers)
        return response.status_code, response.get_json()


@pytest.fixture
@starts("parts")
def host(tmp_path: Path) -> Iterator[Host]:
    """A machine with a Dify whose next runs answer at once."""
    dify = ByteServer()

    def answer(connection: Any) -> None:
        is_run = dify.requests[-1].target.endswith("chat-messages")
        reply = event_stream(started(), piece("It is done."), finished())
        (reply if is_run else problem("404 NOT FOUND", "not_found", "no such thing"))(connection)

    dify.replies = [answer] * 200
    yield Host(tmp_path, dify)
    dify.close()


@pytest.fixture
def waiting(host: Host) -> RunRow:
    """A run whose client has the calls of an open ticket, and whose bridge has ended since."""
    with host.bridge() as app:
        run = begun_run(app.extensions["clawback"])
        attach(app)
        open_ticket(app, run)
    return run


def ticket_of(app: Flask) -> TicketRow:
    core: Core = app.extensions["clawback"]
    return core.tickets.known("ticket1")


@pytest.mark.usefixtures("waiting")
def test_an_app_that_was_taken_out_and_put_back_goes_on_with_what_waits(host: Host) -> None:
    with host.bridge(model="other") as app:
        status, told = host.answered(app)
        assert (status, told["error"]["code"]) == (404, "model_not_found")
        assert ticket_of(app).state == "open"
    with host.bridge() as app:
        status, told = host.answered(app)
        assert (status, told["choices"][0]["message"]["content"]) == (200, "It is done.")
        assert ticket_of(app).state == "resolved"


def test_what_waits_for_an_app_that_was_taken_out_ends_when_its_time_is_up(host: Host, waiting: RunRow) -> None:
    with host.bridge(model="other") as app:
        core: Core = app.extensions["clawback"]
        core.sweeper.sweep(waiting.expires_at + 2 * DAY)
        assert ticket_of(app).state in {"expired", "cancelled"}
        ended = core.store.run(waiting.id)
        assert ended is not None
        assert ended.state == "cancelled"


@pytest.mark.usefixtures("waiting")
def test_an_app_under_another_name_is_another_app_which_begins_from_the_transcript(host: Host) -> None:
    with host.bridge(model="renamed", aliases=["m"]) as app:
        status, told = host.answered(app)
        assert (status, told["choices"][0]["message"]["content"]) == (200, "It is done.")
        assert ticket_of(app).state == "open"


@pytest.mark.usefixtures("waiting")
def test_a_run_goes_on_with_the_app_s_new_key(host: Host) -> None:
    with host.bridge(api_key="app-second") as app:
        assert host.answered(app)[0] == 200
        begun = [request for request in host.dify.requests if request.target.endswith("chat-messages")]
        assert [request.headers.get("authorization") for request in begun] == ["Bearer app-second"]


@pytest.mark.usefixtures("waiting")
def test_a_run_goes_on_for_its_client_under_a_new_token(host: Host) -> None:
    with host.bridge(token="renewed") as app:
        assert host.answered(app)[0] == 401
        assert ticket_of(app).state == "open"
        assert host.answered(app, token="renewed")[0] == 200
