"""Server-sent events as Dify's service API writes them.

Sources: core/app/apps/streaming_utils.py, core/app/apps/base_app_generator.py (convert_to_event_stream).
"""

import json
import queue
import time
from collections.abc import Iterator

from box.topic import PING, Event

TERMINAL = ("workflow_finished", "workflow_paused")


def encode(event: Event) -> str:
    """`data:` and the JSON of an event, or `event: ping`."""
    if isinstance(event, str):
        return f"event: {event}\n\n"
    return f"data: {json.dumps(event, ensure_ascii=False, separators=(',', ':'), default=str)}\n\n"


def follow(events: queue.SimpleQueue[Event], idle_seconds: float, ping_seconds: float | None = None) -> Iterator[Event]:
    """Events until the run's terminal one, or until nothing came for `idle_seconds`.

    The reader pings by itself only with `ping_seconds`. Dify's first stream of a run has none: a run that waits for a
    worker slot is silent, and its stream ends after `idle_seconds`.
    """
    heard = pinged = time.monotonic()
    while True:
        try:
            event = events.get(timeout=min(1.0, idle_seconds, ping_seconds or 1.0))
        except queue.Empty:
            now = time.monotonic()
            if now - heard > idle_seconds:
                return
            if ping_seconds is not None and now - pinged >= ping_seconds:
                pinged = now
                yield PING
            continue
        heard = pinged = time.monotonic()
        yield event
        if isinstance(event, dict) and event.get("event") in TERMINAL:
            return
