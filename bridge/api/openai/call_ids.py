"""Finds the ids of a turn's calls again, for clients that do not keep them, and results wherever they stand.

A client of functions knows no ids, one that reads calls from text makes up its own, OpenClaw rewrites those of
responses, and Home Assistant's Extended OpenAI Conversation can be told to shorten them for Mistral. All repeat what
was called and with which arguments (but for some clients of functions), in the order in which it was asked for.
"""

import json
import re
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from bridge.api.openai.legacy import UNKNOWN_ARGUMENTS
from bridge.errors import InvalidRequest
from bridge.runs.services import in_pieces
from bridge.runs.sessions.openclaw import last_user_index
from bridge.runs.sessions.sessions import Session, turn_key
from bridge.runs.sessions.turn import first_of
from bridge.runs.transcripts import grown
from bridge.store.rows import CallRow, RunRow, TicketRow
from bridge.store.store import Store
from tools.calls import assistant_message
from tools.results import Message, ToolResult, text_of


def with_our_ids(
    store: Store, client: str, session: Session, model: str, messages: Sequence[Message]
) -> Sequence[Message]:
    """Return `messages` in which the calls of the turn in progress have the ids that the bridge gave them."""
    user = last_user_index(messages)
    begun, tail = ([], messages) if user is None else (messages[: user + 1], messages[user + 1 :])
    given = {call["id"] for message in tail for call in message.get("tool_calls") or ()}
    known = {call.id for ticket in store.tickets_of_calls(sorted(given), client) for call in ticket.client_calls}
    if given <= known and not _lack_arguments(messages):
        return messages
    run = _run_of(store, turn_key(session, model, begun)) if given - known else None
    tickets = store.tickets_of_run(run.id) if run else []
    ours = [call for ticket in tickets for call in ticket.client_calls if call.id not in given]
    before = _renamed(begun, known, []) if _lack_arguments(begun) else begun
    return [*before, *_renamed(tail, known, ours)]


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


@grown(False)
def _lack_arguments(before: bool, messages: Sequence[Message], count: int) -> bool:
    calls = (call for message in messages[count:] for call in message.get("tool_calls") or ())
    return before or not all(call["function"]["arguments"] for call in calls)


def _renamed(messages: Sequence[Message], known: Collection[str], ours: Sequence[CallRow]) -> Iterator[Message]:
    ids: dict[str, deque[str]] = {}
    answered: dict[str, str] = {}
    waiting = _Waiting(ours)

    def renamed(call: dict[str, Any]) -> dict[str, Any]:
        arguments = call["function"]["arguments"]
        row = None if call["id"] in known else waiting.take(call["function"]["name"], arguments)
        if row is None and arguments:
            return call
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
        if name not in self._by_name:
            return None
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


_OWN_ID = re.compile(r"\bcall[0-9a-z]{24}\b")
_NEXT_WORDS = re.compile(r"\nNew task:\n")

_LONGEST_STAND_IN = 400
_STAND_IN = re.compile(
    r"missing (tool |function )?(call )?(result|output)|(result|output)s? (is |was |were )?(missing|not found)"
    r"|no (tool |function )?(result|output|response)( (was |is )?(provided|recorded|available|found|received))?\b"
    r"|synthetic|interrupted|aborted|cancell?ed|skipped|did not (complete|finish|return)|never (finished|ran)",
    re.IGNORECASE,
)


def is_stand_in(output: str) -> bool:
    """Say whether a client wrote this where it has no result: it reads so, and is too short for much else."""
    return len(output) <= _LONGEST_STAND_IN and _STAND_IN.search(output) is not None


def gathered(messages: Sequence[Message], ticket: TicketRow) -> list[Message]:
    """Return `messages` with a ticket's round as one message of all its calls and the results behind it.

    Clients tear rounds apart, one call a message, cut the calls away, or put results before them.
    """
    own = {call.id: call.call() for call in ticket.client_calls}
    first = first_of(messages, own.keys())
    round_ = messages[first:]
    results = {str(m.get("tool_call_id")): m for m in reversed(round_) if m.get("role") == "tool"}
    transcript = list(messages[:first])
    asked: list[int] = []
    answered: list[int] = []
    text: list[str] = []
    for message in in_pieces(round_):
        calls = message.get("tool_calls") or ()
        others = [call for call in calls if call["id"] not in own]
        if message.get("role") == "tool" and message.get("tool_call_id") in own:
            answered.append(len(transcript))
        elif len(others) == len(calls):
            transcript.append(message)
        else:
            asked.append(len(transcript))
            if others:
                transcript.append(message | {"tool_calls": others})
            elif message.get("content"):
                text.append(str(message["content"]))
    asking = assistant_message("\n".join(text) or ticket.content, list(own.values()))
    place = min(asked or answered, default=len(transcript))
    transcript[place:place] = [asking, *(results[call_id] for call_id in own if call_id in results)]
    return transcript


def read_from_text(store: Store, client: str, messages: Sequence[Message]) -> Sequence[Message]:
    """Return `messages` with the last round as calls and results, where a client keeps both as text.

    smolagents does: it writes calls with their ids into the assistant's text, and what came of them into the user's.
    """
    last = next((n for n in reversed(range(len(messages))) if messages[n].get("role") == "assistant"), None)
    if last is None or messages[last].get("tool_calls"):
        return messages
    ids = list(dict.fromkeys(_OWN_ID.findall(text_of(messages[last].get("content")))))
    behind = messages[last + 1 :]
    if not ids or not behind or any(message.get("role") != "user" for message in behind):
        return messages
    tickets = store.tickets_of_calls(ids, client)
    calls = [call.call() for call in tickets[-1].client_calls] if tickets else []
    if not calls or not {call.id for call in calls} <= set(ids):
        return messages
    texts = [text_of(message.get("content")) for message in behind]
    media = [part for message in behind for part in _media(message.get("content"))]
    texts[-1], words = _with_words_apart(texts[-1], media)
    if len(texts) != len(calls):
        texts = ["\n".join(texts), *["(with the result of the first call)"] * (len(calls) - 1)]
    results = [
        ToolResult(tool_call_id=call.id, output=text).to_message() for call, text in zip(calls, texts, strict=True)
    ]
    return [*messages[:last], assistant_message(None, calls), *results, *words]


def _media(content: object) -> list[Any]:
    return [part for part in content if part["type"] != "text"] if isinstance(content, list) else []


def _with_words_apart(text: str, media: Sequence[Any]) -> tuple[str, list[Message]]:
    """Return what came of calls, and the user's next words, which smolagents writes into the same message.

    Pictures are the words' or the results': behind the results the model sees them either way.
    """
    found = _NEXT_WORDS.search(text)
    words = text[found.start() + 1 :] if found else ""
    content = [*([{"type": "text", "text": words}] if words else []), *media] if media else words
    return text[: found.start()] if found else text, [{"role": "user", "content": content}] if content else []


def woven(store: Store, client: str, messages: Sequence[Message], results: Sequence[ToolResult]) -> list[Message]:
    """Return `messages` with `results` in it as tool messages, behind the calls that they answer.

    Where the transcript does not hold the calls, those of the newest ticket that is meant are added at its end, and
    results that belong to neither are left out. Raises InvalidRequest where none belongs anywhere.
    """
    answered = {message.get("tool_call_id") for message in messages if message.get("role") == "tool"}
    open_results = {result.tool_call_id: result for result in results if result.tool_call_id not in answered}
    transcript: list[Message] = []
    asked: set[str] = set()
    for message in in_pieces(messages):
        transcript.append(message)
        ids = [call["id"] for call in message.get("tool_calls") or ()]
        asked.update(ids)
        transcript.extend(open_results.pop(call_id).to_message() for call_id in ids if call_id in open_results)
    if not open_results:
        return transcript
    tickets = store.tickets_of_calls(list(open_results), client)
    if tickets:
        calls = [call.call() for call in tickets[-1].client_calls]
        transcript.append(assistant_message(tickets[-1].content, calls))
        transcript.extend(open_results[call.id].to_message() for call in calls if call.id in open_results)
    elif len(open_results) == len(results):
        raise InvalidRequest(
            f"no call in the transcript or in an open ticket has the id {', '.join(open_results)}",
            code="unknown_tool_call_id",
            param="tool_results[0].tool_call_id",
        )
    return transcript
