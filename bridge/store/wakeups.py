"""Hints that something in the store changed. The store is the truth: a lost hint costs a poll, never a ticket."""

import threading
from collections import defaultdict
from collections.abc import Callable


class Wakeups:
    """Wakes those who wait for a key, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: defaultdict[str, list[threading.Event]] = defaultdict(list)

    def when(self, prefix: str, act: Callable[[str], None]) -> None:
        """Call `act` with the rest of a key that begins like this, whenever another process wakes it."""

    def listen(self, key: str) -> "Listening":
        """Listen from now on; to be called before the store is read, so that nothing falls between."""
        event = threading.Event()
        with self._lock:
            self._waiting[key].append(event)
        return Listening(self, key, event)

    def wake(self, key: str) -> None:
        """Wake everyone who waits for `key`."""
        with self._lock:
            events = list(self._waiting.get(key, ()))
        for event in events:
            event.set()

    def wake_all(self) -> None:
        """Wake everyone, whatever they wait for."""
        for key in list(self._waiting):
            self.wake(key)

    def forget(self, key: str, event: threading.Event) -> None:
        """Stop listening."""
        with self._lock:
            self._waiting[key].remove(event)
            if not self._waiting[key]:
                del self._waiting[key]

    def __len__(self) -> int:
        return sum(len(events) for events in self._waiting.values())


class Listening:
    """One who waits for a key; a context manager."""

    def __init__(self, wakeups: Wakeups, key: str, event: threading.Event) -> None:
        self._wakeups, self._key, self._event = wakeups, key, event

    def __enter__(self) -> "Listening":
        return self

    def __exit__(self, *_: object) -> None:
        self._wakeups.forget(self._key, self._event)

    def wait(self, seconds: float) -> bool:
        """Wait for a hint and say whether one came."""
        return self._event.wait(seconds)

    def clear(self) -> None:
        """Listen anew, to be called before the store is read again."""
        self._event.clear()
