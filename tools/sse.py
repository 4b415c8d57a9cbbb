"""A byte stream as server-sent events: bytes in, events out, no socket.

The format is that of https://html.spec.whatwg.org/multipage/server-sent-events.html, with two differences: an event
without data is kept, since Dify's pings are nothing but `event: ping`, and an event that the end of the stream leaves
unfinished is kept too, since what it says did happen and some servers leave out the last empty line.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""Dify before 1.10 puts a node's whole inputs and outputs into one event."""

_HEAD_BYTES = 512
_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event. `name` is its `event` field, empty where there is none."""

    name: str
    data: str


@dataclass(frozen=True, slots=True)
class Oversized:
    """An event of more bytes than the limit was thrown away; `head` is how its first too long line began."""

    head: str


@dataclass(slots=True)
class Decoder:
    """Puts events together from pieces that may be cut anywhere. Holds at most `max_event_bytes` of one event."""

    max_event_bytes: int = MAX_EVENT_BYTES
    _line: bytearray = field(default_factory=bytearray)
    _name: str = ""
    _data: list[str] = field(default_factory=list)
    _size: int = 0
    _oversized: str | None = None
    _line_is_blank: bool = True
    _after_cr: bool = False
    _at_start: bool = True

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent | Oversized]:
        """Take the next bytes; yield the events that they complete."""
        if not piece:
            return
        start = 1 if self._after_cr and piece.startswith(b"\n") else 0
        self._after_cr = piece.endswith(b"\r")
        for end, next_start in _line_ends(piece, start):
            self._extend(piece[start:end])
            start = next_start
            yield from self._end_line()
        self._extend(piece[start:])

    def close(self) -> Iterator[ServerSentEvent | Oversized]:
        """Yield the event that the end of the stream left unfinished."""
        if not self._line_is_blank:
            yield from self._end_line()
        yield from self._dispatch()

    def _extend(self, piece: bytes) -> None:
        if not piece:
            return
        self._line_is_blank = False
        self._size += len(piece)
        if self._size <= self.max_event_bytes:
            self._line += piece
        elif self._oversized is None:
            self._oversized = (self._line + piece[:_HEAD_BYTES])[:_HEAD_BYTES].decode("utf-8", "replace")
            self._line.clear()
            self._data.clear()

    def _end_line(self) -> Iterator[ServerSentEvent | Oversized]:
        line, blank = self._line.decode("utf-8", "replace"), self._line_is_blank
        self._line.clear()
        self._line_is_blank = True
        if self._at_start:
            line = line.removeprefix("\ufeff")
            self._at_start = False
        if blank:
            yield from self._dispatch()
        elif self._oversized is None:
            yield from self._take(line)

    def _take(self, line: str) -> Iterable[ServerSentEvent | Oversized]:
        """Take a whole line that is not empty, and return the event that it ends where a server sends no empty one."""
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        return ()

    def _dispatch(self) -> Iterator[ServerSentEvent | Oversized]:
        if self._oversized is not None:
            yield Oversized(self._oversized)
        elif self._name or self._data:
            yield ServerSentEvent(self._name, "\n".join(self._data))
        self._name, self._oversized, self._size = "", None, 0
        self._data = []


def _line_ends(piece: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Yield where each line ends, and where the one behind it begins."""
    if b"\r" in piece:
        yield from (line_end.span() for line_end in _LINE_END.finditer(piece, start))
        return
    # Mostly so, and then much faster than a pattern.
    while (end := piece.find(b"\n", start)) >= 0:
        start = end + 1
        yield end, start
