"""What a node says of its calls when it ends with them instead of waiting for their results."""

from collections.abc import Iterable

from tools.calls import ToolCall, arguments_of
from tools.openclaw_text.writer import write_openclaw_calls


def calls_text(calls: Iterable[ToolCall]) -> str:
    """Return the text of these calls. Their arguments must be JSON objects, as those of a ticket are."""
    return write_openclaw_calls([(call.name, arguments_of(call.arguments) or {}) for call in calls])


def stopping_text(shown: str, calls: Iterable[ToolCall]) -> str:
    """Return what a node that has `shown` this text says of its calls.

    The plugin says it to Dify, and the bridge takes exactly it out of the answer again: the client gets the calls.
    """
    text = calls_text(calls)
    return f"\n{text}" if shown and not shown.endswith("\n") else text
