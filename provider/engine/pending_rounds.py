"""The client's rounds between two calls of the tools that Dify itself runs.

An Agent node calls its model once for each round of its own tools, and tells it only of those. What the client's tools
answered meanwhile is kept here, by the id of the call with which the model went back to Dify, or by the run and its
prompt where that call was a text, and put where it belongs when the node comes back. It lives as long as this process;
where it is lost, the model asks once more.
"""

from collections.abc import Sequence

from tools.calls import ToolCall
from tools.carried import with_extras
from tools.results import Message

_MOST = 1_000
_EXTRAS = "extras of "

_kept: dict[str, Sequence[Message]] = {}


def keep(messages: Sequence[Message], calls: Sequence[ToolCall], carried: Message | None = None) -> None:
    """Keep `messages`, and what is `carried` with the calls, until the node comes back with these.

    What is carried the upstream wants back with the message; Dify knows nothing of it.
    """
    for call in calls[:1]:
        keep_as(call.id, messages)
        keep_as(_EXTRAS + call.id, [carried] if carried else [])


def keep_as(name: str, messages: Sequence[Message]) -> None:
    """Keep `messages` instead of what was kept under this name."""
    _kept.pop(name, None)
    if messages:
        _kept[name] = messages
    if len(_kept) > _MOST:
        del _kept[next(iter(_kept))]


def kept_as(name: str) -> Sequence[Message]:
    """Return what was kept."""
    return _kept.get(name, ())


def with_carried(messages: Sequence[Message]) -> list[Message]:
    """Return Dify's `messages` with the rounds in between."""
    whole: list[Message] = []
    for message in messages:
        ids = [str(call.get("id")) for call in message.get("tool_calls") or ()]
        for call_id in ids if message.get("role") == "assistant" else ():
            whole += kept_as(call_id)
        for extras in kept_as(_EXTRAS + ids[0]) if ids else ():
            message = with_extras(message, extras)
        whole.append(message)
    return whole
