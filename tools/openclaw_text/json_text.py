"""JSON as models write it: read while it comes, repaired where the meaning is beyond doubt."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tools.openclaw_text.tape import Steps, Tape

DEPTH_CAP = 64
CLOSERS_CAP = 3
NUMBER_CAP = 400

#: Called for every entry of the outermost object; may raise `NotACallError` to end the reading early.
type Entry = Callable[[str, Any], None]


class BadJSONError(Exception):
    """This is not JSON, and no repair is beyond doubt."""


class CutOffError(BadJSONError):
    """The text ended inside a value."""


_FILLER = re.compile(r"[\s,]*")
_SPACE = re.compile(r"\s*")
_NO_SPACE = re.compile(r"\S")
_BARE = re.compile(r"[^\s,:{}\[\]\"'<`;]*")
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?|[-+]?\.\d+([eE][-+]?\d+)?")
_KEY = re.compile(r"[A-Za-z_$][\w$.-]*")
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\", '"': '"', "'": "'"}
_STOP = {'"': re.compile(r'["\\]'), "'": re.compile(r"['\\]")}
# What closes a container, or shows that its closer is missing: a closer, the end of the text, a tag, a fence.
_ENDS = ("}", "]", "", "<", "`")
_INFINITE = (float("inf"), float("-inf"))
_HEX = re.compile(r"[0-9a-fA-F]{4}")


def read_json(tape: Tape, entry: Entry | None = None) -> Steps[Any]:
    """Read the object or array that stands at the tape's position and return it as Python values.

    Repaired: Python's literals, surplus and missing commas, comments, unquoted keys, single quotes, control characters
    in strings, unknown escapes (kept), quotes inside strings, up to three missing closers before a tag, and the last
    one at the end of the text. What else the end cut off stays cut off, since nobody knows what was to follow.

    Raises `BadJSONError`, or its subclass `CutOffError`.
    """
    return (yield from _Reading(tape, entry).value())


class _Reading:
    """The containers that are open, and the key that waits for its value in each object."""

    def __init__(self, tape: Tape, entry: Entry | None) -> None:
        self.tape = tape
        self.entry = entry
        self.open: list[dict[str, Any] | list[Any]] = []
        self.keys: list[str | None] = []
        self.missing = 0

    def value(self) -> Steps[Any]:
        tape = self.tape
        outermost = self._push(tape.text[tape.at])
        while self.open:
            match = _FILLER.match(tape.text, tape.at)
            tape.at = match.end() if match else tape.at
            if tape.at == len(tape.text) and (yield from tape.more()):
                continue
            char = tape.text[tape.at] if tape.at < len(tape.text) else ""
            if char in _ENDS:
                self._close(char)
            elif char == "/":
                yield from self._comment()
            elif self.keys[-1] is None and isinstance(self.open[-1], dict):
                self.keys[-1] = yield from self._key(char)
            elif char in "{[":
                self._push(char)
            else:
                self._put((yield from self._scalar(char)))
        return outermost

    def _push(self, char: str) -> dict[str, Any] | list[Any]:
        if len(self.open) >= DEPTH_CAP:
            raise BadJSONError("it is nested too deeply")
        self.tape.at += 1
        container: dict[str, Any] | list[Any] = {} if char == "{" else []
        self.open.append(container)
        self.keys.append(None)
        return container

    def _put(self, value: Any) -> None:
        container = self.open[-1]
        if isinstance(container, list):
            container.append(value)
            return
        key = self.keys[-1]
        if key is None:
            raise BadJSONError("a value has no key")
        container[key] = value
        self.keys[-1] = None
        if self.entry and len(self.open) == 1:
            self.entry(key, value)

    def _close(self, char: str) -> None:
        """Close the innermost container, whether its closer stands here or is missing."""
        if self.keys[-1] is not None:
            raise self._unexpected(char, f"a value for {self.keys[-1]!r}")
        if char and char == ("}" if isinstance(self.open[-1], dict) else "]"):
            self.tape.at += 1
        else:
            self.missing += 1
            if self.missing > CLOSERS_CAP or (not char and len(self.open) > 1):
                raise self._unexpected(char, "a closing bracket")
        container = self.open.pop()
        self.keys.pop()
        if self.open:
            self._put(container)

    def _key(self, char: str) -> Steps[str]:
        if char in _STOP:
            key = yield from self._string(char, ":")
        else:
            key = yield from self._word()
            if not _KEY.fullmatch(key):
                raise self._unexpected(char, "a key")
        after = yield from self.tape.peek()
        if after != ":":
            raise self._unexpected(after, f"a colon after {key!r}")
        self.tape.at += 1
        return key

    def _scalar(self, char: str) -> Steps[Any]:
        if char in _STOP:
            return (yield from self._string(char, ",}]"))
        word = yield from self._word()
        if self.tape.ended and self.tape.at == len(self.tape.text):
            raise CutOffError("the text ends in a value")
        if word in _WORDS:
            return _WORDS[word]
        if not _NUMBER.fullmatch(word) or len(word) > NUMBER_CAP:
            raise BadJSONError(f"{word[:40] or char!r} is not a JSON value")
        number = int(word) if word.lstrip("+-").isdigit() else float(word)
        if number in _INFINITE:
            raise BadJSONError(f"{word[:40]} is too large a number")
        return number

    def _word(self) -> Steps[str]:
        parts = []
        while True:
            match = _BARE.match(self.tape.text, self.tape.at)
            parts.append(match.group() if match else "")
            self.tape.at += len(parts[-1])
            if self.tape.at < len(self.tape.text) or not (yield from self.tape.more()):
                return "".join(parts)

    def _string(self, quote: str, follow: str) -> Steps[str]:
        """Read a string. Its quote ends it only where a string can end: before `follow`, a tag or the text's end."""
        tape, stop, parts = self.tape, _STOP[quote], list[str]()
        tape.at += 1
        while True:
            match = stop.search(tape.text, tape.at)
            if not match:
                parts.append(tape.text[tape.at :])
                tape.at = len(tape.text)
                if not (yield from tape.more(stop)):
                    raise CutOffError("the text ends in a string")
                continue
            parts.append(tape.text[tape.at : match.start()])
            tape.at = match.start()
            if match.group() == "\\":
                parts.append((yield from self._escape()))
            elif (yield from self._ends_string(follow)):
                break
            else:
                parts.append(quote)
        return "".join(parts)

    def _ends_string(self, follow: str) -> Steps[bool]:
        """Look behind the quote that stands here, and read it either way."""
        tape = self.tape
        while True:
            match = _SPACE.match(tape.text, tape.at + 1)
            after = match.end() if match else tape.at + 1
            if after < len(tape.text) or not (yield from tape.more(_NO_SPACE)):
                break
        char = tape.text[after : after + 1]
        tape.at += 1
        return char in follow or char in "<`;/"

    def _escape(self) -> Steps[str]:
        yield from self._need(2)
        tape = self.tape
        char = tape.text[tape.at + 1 : tape.at + 2]
        if char == "u":
            return (yield from self._unicode())
        tape.at += 1 + len(char)
        if not char:
            raise CutOffError("the text ends in a string")
        return _ESCAPES.get(char) or (char if char < " " else "\\" + char)

    def _unicode(self) -> Steps[str]:
        first = yield from self._code_unit()
        if first is None:
            self.tape.at += 2
            return "\\u"
        if 0xD800 <= first < 0xDC00:
            yield from self._need(2)
            if self.tape.text.startswith("\\u", self.tape.at):
                second = yield from self._code_unit()
                if second is not None and 0xDC00 <= second < 0xE000:
                    return chr(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
                if second is not None:
                    return "\ufffd" + _character(second)
        return _character(first)

    def _code_unit(self) -> Steps[int | None]:
        """Read `\\uXXXX`; nothing is read when these are not four digits."""
        yield from self._need(6)
        match = _HEX.match(self.tape.text, self.tape.at + 2)
        if not match:
            return None
        self.tape.at += 6
        return int(match.group(), 16)

    def _need(self, count: int) -> Steps[None]:
        while len(self.tape.text) - self.tape.at < count and (yield from self.tape.more()):
            pass

    def _comment(self) -> Steps[None]:
        tape = self.tape
        yield from self._need(2)
        ending = {"//": "\n", "/*": "*/"}.get(tape.text[tape.at : tape.at + 2])
        if not ending:
            raise self._unexpected("/", "a value")
        tape.at += 2
        while (end := tape.text.find(ending, tape.at)) < 0:
            tape.at = max(tape.at, len(tape.text) - 1)
            if not (yield from tape.more()):
                raise CutOffError("the text ends in a comment")
        tape.at = end + len(ending)

    def _unexpected(self, char: str, wanted: str) -> BadJSONError:
        if not char:
            return CutOffError(f"the text ends where {wanted} should be")
        return BadJSONError(f"{char!r} stands where {wanted} should be")


def _character(unit: int) -> str:
    return "\ufffd" if 0xD800 <= unit < 0xE000 else chr(unit)
