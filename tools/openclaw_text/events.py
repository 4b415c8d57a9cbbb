"""What a reader says about the text it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Text:
    """Text to show. It is never taken back."""

    text: str


@dataclass(slots=True)
class CallStarted:
    """A call of a declared tool. `index` counts the calls of this text from 0."""

    index: int
    name: str


@dataclass(slots=True)
class ArgumentsDelta:
    """The next piece of the call's arguments as JSON."""

    index: int
    text: str


@dataclass(slots=True)
class CallFinished:
    """The call's arguments, typed by the tool's schema and valid against it."""

    index: int
    name: str
    arguments: dict[str, Any]


@dataclass(slots=True)
class BrokenCall:
    """A call of a declared tool that cannot be made: `reason` says what to change, `raw` is what was written.

    `arguments` are those that the schema refuses; None when they could not be read.
    """

    index: int
    name: str
    reason: str
    raw: str
    arguments: dict[str, Any] | None = None


@dataclass(slots=True)
class CallsWithdrawn:
    """The calls so far were part of a thought whose end has come only now: they are none."""


@dataclass(slots=True)
class TooMuch:
    """The answer calls more than can be taken, as `reason` says. Nothing comes behind it."""

    reason: str


type Event = Text | CallStarted | ArgumentsDelta | CallFinished | BrokenCall | CallsWithdrawn | TooMuch
