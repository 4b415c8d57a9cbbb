"""Extra headers as people write them: a JSON object, or `Name: value`, a line each or separated by `;`."""

import json
import re
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NEXT = re.compile(r"\n|;\s*(?=[A-Za-z0-9-]+\s*:)")


def read_headers(text: str) -> dict[str, str]:
    """Return the headers in `text`. Raises ValueError, which shows no value: it may be a secret."""
    text = text.strip()
    pairs = (
        _pairs_of_json(text) if text.startswith("{") else [_pair(line) for line in _NEXT.split(text) if line.strip()]
    )
    for name, value in pairs:
        if not _NAME.fullmatch(name) or not value.isprintable():
            raise ValueError(f"the header {name[:40]!r} cannot be sent; write one `Name: value` a line")
    return dict(pairs)


def _pairs_of_json(text: str) -> list[tuple[str, str]]:
    try:
        value: dict[str, Any] = json.loads(text)
    except ValueError:
        raise ValueError("this is no JSON object of names and values") from None
    return [(str(name), str(each)) for name, each in value.items()]


def _pair(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise ValueError("a header has a colon after its name; write one `Name: value` a line")
    return name.strip(), value.strip()
