"""Tells the bridge of calls that are being written, beside the stream that brings them."""

import threading
import time
from collections.abc import Iterable

from provider.bridge.client import BridgeClient
from provider.engine.events import TellDrafts
from tools.wire import DraftDelta

_PAUSE = 0.03
"""Seconds before each request: pieces that come faster travel together, or with the ticket."""


class DraftSender:
    """Sends in the background, so that a slow bridge does not slow the upstream down.

    After a failure nothing more is sent: the ticket brings the calls whole.
    """

    def __init__(self, bridge: BridgeClient) -> None:
        self._bridge = bridge
        self._lock = threading.Lock()
        self._waiting: list[TellDrafts] = []
        self._sending = False
        self._failed = False

    def tell(self, drafts: TellDrafts) -> None:
        """Send this soon."""
        with self._lock:
            if self._failed:
                return
            self._waiting.append(drafts)
            if self._sending:
                return
            self._sending = True
        threading.Thread(target=self._send, daemon=True, name="clawback-drafts").start()

    def forget(self) -> None:
        """Let the ticket bring what waits."""
        with self._lock:
            self._waiting = []

    def _send(self) -> None:
        while batch := self._next():
            self._failed = not self._bridge.draft(batch)

    def _next(self) -> TellDrafts | None:
        time.sleep(_PAUSE)
        with self._lock:
            waiting, self._waiting = self._waiting, []
            self._sending = bool(waiting) and not self._failed
            return together(waiting) if self._sending else None


def together(waiting: Iterable[TellDrafts]) -> TellDrafts:
    """Return them as one; what belongs to an earlier round has its ticket by now."""
    *_, last = given = list(waiting)
    pieces: dict[str, DraftDelta] = {}
    for drafts in given:
        for delta in drafts.request.calls if drafts.request.round == last.request.round else ():
            known = pieces.get(delta.id)
            whole = known.arguments + delta.arguments if known else delta.arguments
            pieces[delta.id] = (known or delta).model_copy(update={"arguments": whole})
    return TellDrafts(last.invocation_id, last.request.model_copy(update={"calls": [*pieces.values()]}))
