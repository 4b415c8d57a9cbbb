"""The way of a request and of a result through the rooms of the bridge, as docs/discussion/walk.md tells it.

Recorded from a real turn: all parts run as ever, and the bridge in this process, so that its calls can be seen.
"""

import inspect
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from bridge.app import create_app
from bridge.config import load
from demo.stack import ROOT, Stack
from tests.e2e.test_survives import answered_after, begin

pytestmark = pytest.mark.timeout(300)

BRIDGE = f"{ROOT / 'bridge'}/"
PAGE = ROOT / "docs" / "discussion" / "walk.md"

ASKED = re.compile(r"config|errors|store/.*|dify/apps|runs/(request_id|services|transcripts|observing/.*)")
"""What every room asks, and what asks no other: what is stored, configured and said, an app's facts, ids and paces."""


@dataclass
class Visit:
    """A stay in a room, and the rooms that were entered from it."""

    room: str
    entered: list["Visit"] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def enter(self, room: str) -> "Visit":
        """Calls into a room that follow each other are one visit."""
        if not self.entered or self.entered[-1].room != room:
            self.entered.append(Visit(room))
        return self.entered[-1]

    def all(self) -> Iterator["Visit"]:
        yield self
        for each in self.entered:
            yield from each.all()

    def lines(self, depth: int = 0) -> list[str]:
        return [f"{'  ' * depth}{self.room}", *(line for each in self.entered for line in each.lines(depth + 1))]


@dataclass
class Walk:
    """The walk of one thread. A generator that goes on does not enter its room again."""

    began: float = field(default_factory=time.monotonic)
    root: Visit = field(default_factory=lambda: Visit(""))
    stack: list[Visit | None] = field(default_factory=list)
    generators: dict[FrameType, Visit] = field(default_factory=dict)

    def call(self, frame: FrameType, path: str) -> None:
        if ASKED.fullmatch(path):
            self.stack.append(None)
            return
        here = next((visit for visit in reversed(self.stack) if visit), self.root)
        room = path.partition("/")[0]
        visit = self.generators.get(frame) or (here if here.room == room else here.enter(room))
        if frame.f_code.co_flags & inspect.CO_GENERATOR:
            self.generators[frame] = visit
        visit.names.add(frame.f_code.co_name)
        self.stack.append(visit)

    def end(self) -> None:
        if self.stack:
            self.stack.pop()

    def through(self, name: str) -> bool:
        return any(name in visit.names for visit in self.root.all())

    def lines(self) -> list[str]:
        return [line for visit in self.root.entered for line in visit.lines()]


class Recorder:
    """Writes down the walks of the threads that begin while it is `on`."""

    def __init__(self) -> None:
        self.threads: dict[threading.Thread, Walk | None] = {}
        self.on = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if not file.startswith(BRIDGE) or event not in {"call", "return"}:
            return
        walk = self.threads.setdefault(threading.current_thread(), Walk() if self.on else None)
        if walk and event == "call":
            walk.call(frame, file.removeprefix(BRIDGE).removesuffix(".py").removesuffix("/__init__"))
        elif walk:
            walk.end()

    def walk(self, name: str, number: int = 0) -> Walk:
        """Return the walk that leads through this function, the oldest first."""
        walks = [walk for walk in self.threads.values() if walk and walk.through(name)]
        return sorted(walks, key=lambda walk: walk.began)[number]


class Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


class Here:
    """The bridge in this process, at its own port."""

    def __init__(self, config: Path, port: int) -> None:
        self._app = create_app(load(config))
        self._server: BaseWSGIServer = make_server("127.0.0.1", port, self._app, threaded=True, request_handler=Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        core = self._app.extensions["clawback"]
        core.sweeper.stop()
        core.store.close()


class BridgeHere(Stack):
    def _start_bridge(self) -> Any:
        bridge = Here(self.folder / "clawback.toml", self._bridge_port)
        self._parts.append(bridge)  # type: ignore[arg-type]
        return bridge


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """A turn with one call, after another turn in which the bridge learned what it keeps of an app."""
    recorder = Recorder()
    threading.setprofile(recorder)
    try:
        with BridgeHere(tmp_path_factory.mktemp("walk"), apps=["minimal"]) as stack:
            learned = begin(stack, "!call read {}\n!then\n!say ready", "learning")
            assert answered_after(stack, learned, "learning") == "ready"
            recorder.on = True
            asked = begin(stack, "!call read {}\n!then\n!say It is read.", "walking")
            assert answered_after(stack, asked, "walking") == "It is read."
    finally:
        threading.setprofile(None)
    return recorder


def told() -> dict[str, list[str]]:
    """Return the walks of the page, by their headings."""
    return {
        heading: walk.splitlines()
        for heading, walk in re.findall(r"^## ([^\n]+)\n.*?```text\n(.*?)```", PAGE.read_text(), re.M | re.S)
    }


WALKS = {
    "A request": ("chat_completions", 0),
    "A result": ("chat_completions", 1),
    "The run": ("_follow", 0),
    "A node finds its run": ("attach", 0),
    "A node opens a ticket": ("open_ticket", 0),
}


@pytest.mark.parametrize("heading", WALKS)
def test_the_page_tells_the_walk_as_it_is(recorder: Recorder, heading: str) -> None:
    assert recorder.walk(*WALKS[heading]).lines() == told()[heading]


@pytest.mark.parametrize("heading", WALKS)
def test_no_room_is_entered_more_than_twice(recorder: Recorder, heading: str) -> None:
    entered = Counter(line.strip() for line in recorder.walk(*WALKS[heading]).lines())
    assert entered["api"] or entered["runs"]
    assert {room: times for room, times in entered.items() if times > 2} == {}
