"""How a run is named inside text, and taken out again.

Dify tells a model plugin neither the conversation nor the API caller. Where the end user's id does not help, the
bridge writes a marker into the query or an input variable, and the plugin strips it before anything goes upstream.

What stands between the brackets is a secret of one attempt of a run: anybody may write a marker into a message, a
document or a tool's result, so only one that nobody can guess may say whose node this is.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from tools.ids import random_name

MOST_MARKERS = 16
"""A prompt may quote any number of them; so many of its last ones are tried."""

_MOST_TIMES = 8
_BEGIN = "[[clawback:"
_MARKER = re.compile(r"\s?\[\[clawback:([0-9a-z]{8,40})\]\]")


def new_secret() -> str:
    """Return what a marker holds: 40 characters that nobody can guess."""
    return random_name(40)


def marker_digest(secret: str) -> str:
    """Return what is kept of a secret: 64 hex characters."""
    return hashlib.sha256(secret.encode()).hexdigest()


def marker_for(secret: str) -> str:
    """Return the text that names the run."""
    return f"{_BEGIN}{secret}]]"


def find_markers(texts: Iterable[str]) -> list[str]:
    """Return what the last different markers in `texts` hold, the newest first, MOST_MARKERS at most."""
    found = [secret for text in texts if _BEGIN in text for secret in _MARKER.findall(text)]
    return list(dict.fromkeys(reversed(found)))[:MOST_MARKERS]


def strip_markers(text: str) -> str:
    """Return `text` without any marker, and without the one white space before it.

    What stood around one may make another: those go, too. Where they never seem to end, their beginnings are broken.
    """
    for _ in range(_MOST_TIMES):
        text, count = _MARKER.subn("", text) if _BEGIN in text else (text, 0)
        if not count:
            return text
    return text.replace(_BEGIN, "[[clawback ")


def without_markers(value: Any) -> Any:
    """Return a JSON value without markers in any of its texts; its keys stay as they are."""
    if isinstance(value, str):
        return strip_markers(value)
    if isinstance(value, list):
        return [without_markers(item) for item in value]
    if isinstance(value, dict):
        return {key: without_markers(item) for key, item in value.items()}
    return value
