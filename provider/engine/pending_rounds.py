"""The client's rounds between two calls of the tools that Dify itself runs.

An Agent node calls its model once for each round of its own tools, and tells it only of those. What the client's tools
answered meanwhile is kept here, by the id of the call with which the model went back to Dify, and put where it belongs
when the node comes back with that call. It lives as long as this process; where it is lost, the model asks once more.
"""

from collections.abc import Sequence

from tools.calls import ToolCall
from tools.carried import with_extras
from tools.results import Message

_MOST = 500

_carried: dict[str, Message] = {}
"""What the upstream wants back with a message, by the id of its first call: Dify knows nothing of it."""

_rounds: dict[str, list[Message]] = {}


def keep(messages: Sequence[Message], calls: Sequence[ToolCall], carried: Message | None = None) -> None:
    """Keep `messages`, and what is `carried` with the calls, until the node comes back with these."""
    if calls and messages:
        _put(_rounds, calls[0].id, list(messages))
    if calls and carried:
        _put(_carried, calls[0].id, carried)


def _put[T](kept: dict[str, T], call_id: str, value: T) -> None:
    if len(kept) >= _MOST:
        del kept[next(iter(kept))]
    kept[call_id] = value


def with_carried(messages: Sequence[Message]) -> list[Message]:
    """Return Dify's `messages` with the rounds in between."""
    whole: list[Message] = []
    for message in messages:
        calls = message.get("tool_calls") or ()
        for call in calls if message.get("role") == "assistant" else ():
            whole += _rounds.get(str(call.get("id")), [])
        first = str(calls[0].get("id")) if calls else ""
        whole.append(with_extras(message, _carried[first]) if first in _carried else message)
    return whole
