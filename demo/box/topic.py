"""Broadcasts a run's events to whoever listens now, as Dify's Redis pub/sub does: nothing is kept for later."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from demo.box.responses import Response

PING = "ping"
END = None
CLOSED = "__closed__"
"""What a subscriber who leaves tells all others, by an oversight of Dify 1.16: they hear nothing more."""

type Event = Response | str


class Topic:
    """One run's channel."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: list[queue.SimpleQueue[Event | None]] = []

    def publish(self, event: Event | None) -> None:
        """Give an event to every subscriber; END says that no more will come."""
        with self._lock:
            for subscriber in self._subscribers:
                subscriber.put(event)

    @contextmanager
    def subscription(self) -> Iterator[queue.SimpleQueue[Event | None]]:
        """A queue of the events published from now on, until the block is left."""
        subscriber: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        with self._lock:
            self._subscribers.append(subscriber)
        try:
            yield subscriber
        finally:
            with self._lock:
                self._subscribers.remove(subscriber)
            self.publish(CLOSED)
