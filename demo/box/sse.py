"""Server-sent events as Dify's service API writes them.

Sources: core/app/apps/streaming_utils.py, core/app/apps/base_app_generator.py (convert_to_event_stream).
"""

import json
import queue
import time
from collections.abc import Iterator
from dataclasses import dataclass

from demo.box.topic import CLOSED, END, PING, Event

TERMINAL = ("workflow_finished", "workflow_paused")


@dataclass(frozen=True, slots=True)
class Reading:
    """How a stream is read: it ends after `idle_seconds` of silence, and pings by itself only with `ping_seconds`.

    It ends at the run's terminal event or, with `to_the_end`, at its very last one, as it did before Dify 1.13.
    """

    idle_seconds: float
    ping_seconds: float | None = None
    to_the_end: bool = False


def encode(event: Event) -> str:
    """`data:` and the JSON of an event, or `event: ping`."""
    if isinstance(event, str):
        return f"event: {event}\n\n"
    return f"data: {json.dumps(event, ensure_ascii=False, separators=(',', ':'), default=str)}\n\n"


def follow(events: queue.SimpleQueue[Event | None], reading: Reading) -> Iterator[Event]:
    """A run's events as they come.

    Dify's first stream of a run does not ping by itself: a run that waits for a worker slot is silent, and its stream
    ends when the silence has lasted too long.
    """
    heard = pinged = time.monotonic()
    while True:
        try:
            event = events.get(timeout=min(1.0, reading.idle_seconds, reading.ping_seconds or 1.0))
        except queue.Empty:
            now = time.monotonic()
            if now - heard > reading.idle_seconds:
                return
            if reading.ping_seconds is not None and now - pinged >= reading.ping_seconds:
                pinged = now
                yield PING
            continue
        if event == CLOSED and reading.ping_seconds is not None:
            # A stream with a snapshot stays open and pings, and tells nothing more.
            events = queue.SimpleQueue()
            continue
        if event is END or event == CLOSED:
            return
        heard = pinged = time.monotonic()
        yield event
        if not reading.to_the_end and isinstance(event, dict) and event.get("event") in TERMINAL:
            return
