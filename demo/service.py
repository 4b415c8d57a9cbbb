"""One part: a process that prints a JSON line when it is ready, and ends when it is told to."""

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

READY_SECONDS = 60
STOP_SECONDS = 15


class ServiceFailed(Exception):
    """A part did not start; the text holds the end of what it printed."""


class Service:
    """A running part. `ready` is the JSON object that it printed; what it logs goes to `log`.

    `command` and `environ` are what it is started with the next time.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        self.command = list(command)
        self.environ = {**os.environ, **(environ or {})}
        self.ready: dict[str, Any] = {}
        self.start()

    def start(self) -> None:
        """Start the process and wait until it is ready. Raises ServiceFailed."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=self.environ, text=True
            )
        lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(lines,), daemon=True, name=f"{self.name}-output")
        self._reader.start()
        try:
            while not (line := lines.get(timeout=READY_SECONDS)).startswith("{"):
                if not line:
                    raise ServiceFailed(f"{self.name} ended before it was ready:\n{self.log.read_text()[-2000:]}")
        except queue.Empty:
            self.stop()
            raise ServiceFailed(f"{self.name} was not ready after {READY_SECONDS} s:\n{self.tail()}") from None
        self.ready = json.loads(line)

    def _read(self, lines: "queue.Queue[str]") -> None:
        output = self._process.stdout
        for line in output or ():
            lines.put(line)
        lines.put("")

    def tail(self) -> str:
        """Return the end of what it logged."""
        return self.log.read_text(errors="replace")[-2000:]

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def kill(self) -> None:
        """Pull the plug: SIGKILL, and its workers with it."""
        for child in children(self.pid):
            os.kill(child, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._close()

    def stop(self) -> int:
        """Ask it to end, and insist if it does not. Return its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        self._close()
        return self._process.returncode

    def _close(self) -> None:
        self._reader.join(STOP_SECONDS)
        if self._process.stdout:
            self._process.stdout.close()


def children(pid: int) -> list[int]:
    """Return the ids of the process's children (Linux; elsewhere none are found)."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
