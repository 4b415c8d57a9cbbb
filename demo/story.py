"""Tells who sends what to whom, as it happens: from the client's own steps, the bridge's log and the upstream's."""

import heapq
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.text import Text

from bridge.server.figures import counted
from demo.stack import Stack
from tools.visible import visible

LOOK_SECONDS = 0.05
LATE_SECONDS = 0.4
"""How long a step is held back, so that those of slower witnesses can still be told before it."""
WIDTH = 100


class Story:
    """Prints one line a step, in the order of their times. A context manager: it listens while it is open."""

    def __init__(self, console: Console, stack: Stack) -> None:
        self._console = console
        self._stack = stack
        self._began = time.time()
        self._over = threading.Event()
        self._steps: list[tuple[float, int, Text]] = []
        self._count = itertools.count()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._listen, args=(self._bridge_lines(), self._bridge), daemon=True),
            threading.Thread(target=self._listen, args=(self._upstream_lines(), self._upstream), daemon=True),
            threading.Thread(target=self._tell, daemon=True),
        ]

    def __enter__(self) -> "Story":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(LATE_SECONDS)
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._print_until(time.time())

    def say(self, who: str, whom: str, what: str, at: float | None = None) -> None:
        """Take down a step that happened `at` seconds since the epoch, or now."""
        at = at or time.time()
        line = Text(f"{max(0.0, at - self._began):6.2f} s  ", style="dim")
        line.append(f"{who:>8} ", style="bold cyan")
        line.append(f"→ {whom:<9} " if whom else " " * 12, style="cyan")
        line.append(_short(what))
        with self._lock:
            heapq.heappush(self._steps, (at, next(self._count), line))

    def _tell(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self._print_until(time.time() - LATE_SECONDS)

    def _print_until(self, moment: float) -> None:
        with self._lock:
            while self._steps and self._steps[0][0] <= moment:
                self._console.print(heapq.heappop(self._steps)[2], highlight=False, soft_wrap=True)

    def client(self, kind: str, detail: Any) -> None:
        """Tell a step of the built-in client."""
        match kind:
            case "request" if detail["role"] == "user":
                self.say("client", "bridge", f"POST /v1/chat/completions  “{detail['content'].splitlines()[0]}”")
            case "request":
                self.say("client", "bridge", "POST /v1/chat/completions  with the results")
            case "calls":
                self.say("bridge", "client", f"finish_reason tool_calls: {', '.join(map(_call, detail))}")
            case "result":
                call, output = detail
                self.say("client", "", f"ran {call['function']['name']} here: {output}")

    def _listen(self, lines: Iterator[dict[str, Any]], tell: Callable[[dict[str, Any]], None]) -> None:
        for line in lines:
            tell(line)

    def _bridge_lines(self) -> Iterator[dict[str, Any]]:
        with Path(self._stack.bridge.log).open() as log:
            log.seek(0, 2)
            while not self._over.is_set():
                line = log.readline()
                if line.startswith("{"):
                    yield json.loads(line)
                elif not line:
                    self._over.wait(LOOK_SECONDS)

    def _bridge(self, line: dict[str, Any]) -> None:
        run = line.get("run", "")
        told = {
            "run started": ("bridge", "Dify", f"POST /v1/chat-messages  run {run} of the app “{line.get('model')}”"),
            "run resumed": ("bridge", "Dify", f"runs the workflow of {run} again and replays what was done"),
            "invocation attached": ("plugin", "bridge", f"attach: an LLM node serves run {run}"),
            "ticket opened": ("plugin", "bridge", f"ticket {line.get('ticket')}: {', '.join(line.get('tools', []))}"),
            "call handed out": ("bridge", str(line.get("executor")), f"{line.get('tool')}"),
            "ticket resolved": ("bridge", "plugin", f"ticket {line.get('ticket')} is resolved, the model goes on"),
            "run finished": ("Dify", "bridge", f"the workflow run of {run} has finished"),
            "run failed": ("Dify", "bridge", f"run {run} failed: {line.get('error')}"),
        }.get(line["message"])
        if told:
            self.say(*told, at=datetime.fromisoformat(line["time"]).timestamp())

    def _upstream_lines(self) -> Iterator[dict[str, Any]]:
        url, key = self._stack.log_url, self._stack.upstream.api_key
        seen = 0
        while url and not self._over.is_set():
            entries = httpx.get(url, headers={"Authorization": f"Bearer {key}"}).json()
            yield from entries[seen:]
            seen = len(entries)
            self._over.wait(4 * LOOK_SECONDS)

    def _upstream(self, entry: dict[str, Any]) -> None:
        if entry["path"].endswith("/chat/completions"):
            asked = entry["request"]
            held = counted(len(asked["messages"]), "message"), counted(len(asked.get("tools", [])), "tool")
            self.say(
                "plugin",
                "upstream",
                f"{asked['model']}: {', '.join(held)}",
                at=entry["at"],
            )


def _call(call: dict[str, Any]) -> str:
    return f"{call['function']['name']}({call['function']['arguments']})"


def _short(text: str) -> str:
    line = visible(" ⏎ ".join(text.strip().splitlines()))
    return line if len(line) <= WIDTH else f"{line[:WIDTH]}…"
