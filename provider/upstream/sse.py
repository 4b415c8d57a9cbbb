"""Server-sent events of upstreams, as the data of each.

Habits of servers that do not keep to the standard are taken too: no empty line between one event and the next, JSON
lines without `data:`, `data:` twice, and an error in a field of its own.
"""

import json
import re
from collections.abc import Iterable, Iterator

from tools.sse import Decoder, Oversized, ServerSentEvent

Event = ServerSentEvent | Oversized

_TWICE = re.compile(r"^data: *data:")


class EventDecoder:
    """Collects bytes and returns the data of each event that is whole; of one that is too long, how it began."""

    def __init__(self) -> None:
        self._decoder = _Lenient()

    def feed(self, data: bytes) -> list[str]:
        """Take bytes and return the data of the events that they complete."""
        return _data_of(self._decoder.feed(data))

    def close(self) -> list[str]:
        """End the stream. An event that lacks only the empty line counts: some servers do not send the last one."""
        return _data_of(self._decoder.close())


class _Lenient(Decoder):
    def _take(self, line: str) -> Iterator[Event]:
        line = f"data: {line}" if line.startswith("{") else _TWICE.sub("data:", line)
        if (error := line.removeprefix("error:")) != line:
            # llama.cpp's servers of before September 2025.
            line = f"data: {_as_error(error)}"
        if line.startswith("data:") and _is_json(self._data):
            yield from self._dispatch()
        yield from super()._take(line)


def _data_of(events: Iterable[Event]) -> list[str]:
    """Return the data. Comments and events that are only a name are dropped."""
    data = []
    for event in events:
        if isinstance(event, Oversized):
            data.append(event.head)
        elif event.data or not event.name:
            data.append(_as_error(event.data) if event.name.strip() == "error" else event.data)
    return data


def _as_error(data: str) -> str:
    """Return an event that is called an error as one in OpenAI's form: some have the words alone."""
    try:
        said = json.loads(data)
    except ValueError:
        said = data
    return data if isinstance(said, dict) and "error" in said else json.dumps({"error": said})


def _is_json(lines: list[str]) -> bool:
    """Whether these lines are a JSON object already, which no further line can go on with."""
    if not lines or not lines[0].startswith("{"):
        return False
    try:
        json.loads("\n".join(lines))
    except ValueError:
        return False
    return True
