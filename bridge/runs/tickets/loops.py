"""Notices a model that makes the same call again and again and learns nothing from it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Made:
    """A call that the run has made before, oldest first; `digest` stands for its result."""

    arguments: str
    digest: str | None


def repetitions(earlier: Sequence[Made], arguments: str) -> int:
    """Count the latest calls with these arguments that all had the same result; `earlier` are those of one tool."""
    same = [made.digest for made in earlier if canonical(made.arguments) == canonical(arguments)]
    if not same or same[-1] is None:
        return 0
    count = 0
    for digest in reversed(same):
        if digest != same[-1]:
            break
        count += 1
    return count


def canonical(arguments: str) -> str:
    """Return the arguments in a form that does not depend on white space or the order of keys."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return arguments
