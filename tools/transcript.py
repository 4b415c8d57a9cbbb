"""A conversation in OpenAI's form: repaired, and merged with a node's own prompt.

OpenAI-compatible servers answer orphans with 400: a call without its result, a result without its call, an id that
occurs twice, an image in a result. Clients' histories have all of these, since they compact, retry and rewrite.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from tools.fingerprint import text_digest
from tools.results import Message, ToolResult, images_message, text_of

NO_RESULT = "(no result: this call was interrupted before its tool answered)"
_LEADING = {"system", "developer"}
_LONGEST_ID = 40


def repair(messages: Iterable[Message]) -> list[Message]:
    """Return `messages` so that every call has exactly one result directly after it, and every id occurs once.

    A call that was never answered gets `NO_RESULT`, a result without a call is dropped, and of two results for one
    call the first counts. An id that an earlier turn used already gets a suffix, and one that is longer than OpenAI
    takes (40 characters) another name, in the call and in its result.
    """
    given = [dict(message) for message in messages]
    used: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    repaired: list[Message] = []
    position = 0
    while position < len(given):
        message = given[position]
        position += 1
        role = message.get("role")
        if role == "tool":
            continue
        calls = _function_calls(message) if role == "assistant" else []
        if not calls:
            if role == "assistant":
                message.pop("tool_calls", None)
                if not text_of(message.get("content")):
                    continue
            repaired.append(message)
            continue
        results = _results_after(given, position)
        renamed, answers, shown = [], [], []
        for call in calls:
            old = str(call.get("id") or "call")
            short = old if len(old) <= _LONGEST_ID else _shortened(old)
            used[short] += 1
            new = short if used[short] == 1 else _free_id(short, used, numbers)
            renamed.append(call | {"id": new})
            waiting = results.get(old)
            content = waiting.popleft().get("content") if waiting else NO_RESULT
            result = _result(new, content)
            shown.append(result)
            answers.append(result.to_message())
        repaired.append(message | {"tool_calls": renamed, "content": message.get("content") or None})
        repaired.extend(answers)
        if images := images_message(shown):
            repaired.append(images)
    return repaired


def _result(call_id: str, content: Any) -> ToolResult:
    try:
        return ToolResult.model_validate({"tool_call_id": call_id, "output": content})
    except ValueError:
        return ToolResult(tool_call_id=call_id, output=text_of(content))


def _function_calls(message: Message) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return []
    return [call for call in calls if isinstance(call, dict) and (call.get("function") or {}).get("name")]


def _results_after(messages: Sequence[Message], start: int) -> dict[str, deque[Message]]:
    """Collect the tool messages between here and the next assistant message that asks for tools, by call id."""
    found: dict[str, deque[Message]] = {}
    for position in range(start, len(messages)):
        message = messages[position]
        if message.get("role") == "assistant" and _function_calls(message):
            break
        if message.get("role") == "tool":
            found.setdefault(str(message.get("tool_call_id") or "call"), deque()).append(message)
    return found


def _shortened(call_id: str) -> str:
    return f"call{hashlib.sha256(call_id.encode()).hexdigest()[:24]}"


def _free_id(taken: str, used: Counter[str], numbers: Counter[str]) -> str:
    """Return `taken` with a number. `numbers` is where the search for the next one begins: it is never done twice."""
    beginning = taken[:36]
    number = max(used[taken], numbers[beginning])
    while used[f"{beginning}{number}"]:
        number += 1
    used[f"{beginning}{number}"] += 1
    numbers[beginning] = number + 1
    return f"{beginning}{number}"


def merge(
    node: Sequence[Message],
    client: Sequence[Message],
    turn: int | None,
    query: str,
    past_queries: Collection[str] = (),
) -> list[Message]:
    """Return what the model sees: the node's prompt and the client's transcript as one conversation.

    The node's rendered system messages come first, then the client's. Turns that stand in the node's prompt alone
    (few-shot examples) follow; turns that Dify's memory added are dropped, recognised by `past_queries`, the
    `text_digest`s of this conversation's earlier queries. Then comes the client's transcript, in which the node's
    last user message replaces `client[turn]` where the node's template made something else of `query`.
    """
    if not client:
        return list(node)
    past_queries = frozenset(past_queries)
    node_system, node_turns, node_last = _parts(node)
    leading = [message for message in client if message.get("role") in _LEADING]
    rest = [
        _with_node_message(message, node_last, query) if index == turn else message
        for index, message in enumerate(client)
        if message.get("role") not in _LEADING
    ]
    return [*node_system, *leading, *_without_memory(node_turns, past_queries), *rest]


def _parts(node: Sequence[Message]) -> tuple[list[Message], list[Message], Message | None]:
    system = [message for message in node if message.get("role") in _LEADING]
    turns = [message for message in node if message.get("role") not in _LEADING]
    last = turns.pop() if turns and turns[-1].get("role") == "user" else None
    return system, turns, last


def _without_memory(turns: Sequence[Message], past_queries: Collection[str]) -> list[Message]:
    kept: list[Message] = []
    dropping = False
    for message in turns:
        if message.get("role") == "user":
            dropping = text_digest(text_of(message.get("content"))) in past_queries
        if not dropping:
            kept.append(message)
    return kept


def _with_node_message(own: Message, node_last: Message | None, query: str) -> Message:
    if node_last is None or text_of(node_last.get("content")).strip() == query.strip():
        return own
    content, other = node_last.get("content"), own.get("content")
    media = [part for part in other if part.get("type") != "text"] if isinstance(other, list) else []
    if isinstance(content, str) and media:
        content = [{"type": "text", "text": content}, *media]
    return node_last | {"content": content}
