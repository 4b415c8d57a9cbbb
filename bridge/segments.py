"""What one HTTP response tells its client, from its first byte to the calls of a ticket or the final answer.

A run is a row of segments. Several readers may read one segment, each from its beginning: a request that is sent twice
joins the segment in progress and receives all of it.
"""

import threading
from dataclasses import dataclass

from bridge.errors import BridgeError
from tools.calls import ToolCall
from tools.wire import Usage


@dataclass(frozen=True, slots=True)
class Begun:
    """Dify has begun to run the workflow; nothing was said yet."""


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the model thought."""

    text: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A piece of a call that the model is still writing: the segment ends with `Calls` that hold it whole, or fails."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of a ticket; an `End` follows."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class End:
    """The response is complete. `note` is for whoever runs the bridge: what was odd about the run."""

    finish_reason: str
    usage: Usage
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The response cannot be completed."""

    error: BridgeError


Event = Begun | Text | Reasoning | Draft | Calls | End | Failure


def extent(event: Event) -> int:
    """Return how far an event reaches in its segment."""
    return int(event is not None)


class Segment:
    """An append-only row of events that ends with `End` or `Failure`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.readers = 0
        self.abandoned = False
        self.departures = 0
        self._events: list[Event] = []
        self._changed = threading.Condition()

    @property
    def closed(self) -> bool:
        """Whether the last event is there."""
        return bool(self._events) and isinstance(self._events[-1], End | Failure)

    @property
    def length(self) -> int:
        """How many events there are so far."""
        return len(self._events)

    @property
    def failed(self) -> bool:
        """Whether it ended with an error."""
        return bool(self._events) and isinstance(self._events[-1], Failure)

    def add(self, *events: Event) -> None:
        """Append events; after the last one nothing is taken any more."""
        with self._changed:
            if not self.closed:
                self._events.extend(events)
                self._changed.notify_all()

    def read(self, position: int, timeout: float) -> list[Event]:
        """Return the events from `position` on; wait up to `timeout` seconds until there is one."""
        with self._changed:
            if len(self._events) <= position:
                self._changed.wait(timeout)
            return self._events[position:]
