"""Calls that were answered already: the same key again gets the same answer, and runs nothing."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

KEPT_SECONDS = 3600.0
MOST_KEPT = 1000


class KeyReused(Exception):
    """The key belongs to another call. The text says so."""


@dataclass(slots=True)
class _Entry:
    digest: str
    done: threading.Event = field(default_factory=threading.Event)
    answer: dict[str, Any] | None = None
    since: float = field(default_factory=time.monotonic)


class Remembered:
    """Answers by key, in this process alone: whoever asks again after it has ended may run a tool twice."""

    def __init__(self, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def once(self, key: str | None, digest: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the answer under this key, or that of `run`; wait for a run under way. Raises KeyReused."""
        if not key:
            return run()
        with self._lock:
            self._forget()
            entry = self._entries.get(key)
            is_first = entry is None
            if entry is None:
                entry = self._entries[key] = _Entry(digest)
        if entry.digest != digest:
            raise KeyReused("this key was used for another call; every call needs a key of its own")
        if is_first:
            try:
                entry.answer = run()
            finally:
                entry.done.set()
        else:
            entry.done.wait(self._wait_seconds)
        return entry.answer or _STILL_RUNNING

    def _forget(self) -> None:
        cutoff = time.monotonic() - KEPT_SECONDS
        over = [key for key, entry in self._entries.items() if entry.done.is_set()]
        excess = len(self._entries) - MOST_KEPT
        for number, key in enumerate(over):
            if number < excess or self._entries[key].since < cutoff:
                del self._entries[key]


_STILL_RUNNING = {"error": {"type": "timeout", "message": "the same call is still running; it was not run again"}}
