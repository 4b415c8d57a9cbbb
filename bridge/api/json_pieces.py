"""Reads a long JSON object with breaths in between, so that nobody else has to wait until all of it is read.

The standard library reads a text of 10 MB in one go. Here it reads one after the other the values of the object, and
the items of those that are lists: what a request has many of, its messages and its tools, stands there.
"""

import json
import math
import re
from typing import Any

from bridge.runs.breath import Breath

SHORT = 64 * 1024
"""How many characters are read in one go."""

_SPACE = re.compile(r"[ \t\n\r]*")


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is larger than a number can be")
    return number


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_no_number)


def loads(raw: bytes) -> Any:
    """Return what `json.loads` returns. Raises ValueError and RecursionError as it does.

    Also raises ValueError for NaN and Infinity, and for a number that becomes one: no other reader of JSON takes those.
    """
    text = raw.decode(json.detect_encoding(raw), "surrogatepass")
    if len(text) <= SHORT or not text.lstrip(" \t\n\r").startswith("{"):
        return _DECODER.decode(text)
    return _Reader(text).whole()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._breath = Breath()

    def whole(self) -> dict[str, Any]:
        value = self._object()
        if self._next():
            raise self._error("Extra data")
        return value

    def _object(self) -> dict[str, Any]:
        read: dict[str, Any] = {}
        self._take("{")
        while not (self._next() == "}" and not read):
            if self._next() != '"':
                raise self._error("Expecting property name enclosed in double quotes")
            name = self._value()
            self._take(":")
            read[name] = self._list() if self._next() == "[" else self._value()
            if self._next() != ",":
                break
            self._at += 1
        self._take("}")
        return read

    def _list(self) -> list[Any]:
        read: list[Any] = []
        self._take("[")
        while not (self._next() == "]" and not read):
            read.append(self._value())
            if self._next() != ",":
                break
            self._at += 1
        self._take("]")
        return read

    def _value(self) -> Any:
        self._next()
        value, self._at = _DECODER.raw_decode(self._text, self._at)
        self._breath.take()
        return value

    def _next(self) -> str:
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at
        return self._text[self._at : self._at + 1]

    def _take(self, character: str) -> None:
        if self._next() != character:
            raise self._error(f"Expecting '{character}'")
        self._at += 1

    def _error(self, message: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(message, self._text, self._at)
