"""Finds the ids of a turn's calls again, for clients that do not keep them.

A client of functions knows no ids, one that reads calls from text makes up its own, and OpenClaw rewrites those of
responses. All repeat what was called and with which arguments, in the order in which it was asked for.
"""

import json
from collections.abc import Sequence
from typing import Any

from bridge.openclaw import last_user_index
from bridge.sessions import turn_key
from bridge.store import Store
from bridge.store.rows import CallRow
from tools.results import Message, ToolResult


def with_our_ids(store: Store, session: str | None, model: str, messages: Sequence[Message]) -> list[Message]:
    """Return `messages` in which the calls of the turn in progress have the ids that the bridge gave them."""
    user = last_user_index(messages)
    if user is None:
        return list(messages)
    begun, tail = messages[: user + 1], messages[user + 1 :]
    run = store.latest_run_of_turn(turn_key(session, model, begun))
    if run is None:
        return list(messages)
    ours = [call for ticket in store.tickets_of_run(run.id) for call in ticket.calls]
    return [*begun, *_renamed(tail, ours)]


def results_with_our_ids(
    store: Store, session: str | None, model: str, messages: Sequence[Message], results: Sequence[ToolResult]
) -> list[ToolResult]:
    """Return `results` whose own ids nobody knows under those of the calls that wait for them, in their order."""
    user = last_user_index(messages)
    if user is None or store.tickets_of_calls([result.tool_call_id for result in results]):
        return list(results)
    run = store.latest_run_of_turn(turn_key(session, model, messages[: user + 1]))
    open_tickets = store.tickets_of_run(run.id, "open") if run else []
    waiting = open_tickets[0].missing() if open_tickets else []
    if len(waiting) != len(results):
        return list(results)
    return [
        result.model_copy(update={"tool_call_id": call_id}) for call_id, result in zip(waiting, results, strict=True)
    ]


def _renamed(messages: Sequence[Message], ours: list[CallRow]) -> list[Message]:
    ids: dict[str, str] = {}
    renamed: list[Message] = []
    for message in messages:
        calls = message.get("tool_calls")
        if calls:
            for call in calls:
                position = next((i for i, known in enumerate(ours) if _is_same(call, known)), None)
                if position is not None:
                    ids[call["id"]] = ours.pop(position).id
            message = message | {"tool_calls": [call | {"id": ids.get(call["id"], call["id"])} for call in calls]}
        elif message.get("role") == "tool":
            given = str(message.get("tool_call_id"))
            message = message | {"tool_call_id": ids.get(given, given)}
        renamed.append(message)
    return renamed


def _is_same(call: dict[str, Any], known: CallRow) -> bool:
    if call["id"] == known.id:
        return True
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    return bool(name == known.name and _value(arguments) == _value(known.arguments))


def _value(arguments: str) -> Any:
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments
