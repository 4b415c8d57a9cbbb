"""How many messages and tools a request may hold: everything that is done with one takes time for each.

They are counted before anything else is looked at, in the body as it came.
"""

from collections.abc import Mapping
from typing import Any

from bridge.config import Limits
from bridge.errors import InvalidRequest
from bridge.runs.breath import in_pieces

_PARTS = ("content", "tool_calls", "output")


def check_sizes(body: Mapping[str, Any], limits: Limits) -> None:
    """Raise InvalidRequest where the body holds more than the limits allow."""
    for field in ("messages", "input", "tool_results"):
        check_messages(_messages_in(body.get(field)), limits, field)
    for field in ("tools", "functions"):
        check_tools(_count(body.get(field)), limits, field)
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        check_tools(_count(choice.get("tools")), limits, "tool_choice.tools")
        allowed = choice.get("allowed_tools")
        if isinstance(allowed, dict):
            check_tools(_count(allowed.get("tools")), limits, "tool_choice.allowed_tools.tools")


def check_messages(count: int, limits: Limits, field: str) -> None:
    """Raise InvalidRequest where there are too many messages in the field."""
    if count > limits.messages:
        raise InvalidRequest(
            f"{field}: there are {count} messages and further parts and calls of these, and at most {limits.messages} "
            "are taken (limits.messages): send fewer, as a summary of the earlier ones",
            code="too_many_messages",
            param=field,
        )


def check_tools(count: int, limits: Limits, field: str) -> None:
    """Raise InvalidRequest where there are too many tools in the field."""
    if count > limits.tools:
        raise InvalidRequest(
            f"{field}: there are {count} tools, and at most {limits.tools} are taken (limits.tools): offer fewer",
            code="too_many_tools",
            param=field,
        )


def _messages_in(messages: Any) -> int:
    """Count messages, or items; one of several parts or calls counts as often as it has any."""
    return sum(map(_pieces_of, in_pieces(messages))) if isinstance(messages, list) else 0


def _pieces_of(message: Any) -> int:
    return max(1, sum(_count(message.get(field)) for field in _PARTS)) if isinstance(message, dict) else 1


def _count(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0
