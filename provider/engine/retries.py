"""When to try again."""

from dataclasses import dataclass

UPSTREAM_ATTEMPTS = 4
LONGEST_PAUSE = 60.0
"""Seconds. An upstream that asks for a longer pause is not waited for."""

_FIRST = 0.5
_LONGEST_BACKOFF = 8.0


@dataclass
class Backoff:
    """Counts failures in a row and says how long to pause after each, in seconds."""

    failures: int = 0

    def pause(self, asked: float | None = None) -> float:
        """Count a failure. `asked` is the other side's Retry-After."""
        own = min(_FIRST * 2**self.failures, _LONGEST_BACKOFF)
        self.failures += 1
        return own if asked is None else max(own if asked else _FIRST, asked)

    def reset(self) -> None:
        """Forget the failures: something worked."""
        self.failures = 0
