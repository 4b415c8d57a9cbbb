"""Reads JSON that a model got almost right. Only what has one meaning is mended; a text that was cut off never is.

Mended: a code fence around it, line breaks inside strings, commas before a closing bracket, `True`, `False` and `None`,
strings and keys in single quotes.
"""

import ast
import json
import re
from typing import Any

LONGEST = 256_000
LONGEST_PYTHON = 32_000
"""Python's own parser takes a microsecond a character and makes much of each."""

_FENCE = re.compile(r"^```(?:json)?[ \t]*\n(.*)\n```$", re.DOTALL)
# A string without an end goes to the end of the text: looked for from each of its quotes it would take for ever.
_COMMA = re.compile(r',(?=\s*[}\]])|("(?:[^"\\]++|\\.)*+(?:"|\\?\Z))', re.DOTALL)


def repaired(text: str) -> Any:
    """Return the value that the text stands for, or None where it is none, or no one meaning can be seen."""
    text = text.strip()
    if not text:
        return {}
    if len(text) > LONGEST:
        return _strict(text)
    fenced = _FENCE.match(text)
    for candidate in (text, fenced[1].strip()) if fenced else (text,):
        for read in (_strict, _without_commas, _as_python):
            value = read(candidate)
            if value is not None:
                return value
    return None


def _strict(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _without_commas(text: str) -> Any:
    return _strict(_COMMA.sub(lambda found: found[1] or "", text))


def _as_python(text: str) -> Any:
    if len(text) > LONGEST_PYTHON:
        return None
    try:
        value = ast.literal_eval(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict) and all(isinstance(key, str) for key in value) else None
