"""Reads JSON that a model got almost right. Only what has one meaning is mended; a text that was cut off never is.

Mended: a code fence around it, line breaks inside strings, commas before a closing bracket, `True`, `False` and `None`,
strings and keys in single quotes, brackets that are missing at the very end, marks of the model's own behind the
object, an object that was encoded twice or written twice, and what says that there are no arguments. NaN and Infinity
are no JSON, and nothing else can be meant by them.
"""

import ast
import json
import re
from typing import Any

from tools.calls import no_number

LONGEST = 256_000
LONGEST_PYTHON = 32_000
"""Python's own parser takes a microsecond a character and makes much of each."""

_FENCE = re.compile(r"^```(?:json)?[ \t]*\n(.*)\n```$", re.DOTALL)
# A string without an end goes to the end of the text: looked for from each of its quotes it would take for ever.
_COMMA = re.compile(r',(?=\s*[}\]])|("(?:[^"\\]++|\\.)*+(?:"|\\?\Z))', re.DOTALL)

_NOTHING = frozenset({"", "null", "None", '""', '"{}"'})
_SPACE = re.compile(r"\s*")
_MEANT = re.compile(r'[{":]')
_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
_PAIRS = {"{": "}", "[": "]"}


def repaired(text: str) -> Any:
    """Return the value that the text stands for, or None where it is none, or no one meaning can be seen."""
    text = text.strip()
    if text in _NOTHING:
        return {}
    if len(text) > LONGEST:
        return _strict(text)
    fenced = _FENCE.match(text)
    for candidate in (text, fenced[1].strip()) if fenced else (text,):
        for read in (_strict, _without_commas, _as_python, _without_rest, _once, _closed):
            value = read(candidate)
            if isinstance(value, str):
                inner = _strict(value)
                return inner if isinstance(inner, dict) else value
            if value is not None:
                return value
    return None


def _strict(text: str) -> Any:
    try:
        return json.loads(text, strict=False, parse_constant=no_number)
    except (ValueError, RecursionError):
        return None


def _without_commas(text: str) -> Any:
    return _strict(_COMMA.sub(lambda found: found[1] or "", text))


def _without_rest(text: str) -> Any:
    """Read an object that has something behind it which is no JSON that could be meant."""
    try:
        value, end = json.JSONDecoder(strict=False, parse_constant=no_number).raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not _MEANT.search(text, end) else None


def _once(text: str) -> Any:
    """Read an object that is written more than once. An empty one beside it says nothing."""
    decoder, said, at = json.JSONDecoder(strict=False, parse_constant=no_number), dict[str, Any](), 0
    try:
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            at = space.end() if (space := _SPACE.match(text, at)) else at
            said |= {json.dumps(value, sort_keys=True): value} if value != {} else {}
    except (ValueError, RecursionError):
        return None
    values = [*said.values()] or [{}]
    return values[0] if len(values) == 1 and isinstance(values[0], dict) else None


def _closed(text: str) -> Any:
    """Read an object whose last brackets are missing. Amid a text or a number nobody knows what is missing."""
    open_brackets: list[str] = []
    for found in _BRACKETS.finditer(text):
        if found[0] in _PAIRS:
            open_brackets.append(_PAIRS[found[0]])
        elif found[0] in {"}", "]"} and (not open_brackets or open_brackets.pop() != found[0]):
            return None
    whole = re.search(r'["}\]]$|(true|false|null)$', text)
    return _strict(text + "".join(reversed(open_brackets))) if whole and open_brackets else None


def _as_python(text: str) -> Any:
    if len(text) > LONGEST_PYTHON:
        return None
    try:
        value = ast.literal_eval(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict) and all(isinstance(key, str) for key in value) else None
