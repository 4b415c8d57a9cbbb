"""How many runs one Dify does for this bridge at once: the others wait for their turn."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class DifyStreams:
    """The places at one Dify. `limit` may change at any time; who has a place keeps it."""

    def __init__(self, limit: int) -> None:
        self.used = 0
        self.waiting = 0
        self._limit = limit
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

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place, and wait for one where there is none."""
        with self._changed:
            self.waiting += 1
            try:
                while self.used >= self._limit:
                    self._changed.wait()
            finally:
                self.waiting -= 1
            self.used += 1
        try:
            yield
        finally:
            with self._changed:
                self.used -= 1
                self._changed.notify()
