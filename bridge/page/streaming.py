"""A page's changes, as server-sent events.

    id: VERSION                         what the page is made of after this event
    event: change
    data: {"order": [...], "pieces": {key: html}}

`order` names the pieces of the list that are there. Who comes back with the version that is still the newest is told
nothing; who comes with another one is told everything. A comment goes out when nothing happens.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from bridge.errors import TooManyRequests
from bridge.page.rendering import Piece
from bridge.page.views.views import View
from bridge.runs.services import in_pieces
from bridge.store.faults import StoreUnavailable
from bridge.store.wakeups import Wakeups

LOOK_SECONDS = 0.4
HEARTBEAT_SECONDS = 10.0
LONGEST_SECONDS = 600.0
"""How long one stream lasts; the browser then opens the next one where this one ended."""
MOST_STREAMS = 50


class Streams:
    """The streams that are open: not more than the bridge can look after."""

    def __init__(self, wakeups: Wakeups, stopping: threading.Event) -> None:
        self._wakeups = wakeups
        self._stopping = stopping
        self._open = 0

    def check(self) -> None:
        """Raise TooManyRequests where there are enough."""
        if self._open >= MOST_STREAMS:
            raise TooManyRequests("too many pages are open; close some", retry_after=10)

    def follow(self, view: View, known: str, may_look: Callable[[], bool]) -> Iterator[str]:
        """Tell of a view's changes from the version `known` on, for as long as `may_look` and the store allow it.

        The browser asks for the next stream by itself.
        """
        with suppress(StoreUnavailable):
            yield from self._changes(view, known, may_look)

    def _changes(self, view: View, known: str, may_look: Callable[[], bool]) -> Iterator[str]:
        end = time.monotonic() + LONGEST_SECONDS
        with self._one(), self._wakeups.listen("page") as hints:
            # A browser that loses the stream waits this long before it asks for the next one.
            yield "retry: 1000\n\n"
            mark = view.mark()
            pieces = view.pieces()
            if version(pieces) != known:
                yield _event(pieces, pieces)
            said = looked = time.monotonic()
            while time.monotonic() < end and not self._stopping.is_set():
                hints.wait(LOOK_SECONDS)
                hints.clear()
                if time.monotonic() - looked > HEARTBEAT_SECONDS:
                    if not may_look():
                        return
                    looked = time.monotonic()
                seen = view.mark()
                if seen != mark:
                    mark, before, pieces = seen, pieces, view.pieces()
                    changed = _changed(before, pieces)
                    if version(before) != version(pieces):
                        yield _event(pieces, changed)
                        said = time.monotonic()
                if time.monotonic() - said > HEARTBEAT_SECONDS:
                    yield ": still here\n\n"
                    said = time.monotonic()

    @contextmanager
    def _one(self) -> Iterator[None]:
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


def version(pieces: Sequence[Piece]) -> str:
    """Return what tells a page from how it was before."""
    told = "\n".join(f"{piece.key} {piece.digest}" for piece in in_pieces(pieces))
    return hashlib.sha256(told.encode()).hexdigest()[:20]


def _changed(before: Sequence[Piece], after: Sequence[Piece]) -> list[Piece]:
    known = {piece.key: piece.digest for piece in before}
    return [piece for piece in after if known.get(piece.key) != piece.digest]


def _event(pieces: Sequence[Piece], changed: Sequence[Piece]) -> str:
    data = {
        "order": [piece.key for piece in pieces if not piece.key.startswith("@")],
        "pieces": {piece.key: piece.html for piece in changed},
    }
    # JSON in ASCII holds no line break, so the data is one line, and half of a surrogate pair is no obstacle.
    return f"id: {version(pieces)}\nevent: change\ndata: {json.dumps(data)}\n\n"
