"""The client's rounds between two calls of the tools that Dify itself runs.

An Agent node calls its model once for each round of its own tools, and tells it only of those. What the client's tools
answered meanwhile is kept here, by the id of the call with which the model went back to Dify, and put where it belongs
when the node comes back with that call. It lives as long as this process; where it is lost, the model asks once more.
"""

from collections.abc import Sequence

from tools.calls import ToolCall
from tools.results import Message

_MOST = 500

_rounds: dict[str, list[Message]] = {}


def keep(messages: Sequence[Message], calls: Sequence[ToolCall]) -> None:
    """Keep `messages` until the node comes back with these calls."""
    if not messages or not calls:
        return
    if len(_rounds) >= _MOST:
        del _rounds[next(iter(_rounds))]
    _rounds[calls[0].id] = list(messages)


def with_carried(messages: Sequence[Message]) -> list[Message]:
    """Return Dify's `messages` with the rounds in between."""
    whole: list[Message] = []
    for message in messages:
        calls = message.get("tool_calls") or ()
        for call in calls if message.get("role") == "assistant" else ():
            whole += _rounds.get(str(call.get("id")), [])
        whole.append(message)
    return whole
