"""How often somebody may try to log in before they have to wait."""

import time
from collections import OrderedDict

MOST_FAILURES = 10
WINDOW_SECONDS = 300.0
_MOST_ADDRESSES = 1_000


class Attempts:
    """The failures of each address lately. Only failures count, so that nobody who has the token is kept out."""

    def __init__(self, most: int = MOST_FAILURES, seconds: float = WINDOW_SECONDS) -> None:
        self._most, self._seconds = most, seconds
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Return for how many seconds this address must not try; 0 for not at all."""
        now = time.monotonic()
        recent = [at for at in self._failures.get(address, ()) if now - at < self._seconds]
        return self._seconds - (now - recent[-self._most]) if len(recent) >= self._most else 0.0

    def failed(self, address: str) -> None:
        """Note a failure."""
        failures = self._failures.pop(address, [])
        self._failures[address] = [*failures[-self._most :], time.monotonic()]
        if len(self._failures) > _MOST_ADDRESSES:
            self._failures.popitem(last=False)
