"""Tool names that every upstream takes, and the way back: `[a-zA-Z][a-zA-Z0-9_-]{0,63}`.

The first character is Moonshot's rule, and nearly Gemini's; all else is OpenAI's.
"""

import hashlib
import re
from collections.abc import Collection, Iterable

LONGEST = 64

_OTHER = re.compile(r"[^a-zA-Z0-9_-]")
_SAFE = re.compile(rf"[a-zA-Z][a-zA-Z0-9_-]{{0,{LONGEST - 1}}}")
_MARK = 7


def safe_names(names: Iterable[str]) -> dict[str, str]:
    """Return, for each name, one that every upstream takes; no two are the same, and the good ones stay as they are.

    A changed name ends with a mark made of the original, so that it is the same whatever the other names are.
    """
    given = list(dict.fromkeys(names))
    safe = {name: name for name in given if _SAFE.fullmatch(name)}
    taken = set(safe)
    for name in given:
        if name not in safe:
            safe[name] = _plain(name, taken)
            taken.add(safe[name])
    return safe


def _plain(name: str, taken: Collection[str]) -> str:
    plain = _OTHER.sub("_", name)
    if not plain[:1].isalpha():
        plain = f"tool_{plain}"
    if len(plain) <= LONGEST and name and plain not in taken:
        return plain
    mark = hashlib.sha256(name.encode(errors="replace")).hexdigest()[:_MARK]
    return f"{plain[: LONGEST - _MARK - 1]}_{mark}"
