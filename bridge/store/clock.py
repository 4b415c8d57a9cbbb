"""The time by which the bridge waits: the machine's, without its jumps.

A clock that is set, or that went on while the machine slept, must neither end what waits at once nor keep it for hours.
After a jump this one goes at twice or at half the speed until it is right again: each wait lasts between half and twice
as long as it should, and bridges that share a store agree in the end.
"""

import math
import threading
import time
from contextvars import ContextVar

_FASTEST = 2.0
_SLOWEST = 0.5


class Clock:
    """Seconds since the epoch, which never go back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = time.monotonic()
        self._now = time.time()

    def now(self) -> float:
        """Return the time."""
        with self._lock:
            read_at = time.monotonic()
            passed = read_at - self._read_at
            earliest, latest = self._now + _SLOWEST * passed, self._now + _FASTEST * passed
            self._now = min(max(time.time(), earliest), latest)
            self._read_at = read_at
            return self._now


now = Clock().now

_looking_since: ContextVar[float] = ContextVar("looking_since", default=math.inf)


def look_anew() -> None:
    """Something begins, or has waited: what it reads from now on is what the store holds now, or later."""
    _looking_since.set(time.monotonic())


def look_always() -> None:
    """The work is done: what is read from now on is asked of the store each time."""
    _looking_since.set(math.inf)


def looking_since() -> float:
    """Return when that was, by `time.monotonic`; infinity where each read is to ask the store."""
    return _looking_since.get()


AWAY_SECONDS = 2.0


class Presence:
    """Since when this process has been at work: it may have been stopped meanwhile, and what came then has waited."""

    def __init__(self) -> None:
        self._since = self._seen_at = time.monotonic()

    def tick(self) -> None:
        """Note that it is at work; called more often than every AWAY_SECONDS."""
        now = time.monotonic()
        if now - self._seen_at > AWAY_SECONDS:
            self._since = now
        self._seen_at = now

    def seconds(self) -> float:
        """Return for how long it has been at work."""
        self.tick()
        return time.monotonic() - self._since
