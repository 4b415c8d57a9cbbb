"""Gemma's own notation: `{city:<|"|>Seoul<|"|>,days:3}` with `<|"|>` or `<escape>` for a quote.

It drifts: `(` for `{`, `=` for `:`, the quote before a value lost.
"""

from __future__ import annotations

import re
from typing import Any

from tools.openclaw_text.tape import Steps, Tape

DEPTH_CAP = 64


class BadGemmaError(Exception):
    """This is not an object in Gemma's notation."""


_QUOTES = ('<|"|>', "<escape>", '"', "'")
_TOKEN = re.compile(r'<\|"\|>|<escape>|[<"\'{}\[\]]')
_TOKEN_IN_PARENTHESES = re.compile(_TOKEN.pattern.replace("{", "{()"))
_BEFORE_VALUE = ":=,{[("
_LONGEST = len("<escape>")
_KEY = re.compile(r"\s*(?:<\|\"\|>|<escape>|[\"'])?([^\s:=\"'<>{}\[\],]+?)(?:<\|\"\|>|<escape>|[\"'])?\s*[:=]\s*")
_BARE = re.compile(r"[^,{}\[\]]*")
_HALF_QUOTED = re.compile(r"([^:=<{}\[\]]*+)((?:<\|\"\|>|<escape>)\s*(?=[,}\]]))?")
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_NUMBER = re.compile(r"-?\d{1,300}(\.\d+)?([eE][-+]?\d{1,2})?")


def read_object(tape: Tape) -> Steps[dict[str, Any]]:
    """Read the object that stands at the tape's position. Raises `BadGemmaError`."""
    source = yield from _read_braces(tape)
    value, end = _Source(source).value(0, 0)
    if not isinstance(value, dict) or source[end:].strip():
        raise BadGemmaError("it is not an object")
    return value


def _read_braces(tape: Tape) -> Steps[str]:
    parts: list[str] = []
    depth, quote, last = 0, "", ":"
    rounded = tape.text[tape.at] == "("
    pattern = _TOKEN_IN_PARENTHESES if rounded else _TOKEN
    while True:
        match = pattern.search(tape.text, tape.at)
        whole = match and (match.group() != "<" or len(tape.text) - match.start() >= _LONGEST or tape.ended)
        end = match.end() if match and whole else match.start() if match else len(tape.text)
        parts.append(tape.text[tape.at : end])
        tape.at = end
        mark = match.group() if match and whole else ""
        last = (parts[-1].removesuffix(mark).rstrip() or last)[-1]
        if not mark:
            if not (yield from tape.more()) and not match:
                return _close(parts, depth, quote)
            continue
        if quote:
            quote = "" if mark == quote else quote
        elif mark in _QUOTES:
            quote = mark if last in _BEFORE_VALUE else ""
        elif mark != "<":
            depth += 1 if mark in "{[(" else -1
            if depth == 0:
                text = "".join(parts)
                return f"{{{text[1:-1]}}}" if rounded else text
        last = mark[-1]


def _close(parts: list[str], depth: int, quote: str) -> str:
    """The object at the end of the text: complete but for its braces, or cut off."""
    text = "".join(parts)
    if quote or depth != 1 or not text.rstrip().endswith(_QUOTES):
        raise BadGemmaError("the text ends in an object")
    return text + "}"


class _Source:
    def __init__(self, text: str) -> None:
        self.text = text
        #: Before this position no quote ends a value that began without one.
        self.unquoted = 0

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        if depth > DEPTH_CAP:
            raise BadGemmaError("it is nested too deeply")
        at = self._skip(at)
        char = self.text[at : at + 1]
        if char == "{":
            return self._object(at + 1, depth)
        if char == "[":
            return self._array(at + 1, depth)
        for quote in _QUOTES:
            if self.text.startswith(quote, at):
                return self._string(at + len(quote), quote)
        return self._bare(at)

    def _skip(self, at: int) -> int:
        while at < len(self.text) and self.text[at].isspace():
            at += 1
        return at

    def _object(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        while True:
            at = self._skip(at)
            if self.text[at : at + 1] == ",":
                at += 1
                continue
            if self.text[at : at + 1] == "}":
                return found, at + 1
            match = _KEY.match(self.text, at)
            if not match:
                raise BadGemmaError("a key is missing")
            found[match.group(1)], at = self.value(match.end(), depth + 1)

    def _array(self, at: int, depth: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        while True:
            at = self._skip(at)
            if self.text[at : at + 1] == ",":
                at += 1
                continue
            if self.text[at : at + 1] == "]":
                return found, at + 1
            if at >= len(self.text):
                raise BadGemmaError("an array does not end")
            value, at = self.value(at, depth + 1)
            found.append(value)

    def _string(self, at: int, quote: str) -> tuple[str, int]:
        end = self.text.find(quote, at)
        if end < 0:
            raise BadGemmaError("a string does not end")
        return self.text[at:end], end + len(quote)

    def _bare(self, at: int) -> tuple[Any, int]:
        if at >= self.unquoted and (half := _HALF_QUOTED.match(self.text, at)):
            if half.group(2):
                return half.group(1), half.end()
            self.unquoted = half.end()
        match = _BARE.match(self.text, at)
        word = match.group().strip() if match else ""
        if not match or not word:
            raise BadGemmaError("a value is missing")
        if word.lower() in _WORDS:
            return _WORDS[word.lower()], match.end()
        if _NUMBER.fullmatch(word):
            return (int(word) if word.lstrip("-").isdigit() else float(word)), match.end()
        return word, match.end()
