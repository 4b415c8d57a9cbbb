"""How many runs one Dify does for this bridge at once: the others wait for their turn.

A run that only waits for its client's tools may give way to one that waits for a place. It goes on when it has its
results.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class DifyStreams:
    """The places at one Dify. `limit` may change at any time; who has a place keeps it.

    `on_crowded` is called when somebody begins to wait for a place.
    """

    def __init__(self, limit: int, on_crowded: Callable[[], None] = lambda: None) -> None:
        self._limit = limit
        self._on_crowded = on_crowded
        self._holders: list[str] = []
        self._leaving: set[str] = set()
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """How many places there are."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        with self._changed:
            self._limit = limit
            self._changed.notify_all()

    @property
    def used(self) -> int:
        """How many places are taken."""
        return len(self._holders)

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._queue)

    @property
    def holders(self) -> list[str]:
        """The runs that have a place, the oldest first."""
        with self._changed:
            return list(self._holders)

    @contextmanager
    def place(self, run_id: str) -> Iterator[None]:
        """Take a place, and wait for one where there is none; who came first is first."""
        self._enter(run_id)
        try:
            yield
        finally:
            with self._changed:
                self._holders.remove(run_id)
                self._leaving.discard(run_id)
                self._changed.notify_all()

    def _enter(self, run_id: str) -> None:
        turn = object()
        with self._changed:
            self._queue.append(turn)
            crowded = len(self._holders) + len(self._queue) > self._limit
        if crowded:
            self._on_crowded()
        with self._changed:
            try:
                self._changed.wait_for(lambda: self._queue[0] is turn and len(self._holders) < self._limit)
                self._holders.append(run_id)
            finally:
                self._queue.remove(turn)
                self._changed.notify_all()

    def gives_way(self, run_id: str) -> bool:
        """Say whether this run, which waits for tools, is to leave its place to another."""
        with self._changed:
            free = max(0, self._limit - len(self._holders))
            if run_id in self._holders and len(self._queue) > len(self._leaving) + free:
                self._leaving.add(run_id)
            return run_id in self._leaving

    def stays(self, run_id: str) -> None:
        """The run does not leave after all: it has its results."""
        with self._changed:
            known = run_id in self._leaving
            self._leaving.discard(run_id)
        if known and self._queue:
            self._on_crowded()
