"""Whatever becomes of a turn, once it is over nothing of its run is left in the bridge."""

import argparse
import gc
import os
import socket
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from bridge.api.openai.responses import KEPT
from bridge.app import create_app
from bridge.config import parse
from bridge.runs import runs as runs_module
from bridge.runs.attempt import Attempt
from bridge.runs.core import Core
from bridge.runs.live import LiveRun
from bridge.runs.requests import RunRequest
from bridge.runs.segments import Segment
from tests.bridge.dify.byte_server import ByteServer, Reply, event_stream, finished, piece, problem, started
from tests.levels import starts
from tools.ids import new_tool_call_id, random_name
from tools.tokens import hash_token

TOKEN = {"Authorization": "Bearer t"}
TURNS = int(os.environ.get("CLAWBACK_TEST_TURNS", "10"))
TOOL = {"type": "function", "function": {"name": "read"}}
ROUTES = ("chat", "text", "responses")


@dataclass
class Bridge:
    """A bridge whose Dify answers as a test says, and whom its clients ask for."""

    app: Flask
    dify: ByteServer
    reply: list[Reply]
    over: threading.Event
    seen: list[weakref.ref[LiveRun]] = field(default_factory=list)

    @property
    def core(self) -> Core:
        core: Core = self.app.extensions["clawback"]
        return core

    def ask(self, route: str, *, stream: bool) -> Any:
        """Begin a turn and return the response, whose body is read as it comes."""
        said, fields = f"Turn {random_name()}", {"model": "desk", "stream": stream, "user": random_name()}
        body = {"messages": [{"role": "user", "content": said}], "tools": [TOOL], **fields}
        if route == "responses":
            body = {"input": said, **fields}
        elif route == "text":
            body["tool_call_mode"] = "openclaw_text"
        path = "/v1/responses" if route == "responses" else "/v1/chat/completions"
        return self.app.test_client().post(path, json=body, headers=TOKEN)

    def plugin(self, method: str, path: str, body: object = None) -> Any:
        return self.app.test_client().open(f"/plugin/v1/{path}", method=method, json=body, headers=TOKEN).get_json()

    def forget(self) -> None:
        for live in self.core.live_runs.all():
            self.core.runs.forget_over(live)

    def live(self, known: Collection[LiveRun | None]) -> LiveRun:
        """Return the run that begins now, once Dify runs it: none of those that are known."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            for live in self.core.live_runs.all():
                run = self.core.store.run(live.run_id)
                if live not in known and run and run.workflow_run_id:
                    return live
            time.sleep(0.005)
        raise AssertionError("no run began")


@pytest.fixture
@starts("parts")
def bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bridge]:
    reply = [event_stream(started(), piece("Hi."), finished())]
    dify, over = ByteServer(), threading.Event()

    def answer(connection: Any) -> None:
        path = dify.requests[-1].target
        if path.endswith("chat-messages"):
            reply[0](connection)
        else:
            problem("404 NOT FOUND", "not_found", "no such thing")(connection)

    dify.replies = [answer] * 200 * TURNS
    app = create_app(
        parse(
            {
                "data_dir": str(tmp_path),
                "tokens": dict.fromkeys(("client", "plugin"), hash_token("t")),
                "apps": [{"model": "desk", "base_url": dify.base_url, "api_key": "app-x"}],
                "limits": {"grace_seconds": 0, "first_event_seconds": 0.05, "dify_streams": 100},
            }
        )
    )
    app.extensions["clawback"].sweeper.stop()
    made = Bridge(app, dify, reply, over)
    begin = LiveRun.begin

    def noted(live: LiveRun, attempt: int, *, goes_on: bool = False) -> None:
        made.seen.append(weakref.ref(live))
        begin(live, attempt, goes_on=goes_on)

    monkeypatch.setattr(LiveRun, "begin", noted)
    monkeypatch.setattr(runs_module, "KEPT_SECONDS", 0.0)
    # What only the collector would end has not ended: it comes when it likes.
    gc.disable()
    yield made
    gc.enable()
    over.set()
    dify.close()


def read(response: Any) -> str:
    text: str = response.get_data(as_text=True)
    response.close()
    return text


def turn_that_finishes(bridge: Bridge, route: str, *, stream: bool) -> None:
    bridge.reply[0] = event_stream(started(), piece("Hi."), finished())
    assert "Hi." in read(bridge.ask(route, stream=stream))


def turn_that_fails_at_once(bridge: Bridge, route: str, *, stream: bool) -> None:
    bridge.reply[0] = problem("400 BAD REQUEST", "provider_quota_exceeded", "Your quota has been exhausted.")
    assert "quota" in read(bridge.ask(route, stream=stream))


def turn_that_fails_later(bridge: Bridge, route: str, *, stream: bool) -> None:
    bridge.reply[0] = event_stream(started(), piece("Well,"), finished("failed", "moody"))
    assert "moody" in read(bridge.ask(route, stream=stream))


def meanwhile(bridge: Bridge, work: Callable[[LiveRun], object]) -> threading.Thread:
    """Do something with the run that begins now."""
    over = threading.Event()
    held = event_stream(started(), piece("Wait."), end="hold", until=over)

    def reply(connection: socket.socket) -> None:
        held(connection)
        connection.shutdown(socket.SHUT_RDWR)

    bridge.reply[0] = reply
    known = {seen() for seen in bridge.seen}

    def act() -> None:
        try:
            work(bridge.live(known))
        finally:
            over.set()

    acting = threading.Thread(target=act)
    acting.start()
    return acting


def turn_that_is_cancelled(bridge: Bridge, route: str, *, stream: bool) -> None:
    acting = meanwhile(bridge, lambda live: bridge.core.runs.cancel(live.run_id, "a test wants it"))
    assert "a test wants it" in read(bridge.ask(route, stream=stream))
    acting.join()


def turn_that_is_suspended(bridge: Bridge, route: str, *, stream: bool) -> None:
    def suspend(live: LiveRun) -> None:
        invocation = random_name()
        run = bridge.core.store.run(live.run_id)
        assert run
        node = {"invocation_id": invocation, "fingerprint": "f", "model": "m", "callback_key": f"u:{run.dify_user}"}
        assert bridge.plugin("POST", "attach", node)["run_id"] == run.id
        call = {"id": new_tool_call_id(), "name": "read", "arguments": "{}"}
        ticket = {"run_id": run.id, "invocation_id": invocation, "round": 0, "calls": [call]}
        assert bridge.plugin("PUT", f"tickets/{invocation}r0", ticket)["state"] == "open"
        bridge.plugin("POST", f"tickets/{invocation}r0/suspend")

    acting = meanwhile(bridge, suspend)
    assert "read" in read(bridge.ask(route, stream=stream))
    acting.join()


def turn_whose_client_goes(bridge: Bridge, route: str, *, stream: bool) -> None:
    begun, gone = threading.Event(), threading.Event()
    acting = meanwhile(bridge, lambda _: (begun.set(), gone.wait(20)))
    response = bridge.ask(route, stream=True)
    next(iter(response.iter_encoded()))
    # A client that goes earlier ends a run of which nothing is there to be seen.
    assert begun.wait(20)
    response.close()
    gone.set()
    acting.join()


OUTCOMES = [
    turn_that_finishes,
    turn_that_fails_at_once,
    turn_that_fails_later,
    turn_that_is_cancelled,
    turn_that_is_suspended,
    turn_whose_client_goes,
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("turn", OUTCOMES)
def test_nothing_of_a_run_stays(bridge: Bridge, turn: Callable[..., None], route: str, *, stream: bool) -> None:
    before = held()
    for _ in range(TURNS):
        turn(bridge, route, stream=stream)
    assert len(bridge.seen) == TURNS
    until = time.monotonic() + 20
    while bridge.core.live_runs.all() and time.monotonic() < until:
        bridge.forget()
        time.sleep(0.01)
    assert not bridge.core.live_runs.all()
    for thread in threading.enumerate():
        if thread.name.startswith("clawback-follow"):
            thread.join(20)
    gc.collect()
    assert not [live for seen in bridge.seen if (live := seen())]
    # A response may be read again: the last ones are kept for that.
    kept = {Segment: min(TURNS, KEPT)} if route == "responses" else {}
    others = {id(each) for each in before}
    assert Counter(type(each) for each in held() if id(each) not in others) == kept


def held() -> list[object]:
    """Return what there is of runs, also of a bridge of before that has not quite ended."""
    gc.collect()
    return [each for each in gc.get_objects() if type(each) in {LiveRun, Segment, Attempt, RunRequest}]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bridge.endpoint.test_nothing_stays", description=__doc__)
    parser.add_argument("--turns", type=int, default=1000, help="how many of each (default %(default)s)")
    parser.add_argument("--seed", help="there is no chance in it: taken and not used")
    os.environ["CLAWBACK_TEST_TURNS"] = str(parser.parse_args().turns)
    return pytest.main([__file__, "-q", "--timeout", "0"])


if __name__ == "__main__":
    sys.exit(main())
