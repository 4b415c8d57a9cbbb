"""What is told of one hop."""

from dataclasses import dataclass
from typing import Literal

RESTART = "start the bridge again or send it SIGHUP"
"""What lets a running bridge take what was changed in its configuration."""

State = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Line:
    """One hop. `advice` is what to do about a failed one, written so that doing just that mends it."""

    name: str
    state: State
    text: str
    advice: str = ""
    model: str = ""


def ok(name: str, text: str, model: str = "") -> Line:
    """Say that a hop works."""
    return Line(name, "ok", text, model=model)


def failed(name: str, text: str, advice: str, model: str = "") -> Line:
    """Say what is wrong with a hop, and what to do."""
    return Line(name, "failed", text, advice, model)


def skipped(name: str, text: str, model: str = "") -> Line:
    """Say why a hop was not looked at."""
    return Line(name, "skipped", text, model=model)
