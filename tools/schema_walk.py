"""How far a value is held against a schema: a schema comes from anybody, and may be made to cost much.

A walk goes at most DEEPEST levels down and takes at most MOST_STEPS steps, each about 5 µs or less; what lies beyond is
left unchecked. So are patterns that may be slow (tools.linear_patterns), which the log says once for each.
"""

import logging
from collections.abc import Mapping
from typing import Any

from tools.linear_patterns import LONGEST_TEXT, LinearPattern, compiling_steps, linear

log = logging.getLogger(__name__)

DEEPEST = 64
MOST_STEPS = 10_000
_LONGEST_REFERENCE = 1000
_MOST_TOLD = 100
_SHOWN = 100

_told: set[str] = set()


class Walk:
    """One walk of one value along the schema `root`."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = MOST_STEPS
        self._targets: dict[str, Any] = {}
        self._patterns: dict[str, LinearPattern | None] = {}

    def goes_on(self) -> bool:
        """Take a step, and say whether there was one left."""
        self._left -= 1
        return self._left >= 0

    @property
    def over(self) -> bool:
        """Whether no step is left."""
        return self._left < 0

    def affords(self, steps: int) -> bool:
        """Take so many steps at once where that many are left, and say whether they are."""
        if steps > self._left:
            return False
        self._left -= steps
        return True

    def affords_comparing(self, value: Any, times: int) -> bool:
        """Take the steps for comparing a value with so many others."""
        size = size_of(value, 10 * MOST_STEPS) if isinstance(value, dict | list) else _weight(value)
        return self.affords(1 + size * times // 10)

    def target(self, reference: str) -> Any:
        """Return what `$ref` refers to in this schema; None where that is nothing, or elsewhere."""
        if reference not in self._targets:
            self._targets[reference] = self._found(reference) if len(reference) <= _LONGEST_REFERENCE else None
        return self._targets[reference]

    def _found(self, reference: str) -> Any:
        found: Any = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
        return found

    def matches(self, pattern: str, text: str) -> bool | None:
        """Say whether a text fits a pattern; None where that is not checked."""
        known = self._pattern(pattern)
        if known is None or len(text) > LONGEST_TEXT or not self.affords(known.steps(text)):
            return None
        return known.matches(text)

    def _pattern(self, pattern: str) -> LinearPattern | None:
        if pattern not in self._patterns:
            if not self.affords(compiling_steps(pattern)):
                return None
            self._patterns[pattern] = linear(pattern)
            if self._patterns[pattern] is None:
                _tell_unchecked(pattern)
        return self._patterns[pattern]


def size_of(value: Any, most: int) -> int:
    """Count a value with all that is in it, in pieces of 100 characters; no further than `most`."""
    size, waiting = 0, [value]
    while waiting and size <= most:
        one = waiting.pop()
        size += _weight(one)
        if isinstance(one, dict):
            size += sum(len(name) // 100 for name in one)
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return size


def _weight(value: Any) -> int:
    return 1 + len(value) // 100 if isinstance(value, str) else 1


def _tell_unchecked(pattern: str) -> None:
    shown = pattern if len(pattern) <= _SHOWN else f"{pattern[:_SHOWN]}…"
    if shown not in _told and len(_told) < _MOST_TOLD:
        _told.add(shown)
        log.warning("a pattern of a tool's schema is not checked, as it may be slow or is not known here: %s", shown)
