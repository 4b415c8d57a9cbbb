"""What a client gets from `/v1/chat/completions`: one body, or chunks.

Source: OpenAI's API reference, chat completions and its streaming events.
"""

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

from bridge.segments import Calls, End, Event, Failure, Reasoning, Text
from tools.calls import ToolCall
from tools.ids import random_name
from tools.wire import Usage

DONE = "data: [DONE]\n\n"
_ARGUMENTS_PIECE = 4096


def usage_body(usage: Usage) -> dict[str, int]:
    """Return OpenAI's `usage` object."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


class ChatStream:
    """Turns a segment's events into `chat.completion.chunk`s, as server-sent events."""

    def __init__(self, model: str, include_usage: bool) -> None:
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
                yield self._delta({"content": event.text})
            case Reasoning():
                yield self._delta({"reasoning_content": event.text})
            case Calls():
                for index, call in enumerate(event.calls):
                    yield from self._call(index, call)
            case End():
                yield from self._end(event)
            case Failure():
                yield self._sse(event.error.body())
                yield DONE

    def _end(self, end: End) -> Iterator[str]:
        usage = usage_body(end.usage)
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": end.finish_reason}
        last = {**self._head, "choices": [choice], **_note(end)}
        if self._include_usage:
            yield self._sse(last)
            yield self._sse({**self._head, "choices": [], "usage": usage})
        else:
            # Clients that do not ask for usage may still budget with it: OpenClaw behind a host name does.
            yield self._sse({**last, "usage": usage})
        yield DONE

    def _call(self, index: int, call: ToolCall) -> Iterator[str]:
        function = {"name": call.name, "arguments": ""}
        yield self._delta({"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]})
        for start in range(0, len(call.arguments), _ARGUMENTS_PIECE):
            piece = {"arguments": call.arguments[start : start + _ARGUMENTS_PIECE]}
            yield self._delta({"tool_calls": [{"index": index, "function": piece}]})


def completion(model: str, events: Iterable[Event]) -> dict[str, Any]:
    """Return the `chat.completion` body for a whole segment. Raises the error of one that failed."""
    text: list[str] = []
    reasoning: list[str] = []
    calls: list[dict[str, Any]] = []
    end = End("stop", Usage())
    for event in events:
        match event:
            case Text():
                text.append(event.text)
            case Reasoning():
                reasoning.append(event.text)
            case Calls():
                calls.extend(call.to_openai() for call in event.calls)
            case End():
                end = event
            case Failure():
                raise event.error
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(text) or (None if calls else ""),
        "refusal": None,
    }
    if reasoning:
        message["reasoning_content"] = "".join(reasoning)
    if calls:
        message["tool_calls"] = calls
    return {
        "id": f"chatcmpl-{random_name(24)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": end.finish_reason}],
        "usage": usage_body(end.usage),
        **_note(end),
    }


def _note(end: End) -> dict[str, Any]:
    """Return what was odd about the run, in a field that OpenAI does not have and clients ignore."""
    return {"clawback": {"note": end.note}} if end.note else {}
