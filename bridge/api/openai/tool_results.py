"""Results that come in the body's `tool_results`, beside the transcript, put where they belong in it.

    "tool_results": [{"tool_call_id": "call...", "output": "...", "is_error": false}]

A client may send the results of all its turns each time, or results alone without any transcript.
"""

from collections.abc import Sequence

from bridge.errors import InvalidRequest
from bridge.runs.breath import in_pieces
from bridge.store import Store
from tools.calls import assistant_message
from tools.results import Message, ToolResult


def woven(store: Store, messages: Sequence[Message], results: Sequence[ToolResult]) -> list[Message]:
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
    tickets = store.tickets_of_calls(list(open_results))
    if tickets:
        calls = [call.call() for call in tickets[-1].calls]
        transcript.append(assistant_message(tickets[-1].content, calls))
        transcript.extend(open_results[call.id].to_message() for call in calls if call.id in open_results)
    elif len(open_results) == len(results):
        raise InvalidRequest(
            f"no call is known under {', '.join(open_results)}: neither messages nor an open ticket asked for it",
            code="unknown_tool_call_id",
            param="tool_results[0].tool_call_id",
        )
    return transcript
