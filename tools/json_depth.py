"""How deep a JSON value may be: what is deeper cannot be read, or written again, by everyone who gets it."""

from typing import Any

DEEPEST = 100


def is_too_deep(value: Any) -> bool:
    """Say whether a value has more than `DEEPEST` levels of objects and arrays."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        inner = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
        level = [child for child in inner if isinstance(child, dict | list)]
        if not level:
            return False
    return True
