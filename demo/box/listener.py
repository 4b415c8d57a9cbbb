"""The queue between a run's graph and its response: pings while it works, and the end of it when it must end.

Source: core/app/apps/base_app_queue_manager.py.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from demo.box.config import Limits
from demo.box.engine_names import GraphEngineEvent

STOPPED_BY_USER = "Stopped by user."


@dataclass(frozen=True, slots=True)
class Ping:
    """The run is still at work."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The run was stopped, and why."""

    reason: str = STOPPED_BY_USER


@dataclass(frozen=True, slots=True)
class Failure:
    """The run could not go on outside of its graph."""

    error: Exception


type Item = GraphEngineEvent | Ping | Stop | Failure


class Listener:
    """Carries one run's items from the thread that runs the graph to the one that answers."""

    def __init__(self, limits: Limits, abort: Callable[[str], None]) -> None:
        self._limits = limits
        self._abort = abort
        self._items: queue.Queue[Item | None] = queue.Queue()
        self._stop_flag = threading.Event()
        self._ended = threading.Event()
        self._killed = threading.Event()

    def publish(self, item: Item) -> None:
        """Pass an item on. A stop or a failure is the last one that is heard."""
        self._items.put(item)
        if isinstance(item, Stop | Failure):
            self._ended.set()
            self._items.put(None)

    def kill(self) -> None:
        """End as a process ends that was killed: nothing more is heard, whatever the run still does."""
        self._killed.set()
        self._items.put(None)

    def flag_stop(self) -> None:
        """Ask for an end; it is noticed within a second."""
        self._stop_flag.set()

    def items(self) -> Iterator[Item]:
        """Every item as it comes, with a ping every `ping_seconds`, until the run ends or has had `app_seconds`."""
        started, last_ping = time.monotonic(), 0.0
        while True:
            try:
                item = self._items.get(timeout=min(1.0, self._limits.ping_seconds, self._limits.app_seconds))
                if item is None or self._killed.is_set():
                    return
                yield item
            except queue.Empty:
                pass
            elapsed = time.monotonic() - started
            self._end_if_due(elapsed)
            if elapsed // self._limits.ping_seconds > last_ping:
                last_ping = elapsed // self._limits.ping_seconds
                self.publish(Ping())

    def _end_if_due(self, elapsed: float) -> None:
        timed_out = elapsed >= self._limits.app_seconds
        if self._ended.is_set() or not (timed_out or self._stop_flag.is_set()):
            return
        seconds = self._limits.app_seconds
        self._abort(f"App execution exceeded {seconds} seconds" if timed_out else "App task was stopped")
        # Dify says "Stopped by user." in both cases.
        self.publish(Stop())
