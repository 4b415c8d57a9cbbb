"""What one HTTP response tells its client, from its first byte to the calls of a ticket or the final answer.

A run is a row of segments. Several readers may read one segment, each from its beginning: a request that is sent twice
joins the segment in progress and receives all of it.
"""

import json
import math
import socket
import threading
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
    """The calls of a ticket; an `End` follows. `details` are what their upstream wants back, for clients to carry."""

    calls: tuple[ToolCall, ...]
    details: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Citation:
    """A document that the answer rests on, and where it is shown in Dify."""

    title: str
    url: str


def write_citations(citations: tuple[Citation, ...]) -> str | None:
    """Return citations as a segment's row keeps them: JSON, None for none."""
    return json.dumps([[each.title, each.url] for each in citations], ensure_ascii=False) if citations else None


def read_citations(kept: str | None) -> tuple[Citation, ...]:
    """Return the citations that a segment's row keeps."""
    return tuple(Citation(title, url) for title, url in json.loads(kept or "[]"))


@dataclass(frozen=True, slots=True)
class End:
    """The response is complete. `note` is for whoever runs the bridge: what was odd about the run."""

    finish_reason: str
    usage: Usage
    note: str | None = None
    citations: tuple[Citation, ...] = ()
    logprobs: tuple[dict[str, Any], ...] = ()
    """What the upstream said of the tokens of the text, all of them or none, in OpenAI's shape."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The response cannot be completed. `error` is kept as one that was never raised: raise `error.fresh()`."""

    error: BridgeError

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", self.error.fresh())


Event = Begun | Text | Reasoning | Draft | Calls | End | Failure


_TOGETHER = 4096
"""Pieces of text become one event up to so many characters: each piece alone would take ten times its length."""


def extent(event: Event) -> int:
    """Return how far an event reaches in its segment: text as many places as characters, anything else one."""
    return len(event.text) if isinstance(event, Text | Reasoning) else 1


def read_logprobs(said: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return what an upstream says of tokens, in the fields that OpenAI has; nothing where one of them is no number."""
    try:
        likely = [[_scored(other) for other in token.get("top_logprobs") or ()] for token in said]
        return tuple(_scored(token) | {"top_logprobs": others} for token, others in zip(said, likely, strict=True))
    except (AttributeError, TypeError, ValueError):
        return ()


def _scored(token: Mapping[str, Any]) -> dict[str, Any]:
    text, logprob = token.get("token"), token.get("logprob")
    if not isinstance(text, str) or not isinstance(logprob, int | float) or not math.isfinite(logprob):
        raise TypeError
    return {"token": text, "logprob": float(logprob), "bytes": [*bytes(token.get("bytes") or text.encode())]}


def text_of(events: Iterable[Event]) -> str:
    """Return the text that events tell."""
    return "".join(event.text for event in events if isinstance(event, Text))


class Segment:
    """An append-only row of events that ends with `End` or `Failure`. A position in it lies between two characters."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.readers = 0
        self.connections: list[socket.socket | None] = []
        """Those of its readers, None where the server does not show one."""
        self.expected: list[socket.socket] = []
        """The connections of those who are about to read it."""
        self.abandoned = False
        """Whether nobody reads it, and nobody who did got to its end."""
        self.broken = False
        """Whether the connection of the last who read it is known to have ended before all of it was told."""
        self.delivered = False
        self.is_owed = False
        """Whether its client was sent away before it was told."""
        self.is_echo = False
        """Whether it repeats what another segment tells: who leaves it gives nothing up."""
        self.departures = 0
        self.left_at = 0.0
        self._events: list[Event] = []
        self._starts: list[int] = []
        self._length = 0
        self._changed = threading.Condition()

    def expect(self, connection: socket.socket | None) -> None:
        """It is told to this client from now on, which may have to wait before it reads: nobody else may have it."""
        self.abandoned = self.broken = False
        if connection:
            self.expected.append(connection)

    @property
    def is_left(self) -> bool:
        """Whether all who read it have gone."""
        return bool(self.departures) and not self.readers

    @property
    def closed(self) -> bool:
        """Whether the last event is there."""
        return bool(self._events) and isinstance(self._events[-1], End | Failure)

    @property
    def asks(self) -> bool:
        """Whether it ended with calls."""
        return any(isinstance(event, Calls) for event in self._events[-2:])

    @property
    def length(self) -> int:
        """The position behind the last event so far."""
        return self._length

    @property
    def failed(self) -> bool:
        """Whether it ended with an error."""
        return bool(self._events) and isinstance(self._events[-1], Failure)

    def add(self, *events: Event) -> None:
        """Append events; after the last one nothing is taken any more."""
        with self._changed:
            if not self.closed:
                for event in events:
                    self._append(event)
                self._changed.notify_all()

    def _append(self, event: Event) -> None:
        last = self._events[-1] if self._events else None
        if isinstance(event, Text | Reasoning) and type(event) is type(last) and extent(last) < _TOGETHER:
            self._events[-1] = replace(last, text=last.text + event.text)
        else:
            self._events.append(event)
            self._starts.append(self._length)
        self._length += extent(event)

    def read(self, position: int, timeout: float) -> list[Event]:
        """Return the events from `position` on; wait up to `timeout` seconds until there is one."""
        with self._changed:
            if self._length <= position:
                self._changed.wait(timeout)
            if self._length <= position:
                return []
            first = bisect_right(self._starts, position) - 1
            return [_rest(self._events[first], position - self._starts[first]), *self._events[first + 1 :]]


def _rest(event: Event, known: int) -> Event:
    return replace(event, text=event.text[known:]) if isinstance(event, Text | Reasoning) and known else event
