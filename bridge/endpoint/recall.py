"""Finds the ids of a turn's calls again, for clients that do not keep them.

A client of functions knows no ids, one that reads calls from text makes up its own, OpenClaw rewrites those of
responses, and Home Assistant's Extended OpenAI Conversation can be told to shorten them for Mistral. All repeat what
was called and with which arguments (but for some clients of functions), in the order in which it was asked for.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from bridge.endpoint.legacy import UNKNOWN_ARGUMENTS
from bridge.openclaw import last_user_index
from bridge.sessions import Session, turn_key
from bridge.store import Store
from bridge.store.rows import CallRow, RunRow
from tools.results import Message, ToolResult


def with_our_ids(store: Store, session: Session, model: str, messages: Sequence[Message]) -> list[Message]:
    """Return `messages` in which the calls of the turn in progress have the ids that the bridge gave them."""
    user = last_user_index(messages)
    begun, tail = ([], messages) if user is None else (messages[: user + 1], messages[user + 1 :])
    given = {call["id"] for message in tail for call in message.get("tool_calls") or ()}
    known = {call.id for ticket in store.tickets_of_calls(sorted(given)) for call in ticket.calls}
    run = _run_of(store, turn_key(session, model, begun)) if given - known else None
    tickets = store.tickets_of_run(run.id) if run else []
    ours = [call for ticket in tickets for call in ticket.calls if call.id not in given]
    return [*_renamed(begun, known, []), *_renamed(tail, known, ours)]


def results_with_our_ids(
    store: Store, session: Session, model: str, messages: Sequence[Message], results: Sequence[ToolResult]
) -> list[ToolResult]:
    """Return `results` whose own ids nobody knows under those of the calls that wait for them, in their order."""
    user = last_user_index(messages)
    if user is None or store.tickets_of_calls([result.tool_call_id for result in results]):
        return list(results)
    run = _run_of(store, turn_key(session, model, messages[: user + 1]))
    open_tickets = store.tickets_of_run(run.id, "open") if run else []
    waiting = open_tickets[0].missing() if open_tickets else []
    if len(waiting) != len(results):
        return list(results)
    return [
        result.model_copy(update={"tool_call_id": call_id}) for call_id, result in zip(waiting, results, strict=True)
    ]


def _run_of(store: Store, turn_key: str) -> RunRow | None:
    """Find the run of a turn. Several clients who say the same at the same time cannot be told apart: none is it."""
    runs = store.runs_of_turn(turn_key)
    waiting = [run for run in runs if run.state in {"running", "suspended"}] or runs
    return waiting[0] if len(waiting) == 1 else None


def _renamed(messages: Sequence[Message], known: Collection[str], ours: list[CallRow]) -> Iterator[Message]:
    ids: dict[str, str] = {}

    def renamed(call: dict[str, Any]) -> dict[str, Any]:
        arguments = call["function"]["arguments"]
        position = next((i for i, row in enumerate(ours) if _is_same(call, row)), None)
        if call["id"] not in known and position is not None:
            row = ours.pop(position)
            ids[call["id"]] = row.id
            arguments = arguments or row.arguments
        function = call["function"] | {"arguments": arguments or "{}"}
        return call | {"id": ids.get(call["id"], call["id"]), "function": function}

    for message in messages:
        calls = message.get("tool_calls")
        if calls:
            yield message | {"tool_calls": [renamed(call) for call in calls]}
        elif message.get("role") == "tool":
            given = str(message.get("tool_call_id"))
            yield message | {"tool_call_id": ids.get(given, given)}
        else:
            yield message


def _is_same(call: dict[str, Any], row: CallRow) -> bool:
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    return bool(name == row.name and (arguments == UNKNOWN_ARGUMENTS or _value(arguments) == _value(row.arguments)))


def _value(arguments: str) -> Any:
    try:
        return json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments
