"""A real box in its own process, and a caller of its service API."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[3]
PLUGIN = Path(__file__).parent / "plugin"
EXAMPLES = ROOT / "examples"
PROVIDER = "clawback/clawback/clawback"
WAIT_SECONDS = 30


@dataclass
class Turn:
    """What one streamed request brought: every event in order, pings as the word alone."""

    events: list[Any] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The events' names without pings."""
        return [event["event"] for event in self.events if event != "ping"]

    @property
    def answer(self) -> str:
        """The text of all messages."""
        return "".join(event["answer"] for event in self.of("message"))

    @property
    def told(self) -> dict[str, Any]:
        """What the plugin said it was called with, for a query that ends in !tell."""
        return json.loads(self.answer[self.answer.index("{") :])

    def of(self, name: str) -> list[dict[str, Any]]:
        """The events of one name."""
        return [event for event in self.events if event != "ping" and event["event"] == name]

    def one(self, name: str) -> dict[str, Any]:
        """The only event of one name."""
        [event] = self.of(name)
        return event


@dataclass
class RunningBox:
    """A box that is up. `keys` maps each app's name to its key."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]
    http: httpx.Client

    def key(self, app: str | None = None) -> str:
        """An app's key; the first app's without a name."""
        return next(each["key"] for each in self.ready["apps"] if app in (None, each["name"]))

    def request(
        self, method: str, path: str, *, app: str | None = None, key: str | None = None, **options: Any
    ) -> httpx.Response:
        """One request with an app's key."""
        headers = {"Authorization": f"Bearer {key or self.key(app)}"}
        return self.http.request(method, path, headers=headers, **options)

    @contextmanager
    def streaming(
        self, query: str, *, user: str = "ada", app: str | None = None, **body: Any
    ) -> Iterator[Iterator[Any]]:
        """A streamed chat message; yields its events as they come."""
        wanted = {"inputs": {}, "query": query, "user": user, "response_mode": "streaming", **body}
        headers = {"Authorization": f"Bearer {self.key(app)}"}
        with self.http.stream("POST", "chat-messages", json=wanted, headers=headers) as response:
            assert response.status_code == 200, response.read()
            assert response.headers["content-type"].startswith("text/event-stream")
            yield events(response)

    def chat(self, query: str, **options: Any) -> Turn:
        """A streamed chat message, read to its end."""
        with self.streaming(query, **options) as arriving:
            return Turn(list(arriving))

    def block(self, query: str, *, user: str = "ada", app: str | None = None, **body: Any) -> httpx.Response:
        """A chat message in blocking mode."""
        return self.request("POST", "chat-messages", app=app, json={"inputs": {}, "query": query, "user": user, **body})

    def own(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request to the routes that only the box has."""
        return self.http.request(method, self.ready["dify_url"].removesuffix("/v1") + f"/box/{path}", **options)

    def state(self) -> dict[str, Any]:
        """What the box says about itself."""
        return self.own("GET", "state").json()

    def run(self, workflow_run_id: str) -> dict[str, Any]:
        """What the box says about one run."""
        return next(each for each in self.state()["runs"] if each["workflow_run_id"] == workflow_run_id)


def events(response: httpx.Response) -> Iterator[Any]:
    """The events of a server-sent stream."""
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
        elif line:
            yield line.removeprefix("event: ")


@contextmanager
def started(
    folder: Path, *options: str, apps: dict[str, Path] | None = None, plugin: Path = PLUGIN
) -> Iterator[RunningBox]:
    """A box of its own process, with the example apps unless told otherwise; ends it with SIGTERM."""
    credentials = folder / "credentials.json"
    credentials.write_text(json.dumps({PROVIDER: {"greeting": "hello", "models": {"light": {"greeting": "hi"}}}}))
    named = apps or {f"app-{name}": EXAMPLES / f"{name}.yml" for name in ("minimal", "router", "pipeline")}
    command = [
        sys.executable,
        "-m",
        "demo.box",
        "--plugin-dir",
        str(plugin),
        "--credentials",
        str(credentials),
        *options,
    ]
    for key, path in named.items():
        command += ["--app", f"{path}:{key}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            ready = json.loads(process.stdout.readline())
            with httpx.Client(base_url=ready["dify_url"], timeout=WAIT_SECONDS) as http:
                yield RunningBox(process, ready, http)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=10)


def eventually[Value](look: Callable[[], Value | None], seconds: float = 10) -> Value:
    """The first thing found that is true. Fails when there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
