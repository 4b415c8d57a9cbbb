"""Failures that were told amid a stream: Claude Code sends the request again at once, whatever the error is.

Where that does not help, it is told the same once more, instead of running the app in vain again.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any

from bridge.api.anthropic.wording import helps_to_repeat
from bridge.dify.errors import RunFailed
from bridge.errors import BridgeError
from bridge.runs.sessions.claude_code import AGENT, SESSION
from bridge.runs.sessions.sessions import digest

KEPT_SECONDS = 5.0
_MOST = 1000


def key_of(headers: Mapping[str, str], body: Mapping[str, Any]) -> str:
    """Return a digest that is the same for a request and its repeat, of which one streams."""
    given = {name.lower(): value for name, value in headers.items()}
    asked = {name: value for name, value in body.items() if name != "stream"}
    return digest([given.get(SESSION), given.get(AGENT), asked])


class ToldFailures:
    """Keeps each for a moment, and tells it once more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, BridgeError]] = {}

    def keep(self, key: str, error: BridgeError) -> None:
        """Keep a failure, unless the same request may go better. Where nobody knows why, it has its second try."""
        if helps_to_repeat(error) or error.code == RunFailed.code:
            return
        now = time.monotonic()
        with self._lock:
            fresh = {other: kept for other, kept in self._kept.items() if now - kept[0] <= KEPT_SECONDS}
            self._kept = dict(list(fresh.items())[-_MOST:]) | {key: (now, error.fresh())}

    def raise_again(self, headers: Mapping[str, str], body: Mapping[str, Any]) -> None:
        """Raise what a stream of the same request was told a moment ago; only once, since a person may try again."""
        if not self._kept:
            return
        with self._lock:
            at, error = self._kept.pop(key_of(headers, body), (0.0, None))
        if error and time.monotonic() - at <= KEPT_SECONDS:
            raise error.fresh()
