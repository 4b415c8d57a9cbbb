"""What a client gets from `/v1/chat/completions`: one body, or chunks.

Source: OpenAI's API reference, chat completions and its streaming events.
"""

import json
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, Literal

from bridge.runs.segments import Calls, Citation, Draft, End, Event, Failure, Reasoning, Text
from tools.calls import ToolCall, arguments_of
from tools.ids import random_name
from tools.openclaw_text.writer import write_openclaw_calls
from tools.wire import Usage

DONE = "data: [DONE]\n\n"
_ARGUMENTS_PIECE = 4096

CallForm = Literal["tools", "function", "text"]
"""How a client takes calls: as `tool_calls`, one at a time as `function_call`, or in the text as OpenClaw reads it."""


def as_text(events: Generator[Event | None]) -> Generator[Event | None]:
    """Write calls as text. OpenClaw runs them only where they are the whole answer, so text before them is left out."""
    held: list[Event | None] = []
    with closing(events):
        for event in events:
            match event:
                case Text():
                    held.append(event)
                case Calls():
                    calls = [(call.name, arguments_of(call.arguments) or {}) for call in event.calls]
                    held = [Text(write_openclaw_calls(calls))]
                case End():
                    yield from held
                    reason = "stop" if event.finish_reason == "tool_calls" else event.finish_reason
                    yield End(reason, event.usage, event.note, event.citations)
                case Draft():
                    pass
                case _:
                    yield event


def usage_body(usage: Usage) -> dict[str, int]:
    """Return OpenAI's `usage` object."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def url_citation(citation: Citation, length: int) -> dict[str, Any]:
    """Return a citation in OpenAI's words. Dify does not say of which words: it stands at the end of the text."""
    place = {"start_index": length, "end_index": length}
    return {**place, "title": citation.title, "url": citation.url}


def annotations_of(end: End, length: int) -> list[dict[str, Any]]:
    """Return the annotations of a text of this length."""
    return [{"type": "url_citation", "url_citation": url_citation(each, length)} for each in end.citations]


class ChatStream:
    """Turns a segment's events into `chat.completion.chunk`s, as server-sent events."""

    def __init__(self, model: str, include_usage: bool, form: CallForm = "tools", note: str | None = None) -> None:
        self._form = form
        self._note = note
        self._length = 0
        self._written: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{random_name(24)}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        self._include_usage = include_usage

    def _sse(self, body: dict[str, Any]) -> str:
        return f"data: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n"

    def _delta(self, delta: dict[str, Any]) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return self._sse({**self._head, "choices": [choice]})

    def begin(self) -> str:
        """The role chunk, which is sent at once."""
        return self._delta({"role": "assistant", "content": ""})

    def keepalive(self) -> str:
        """An empty delta: comments do not hold OpenClaw's watchdog off, data does."""
        return self._delta({})

    def chunks(self, event: Event) -> Iterator[str]:
        """Return the chunks that say `event`."""
        match event:
            case Text():
                self._length += len(event.text)
                yield self._delta({"content": event.text})
            case Reasoning():
                yield self._delta({"reasoning_content": event.text})
            case Draft() if self._form == "tools":
                yield from self._write(event.call_id, event.name, event.arguments)
            case Calls() if self._form == "function":
                yield from self._function_call(event.calls[0])
            case Calls():
                if event.details:
                    yield self._delta({"reasoning_details": list(event.details)})
                for call in event.calls:
                    yield from self._write(call.id, call.name, call.arguments[self._written.get(call.id, 0) :])
            case End():
                yield from self._end(event)
            case Failure():
                yield self._sse(event.error.body())
                yield DONE

    def _end(self, end: End) -> Iterator[str]:
        usage = usage_body(end.usage)
        reason = _finish_reason(end, self._form)
        if end.citations:
            yield self._delta({"annotations": annotations_of(end, self._length)})
        choice = {"index": 0, "delta": {}, "logprobs": _logprobs(end), "finish_reason": reason}
        last = {**self._head, "choices": [choice], **_note(end, self._note)}
        if self._include_usage:
            yield self._sse(last)
            yield self._sse({**self._head, "choices": [], "usage": usage})
        else:
            # Clients that do not ask for usage may still budget with it: OpenClaw behind a host name does.
            yield self._sse({**last, "usage": usage})
        yield DONE

    def _write(self, call_id: str, name: str, arguments: str) -> Iterator[str]:
        """Tell a further piece of a call; its first brings the id and the name."""
        if call_id not in self._written:
            self._numbers[call_id] = len(self._numbers)
            self._written[call_id] = 0
            function = {"name": name, "arguments": ""}
            yield self._call_delta(call_id, {"id": call_id, "type": "function", "function": function})
        for start in range(0, len(arguments), _ARGUMENTS_PIECE):
            piece = arguments[start : start + _ARGUMENTS_PIECE]
            yield self._call_delta(call_id, {"function": {"arguments": piece}})
        self._written[call_id] += len(arguments)

    def _call_delta(self, call_id: str, entry: dict[str, Any]) -> str:
        return self._delta({"tool_calls": [{"index": self._numbers[call_id], **entry}]})

    def _function_call(self, call: ToolCall) -> Iterator[str]:
        yield self._delta({"function_call": {"name": call.name, "arguments": ""}})
        yield self._delta({"function_call": {"arguments": call.arguments}})


def completion(
    model: str, events: Iterable[Event], form: CallForm = "tools", note: str | None = None
) -> dict[str, Any]:
    """Return the `chat.completion` body for a whole segment. Raises the error of one that failed."""
    text: list[str] = []
    reasoning: list[str] = []
    calls: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    end = End("stop", Usage())
    for event in events:
        match event:
            case Text():
                text.append(event.text)
            case Reasoning():
                reasoning.append(event.text)
            case Calls():
                calls.extend(call.to_openai() for call in event.calls)
                details.extend(event.details)
            case End():
                end = event
            case Failure():
                raise event.error.fresh()
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(text) or (None if calls else ""),
        "refusal": None,
    }
    thoughts = {"reasoning_content": "".join(reasoning), "reasoning_details": details}
    if end.citations:
        message["annotations"] = annotations_of(end, len("".join(text)))
    message |= {name: thought for name, thought in thoughts.items() if thought}
    if calls and form == "function":
        message["function_call"] = calls[0]["function"]
    elif calls:
        message["tool_calls"] = calls
    return {
        "id": f"chatcmpl-{random_name(24)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {"index": 0, "message": message, "logprobs": _logprobs(end), "finish_reason": _finish_reason(end, form)},
        ],
        "usage": usage_body(end.usage),
        **_note(end, note),
    }


def _logprobs(end: End) -> dict[str, Any] | None:
    return {"content": list(end.logprobs), "refusal": None} if end.logprobs else None


def _finish_reason(end: End, form: CallForm) -> str:
    return "function_call" if form == "function" and end.finish_reason == "tool_calls" else end.finish_reason


def _note(end: End, own: str | None) -> dict[str, Any]:
    """Return what was odd about the run, in a field that OpenAI does not have and clients ignore."""
    notes = [note for note in (own, end.note) if note]
    return {"clawback": {"note": "; ".join(notes)}} if notes else {}
