"""When something is due: one thread for all invocations, since each of its own weighs a tenth of one that waits."""

import heapq
import logging
import threading
import time
from collections.abc import Callable
from itertools import count

log = logging.getLogger(__name__)

Beat = Callable[[], float | None]
"""Does at once what is due, and says after how many seconds it is again, None once it is no more."""


class Beats:
    """Calls each beat when it is due."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Beat]] = []
        self._numbers = count()
        self._changed = threading.Condition()
        threading.Thread(target=self._run, daemon=True, name="clawback-beats").start()

    def begin(self, beat: Beat, seconds: float) -> None:
        """Call `beat` in so many seconds."""
        with self._changed:
            heapq.heappush(self._waiting, (time.monotonic() + seconds, next(self._numbers), beat))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            beat = self._next()
            try:
                seconds = beat()
            except Exception:  # one that fails must not silence the others
                log.exception("a beat failed")
                continue
            if seconds is not None:
                self.begin(beat, seconds)

    def _next(self) -> Beat:
        with self._changed:
            while not self._waiting or self._waiting[0][0] > time.monotonic():
                self._changed.wait(self._waiting[0][0] - time.monotonic() if self._waiting else None)
            return heapq.heappop(self._waiting)[2]
