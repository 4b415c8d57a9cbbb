"""Results that come in the body's `tool_results`, beside the transcript, put where they belong in it.

    "tool_results": [{"tool_call_id": "call...", "output": "...", "is_error": false}]

A client may send the results of all its turns each time, or results alone without any transcript.
"""

import re
from collections.abc import Sequence

from bridge.errors import InvalidRequest
from bridge.runs.breath import in_pieces
from bridge.store import Store
from bridge.store.rows import TicketRow
from tools.calls import assistant_message
from tools.results import Message, ToolResult, text_of

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
    results = {str(m.get("tool_call_id")): m for m in reversed(messages) if m.get("role") == "tool"}
    transcript: list[Message] = []
    asked: list[int] = []
    answered: list[int] = []
    text: list[str] = []
    for message in in_pieces(messages):
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
    last = max((index for index, m in enumerate(messages) if m.get("role") == "assistant"), default=None)
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
    texts[-1], words = _with_words_apart(texts[-1])
    if len(texts) != len(calls):
        texts = ["\n".join(texts), *["(with the result of the first call)"] * (len(calls) - 1)]
    results = [
        ToolResult(tool_call_id=call.id, output=text).to_message() for call, text in zip(calls, texts, strict=True)
    ]
    return [*messages[:last], assistant_message(None, calls), *results, *words]


def _with_words_apart(text: str) -> tuple[str, list[Message]]:
    """Return what came of calls, and the user's next words, which smolagents writes into the same message."""
    found = _NEXT_WORDS.search(text)
    if found is None:
        return text, []
    return text[: found.start()], [{"role": "user", "content": text[found.start() + 1 :]}]


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
            f"no call is known under {', '.join(open_results)}: neither messages nor an open ticket asked for it",
            code="unknown_tool_call_id",
            param="tool_results[0].tool_call_id",
        )
    return transcript
