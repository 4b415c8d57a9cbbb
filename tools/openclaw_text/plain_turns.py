"""The turns of a client that gets calls as text: its calls and results, read as tool calls and tool messages.

Such a client keeps an answer that is a call as the assistant's text, and says in its next turn what came of it. One
result is the turn's whole text. Several are told apart by one of these forms, in the order of the calls or by name:

    [read]                     <tool_response name="read">     [{"name": "read", "output": "..."}]
    ...                        ...                             (a JSON list; `tool_call_id` or no name at all will do)
    [END_TOOL_RESULT]          </tool_response>

or by one message each. What is not told apart goes to the first call, and the others are told so.
"""

import hashlib
import json
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tools.results import Message, ToolResult, text_of

ELSEWHERE = "(The results of these calls came as one text: it is the first one's.)"

_CALL = re.compile(r"\s*\[(?:tool:)?([A-Za-z0-9_-]{1,120})\]\s*(?=\{)")
_CALL_END = re.compile(r"\s*\[(?:END_TOOL_REQUEST|/[A-Za-z0-9_-]{1,120})\]")
_RESULT = re.compile(
    r"\s*(?:\[(?:TOOL_RESULT[: ]?)?([A-Za-z0-9_-]{0,120})\]|<tool_response(?: name=\"([^\"<>]{1,120})\")?>)[ \t]*\n?"
)
_ENDS = ("[END_TOOL_RESULT]", "</tool_response>")
_OUTPUTS = ("output", "content", "result", "text")

type Call = tuple[str, str]
"""A tool's name and its arguments as JSON text."""


@dataclass(frozen=True, slots=True)
class PlainResult:
    """What came of one call. `name` is the tool's, where the client gives it."""

    output: str
    is_error: bool = False
    name: str = ""


def with_calls(messages: Sequence[Message]) -> list[Message]:
    """Return `messages` with tool calls and tool messages in place of calls and results that stand there as text.

    The ids are made up; they are the same whenever the same transcript comes again.
    """
    read: list[Message] = []
    asked: list[dict[str, Any]] = []
    answers: list[Message] = []
    for message in [*messages, {"role": "assistant"}]:
        if message.get("role") in {"user", "tool"} and asked:
            answers.append(message)
            continue
        read += _answered(asked, answers)
        asked, answers = [], []
        calls = read_openclaw_calls(text_of(message.get("content"))) if _may_call(message) else []
        if calls:
            asked = [_call(len(read), position, *call) for position, call in enumerate(calls)]
            message = message | {"content": None, "tool_calls": asked}
        read.append(message)
    return read[:-1]


def read_openclaw_calls(text: str) -> list[Call]:
    """Return the calls of a text that is nothing else, in the form in which OpenClaw executes it; else none."""
    calls: list[Call] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        opener = _CALL.match(text, at)
        try:
            given, at = json.JSONDecoder().raw_decode(text, opener.end()) if opener else (None, at)
        except (ValueError, RecursionError):
            return []
        closer = _CALL_END.match(text, at)
        if not opener or not isinstance(given, dict) or not closer:
            return []
        calls.append((opener.group(1), json.dumps(given, ensure_ascii=False)))
        at = closer.end()
    return calls


def read_openclaw_results(texts: Sequence[str], names: Sequence[str]) -> list[PlainResult]:
    """Return one result for each call, given the tools' `names` in the order of the calls and the turns' `texts`."""
    whole = "\n\n".join(texts)
    for found in (_listed(whole), _marked(whole), [PlainResult(text) for text in texts]):
        if len(found) == len(names) and {result.name for result in found} <= {*names, ""}:
            return _in_order(found, names)
    return [PlainResult(whole), *(PlainResult(ELSEWHERE) for _ in names[1:])]


def _may_call(message: Message) -> bool:
    return message.get("role") == "assistant" and not message.get("tool_calls")


def _call(turn: int, position: int, name: str, arguments: str) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps([turn, position, name, arguments]).encode()).hexdigest()[:24]
    return {"id": f"text{digest}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _answered(asked: Sequence[dict[str, Any]], answers: Sequence[Message]) -> list[Message]:
    """Return the tool messages; a client that has some of its own answers the calls in their order."""
    if not answers:
        return []
    own = [message for message in answers if message.get("role") == "tool"]
    texts = [text_of(message.get("content")) for message in own or answers]
    results = read_openclaw_results(texts, [call["function"]["name"] for call in asked])
    told = [
        ToolResult(tool_call_id=call["id"], output=result.output, is_error=result.is_error).to_message()
        for call, result in zip(asked, results, strict=True)
    ]
    return [*told, *(message for message in answers if own and message.get("role") == "user")]


def _listed(text: str) -> list[PlainResult]:
    """Read a JSON object or list of results, or the body's `tool_results` as a text."""
    if text.lstrip()[:1] not in {"{", "["}:
        return []
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if isinstance(given, dict):
        given = given.get("tool_results", [given])
    entries = given if isinstance(given, list) else []
    results = [result for entry in entries if (result := _entry(entry))]
    return results if len(results) == len(entries) else []


def _entry(entry: object) -> PlainResult | None:
    if not isinstance(entry, dict) or not (entry.keys() & {"name", "tool", "tool_call_id"}):
        return None
    key = next((key for key in _OUTPUTS if key in entry), None)
    if key is None:
        return None
    output = entry[key] if isinstance(entry[key], str) else json.dumps(entry[key], ensure_ascii=False)
    return PlainResult(output, entry.get("is_error") is True, str(entry.get("name") or entry.get("tool") or ""))


def _marked(text: str) -> list[PlainResult]:
    """Read results between marks, with nothing else beside them: an output may hold such marks too."""
    results: list[PlainResult] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        opener = _RESULT.match(text, at)
        closer = _ENDS[opener.group(0).lstrip().startswith("<")] if opener else ""
        found = text.find(closer, opener.end()) if opener else -1
        if opener is None or found < 0:
            return []
        output = text[opener.end() : found].removesuffix("\n")
        results.append(PlainResult(output, name=opener.group(1) or opener.group(2) or ""))
        at = found + len(closer)
    return results


def _in_order(found: Sequence[PlainResult], names: Sequence[str]) -> list[PlainResult]:
    """Return the results in the order of the calls: by name where each is named, else as they came."""
    if sorted(result.name for result in found) != sorted(names):
        return list(found)
    left: dict[str, deque[PlainResult]] = {}
    for result in found:
        left.setdefault(result.name, deque()).append(result)
    return [left[name].popleft() for name in names]
