"""The log that `GET /log` shows: each request in full, with what it was answered."""

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Entry:
    """One request. `state` goes from `answering` to `done`, `cut` or `client_gone`."""

    number: int
    at: float  # seconds since the epoch
    method: str
    path: str
    headers: dict[str, str]
    raw: bytes  # kept as it came: it takes a fraction of the memory of what it holds
    status: int
    answer: dict[str, Any]
    state: str = "answering"
    seconds: float | None = None

    def shown(self) -> dict[str, Any]:
        """The entry as JSON; `request` is the parsed body, or its text where it is not JSON."""
        try:
            request = json.loads(self.raw) if self.raw else None
        except ValueError:
            request = self.raw.decode(errors="replace")
        return {
            "number": self.number,
            "at": self.at,
            "method": self.method,
            "path": self.path,
            "headers": self.headers,
            "request": request,
            "status": self.status,
            "answer": self.answer,
            "state": self.state,
            "seconds": self.seconds,
        }


@dataclass
class Log:
    """The last requests, oldest first."""

    limit: int = 2000
    _entries: deque[Entry] = field(init=False)
    _count: int = 0

    def __post_init__(self) -> None:
        self._entries = deque(maxlen=self.limit)

    def next_number(self) -> int:
        """The number of the next entry, from 1."""
        self._count += 1
        return self._count

    def add(self, entry: Entry) -> None:
        """Keeps an entry."""
        self._entries.append(entry)

    def shown(self, containing: str = "") -> list[dict[str, Any]]:
        """All entries as JSON, or those whose request contains a text, byte for byte."""
        return [entry.shown() for entry in self._entries if containing.encode() in entry.raw]

    def clear(self) -> None:
        """Drops all entries; the numbers go on."""
        self._entries.clear()


def without_secret(headers: dict[str, str]) -> dict[str, str]:
    """The headers with only the end of the key in them, enough to tell two keys apart."""
    return {name: f"Bearer …{value[-4:]}" if name == "authorization" else value for name, value in headers.items()}
