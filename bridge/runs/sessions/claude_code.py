"""What Claude Code writes around its user's words, and which of its requests are not its user's at all.

Source: requests of Claude Code 2.1.197.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

SESSION = "x-claude-code-session-id"
AGENT = "x-claude-code-agent-id"

_BEGIN, _END = "<system-reminder>", "</system-reminder>"
_SPACE = re.compile(r"\s*")


def without_reminders(text: str) -> str:
    """Return what stands behind the reminders that begin a user's message. Nobody wrote these."""
    position = _behind_space(text, 0)
    while text.startswith(_BEGIN, position) and (end := text.find(_END, position)) >= 0:
        position = _behind_space(text, end + len(_END))
    return text[position:]


def _behind_space(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def is_reminder(text: str) -> bool:
    """Say whether there is nothing but reminders."""
    return _BEGIN in text and not without_reminders(text)


def auxiliary(headers: Mapping[str, str], body: Mapping[str, Any]) -> Literal["side_call", "probe"] | None:
    """Return what kind of call this is that bears its session's name and is no turn of it.

    A title, a web search and the like have no tools that run here; a count of tokens asks for one token.
    """
    if SESSION not in {name.lower() for name in headers}:
        return None
    if body.get("max_tokens") == 1:
        return "probe"
    return None if body.get("tools") else "side_call"
