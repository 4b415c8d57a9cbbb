"""Server-sent events from bytes, however these are cut.

Source: the WHATWG's HTML standard, section 9.2.6. Two habits of servers that do not keep to it are taken too: no empty
line between one event and the next, and JSON lines without `data:`.
"""

import codecs
import json
import re

_LINE_END = re.compile(r"\r\n|\n|\r")


class EventDecoder:
    """Collects bytes and returns the data of each event that is whole. Comments and other fields are dropped."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._data: list[str] = []
        self._event = ""
        self._begun = False

    def feed(self, data: bytes) -> list[str]:
        """Take bytes and return the data of the events that they complete."""
        text = self._decoder.decode(data)
        if text and not self._begun:
            self._begun = True
            text = text.removeprefix("\ufeff")
        return self._take(self._rest + text, final=False)

    def close(self) -> list[str]:
        """End the stream. An event that lacks only the empty line counts: some servers do not send the last one."""
        events = self._take(self._rest + self._decoder.decode(b"", final=True) + "\n\n", final=True)
        self._rest = ""
        return events

    def _take(self, text: str, *, final: bool) -> list[str]:
        events: list[str] = []
        start = 0
        for match in _LINE_END.finditer(text):
            if match[0] == "\r" and match.end() == len(text) and not final:
                break
            self._line(text[start : match.start()], events)
            start = match.end()
        self._rest = text[start:]
        return events

    def _line(self, line: str, events: list[str]) -> None:
        field, _, value = ("data", "", line) if line.startswith("{") else line.partition(":")
        if field == "data":
            if _is_json(self._data):
                self._end(events)
            self._data.append(value.removeprefix(" "))
        elif field == "event":
            self._event = value.strip()
        elif not line:
            self._end(events)

    def _end(self, events: list[str]) -> None:
        if self._data:
            data = "\n".join(self._data)
            events.append(_as_error(data) if self._event == "error" else data)
        self._data, self._event = [], ""


def _as_error(data: str) -> str:
    """Return an event that is called an error as one in OpenAI's form: some have the words alone."""
    try:
        said = json.loads(data)
    except ValueError:
        said = data
    return data if isinstance(said, dict) and "error" in said else json.dumps({"error": said})


def _is_json(lines: list[str]) -> bool:
    """Say whether these lines are a JSON object already, which no further line can go on with."""
    if not lines or not lines[0].startswith("{"):
        return False
    try:
        json.loads("\n".join(lines))
    except ValueError:
        return False
    return True
