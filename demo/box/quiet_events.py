"""Lets a waiting engine wait.

graphon's event manager asks for new events a thousand times a second for each run, which is more than two hundred
waiting runs can have on two cores. This one hands events over a queue instead.
Differs from Dify in time alone: the events and their order are the same, and they come a little sooner.
"""

import logging
import queue
from collections.abc import Generator
from typing import Any

from demo.box.engine_names import IS_NEW, GraphEngineEvent

logger = logging.getLogger(__name__)


class EventRelay:
    """Does what graphon's EventManager does for one engine."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[GraphEngineEvent | None] = queue.SimpleQueue()
        self._layers: list[Any] = []

    def set_layers(self, layers: list[Any]) -> None:
        """Tell these layers about every event."""
        self._layers = layers

    def notify_layers(self, event: GraphEngineEvent) -> None:
        """Tell the layers about an event that is not to be emitted."""
        for layer in self._layers:
            try:
                layer.on_event(event)
            except Exception:
                logger.exception("a layer failed on an event: %s", type(layer).__name__)

    def collect(self, event: GraphEngineEvent) -> None:
        """Take an event."""
        self._events.put(event)
        self.notify_layers(event)

    def mark_complete(self) -> None:
        """No more events will come."""
        self._events.put(None)

    def emit_events(self) -> Generator[GraphEngineEvent, None, None]:
        """Yield every event, waiting for the next, until no more come."""
        while (event := self._events.get()) is not None:
            yield event


def quieten() -> None:
    """Make graphon's engines, from now on, hand their events over a queue, as those of 0.8 do by themselves."""
    if IS_NEW:
        return
    from graphon.graph_engine import graph_engine

    vars(graph_engine)["EventManager"] = EventRelay
