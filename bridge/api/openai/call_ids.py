"""Finds the ids of a turn's calls again, for clients that do not keep them.

A client of functions knows no ids, one that reads calls from text makes up its own, OpenClaw rewrites those of
responses, and Home Assistant's Extended OpenAI Conversation can be told to shorten them for Mistral. All repeat what
was called and with which arguments (but for some clients of functions), in the order in which it was asked for.
"""

import json
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from bridge.api.openai.legacy import UNKNOWN_ARGUMENTS
from bridge.runs.breath import in_pieces
from bridge.runs.sessions.openclaw import last_user_index
from bridge.runs.sessions.sessions import Session, turn_key
from bridge.store import Store
from bridge.store.rows import CallRow, RunRow
from tools.results import Message, ToolResult


def with_our_ids(store: Store, client: str, session: Session, model: str, messages: Sequence[Message]) -> list[Message]:
    """Return `messages` in which the calls of the turn in progress have the ids that the bridge gave them."""
    user = last_user_index(messages)
    begun, tail = ([], messages) if user is None else (messages[: user + 1], messages[user + 1 :])
    given = {call["id"] for message in tail for call in message.get("tool_calls") or ()}
    known = {call.id for ticket in store.tickets_of_calls(sorted(given), client) for call in ticket.client_calls}
    run = _run_of(store, turn_key(session, model, begun)) if given - known else None
    tickets = store.tickets_of_run(run.id) if run else []
    ours = [call for ticket in tickets for call in ticket.client_calls if call.id not in given]
    return [*_renamed(begun, known, []), *_renamed(tail, known, ours)]


def results_with_our_ids(
    store: Store, client: str, session: Session, model: str, messages: Sequence[Message], results: Sequence[ToolResult]
) -> list[ToolResult]:
    """Return `results` whose own ids nobody knows under those of the calls that wait for them, in their order."""
    user = last_user_index(messages)
    if user is None or not results or store.tickets_of_calls([result.tool_call_id for result in results], client):
        return list(results)
    run = _run_of(store, turn_key(session, model, messages[: user + 1]))
    open_tickets = store.tickets_of_run(run.id, "open") if run else []
    waiting = open_tickets[0].unanswered() if open_tickets else []
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


def _renamed(messages: Sequence[Message], known: Collection[str], ours: Sequence[CallRow]) -> Iterator[Message]:
    ids: dict[str, deque[str]] = {}
    answered: dict[str, str] = {}
    waiting = _Waiting(ours)

    def renamed(call: dict[str, Any]) -> dict[str, Any]:
        if call["id"] in known and call["function"]["arguments"]:
            return call
        arguments = call["function"]["arguments"]
        row = None if call["id"] in known else waiting.take(call["function"]["name"], arguments)
        new = call["id"]
        if row is not None:
            new, arguments = row.id, arguments or row.arguments
            ids.setdefault(call["id"], deque()).append(new)
        return call | {"id": new, "function": call["function"] | {"arguments": arguments or "{}"}}

    def answers(given: str) -> str:
        """Several calls may have lost their ids, or have the same: their results come in their order."""
        if waiting_for := ids.get(given):
            answered[given] = waiting_for.popleft()
        return answered.get(given, given)

    for message in in_pieces(messages):
        calls = message.get("tool_calls")
        if calls:
            yield _changed(message, "tool_calls", [renamed(call) for call in calls])
        elif message.get("role") == "tool":
            yield _changed(message, "tool_call_id", answers(str(message.get("tool_call_id"))))
        else:
            yield message


def _changed(message: Message, name: str, value: object) -> Message:
    return message if message[name] == value else message | {name: value}


class _Waiting:
    """Calls that nobody has named yet, in the order in which they were asked for."""

    def __init__(self, rows: Sequence[CallRow]) -> None:
        self._by_name: dict[str, deque[CallRow]] = {}
        self._by_call: dict[tuple[str, str], deque[CallRow]] = {}
        self._taken: set[str] = set()
        for row in rows:
            self._by_name.setdefault(row.name, deque()).append(row)
            self._by_call.setdefault((row.name, _value(row.arguments)), deque()).append(row)

    def take(self, name: str, arguments: str) -> CallRow | None:
        """Take the first call of this name with these arguments, or with any where they are not known."""
        unknown = arguments == UNKNOWN_ARGUMENTS
        rows = self._by_name.get(name) if unknown else self._by_call.get((name, _value(arguments)))
        while rows:
            row = rows.popleft()
            if row.id not in self._taken:
                self._taken.add(row.id)
                return row
        return None


def _value(arguments: str) -> str:
    """Return a text that is the same for arguments that mean the same."""
    try:
        return json.dumps(json.loads(arguments or "{}", parse_float=_number), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number
