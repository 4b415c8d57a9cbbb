"""What a client gets from `/v1/responses`: the response object, and the events of its stream.

Source: OpenAI's API reference, responses and their streaming events.
"""

import json
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.api.openai.chat_response import url_citation
from bridge.api.openai.tool_choice import Origin, call_item, origins_of
from bridge.errors import BridgeError
from bridge.runs.segments import Calls, Draft, End, Event, Failure, Reasoning, Text
from tools.calls import ToolCall
from tools.ids import random_name
from tools.wire import Usage

Body = dict[str, Any]

_ARGUMENTS_PIECE = 4096
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ERROR_CODES = {"rate_limit_error": "rate_limit_exceeded", "invalid_request_error": "invalid_prompt"}
_OWN_CODES = frozenset({"context_length_exceeded", "insufficient_quota"})
"""Of the bridge's codes, those by which Codex knows what to do."""


def new_response_id() -> str:
    """Return an id that nobody can guess."""
    return f"resp_{random_name(40)}"


@dataclass(slots=True)
class _Item:
    """An item that is being told. `text` is its text or its arguments so far."""

    index: int
    body: Body
    text: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.body["id"])


class ResponseTeller:
    """Turns a segment's events into a response and the events of its stream.

    A message, the reasoning and each call are one item each, in the order in which they begin. Ids of items hold the
    response's, so that a reference to an item leads to its response.
    """

    def __init__(self, response_id: str, echo: Body, created_at: float | None = None) -> None:
        self.id = response_id
        self._echo = echo
        self._origins = origins_of(echo.get("tools", ()))
        self._created_at = int(created_at or time.time())
        self._items: list[_Item] = []
        self._annotations: list[Body] = []
        self._logprobs: list[Body] = []
        self._message: _Item | None = None
        self._reasoning: _Item | None = None
        self._calls: dict[str, _Item] = {}
        self._number = -1
        self.status = "in_progress"
        self.error: BridgeError | None = None
        self._usage: Usage | None = None
        self._incomplete: str | None = None
        self._note: str | None = echo.get("clawback", {}).get("note")

    # The whole

    def response(self) -> Body:
        """Return the response as it stands."""
        reason = {"reason": self._incomplete} if self._incomplete else None
        ended = int(time.time()) if self.status == "completed" else None
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created_at,
            "completed_at": ended,
            "status": self.status,
            "error": _error_body(self.error) if self.error else None,
            "incomplete_details": reason,
            "output": [item.body for item in self._items],
            "usage": _usage_body(self._usage) if self._usage else None,
            **self._echo,
            **({"clawback": {"note": self._note}} if self._note else {}),
        }

    def take(self, events: Iterable[Event]) -> None:
        """Take events without telling them."""
        for event in events:
            for _ in self.tell(event):
                pass

    def cancel(self) -> None:
        """The run was cancelled."""
        self.status = "cancelled"

    def fail(self, error: BridgeError) -> None:
        """The run ended without an answer."""
        self.take([Failure(error)])

    # The stream

    def begin(self) -> Iterator[Body]:
        """Tell that the response begins."""
        yield self._event("response.created", response=self.response())
        yield self._event("response.in_progress", response=self.response())

    def keepalive(self) -> Iterator[Body]:
        """Tell that the response is still in progress: comments do not hold OpenClaw's watchdog off, events do."""
        yield self._event("response.in_progress", response=self.response())

    def tell(self, event: Event) -> Iterator[Body]:
        """Return the events that say `event`."""
        match event:
            case Text():
                yield from self._text(event.text)
            case Reasoning():
                yield from self._think(event.text)
            case Draft():
                yield from self._arguments(event.call_id, event.name, event.arguments)
            case Calls():
                yield from self._seal(event.details)
                yield from self._end_thinking()
                for call in event.calls:
                    yield from self._call(call)
            case End():
                self._logprobs = list(event.logprobs)
                yield from self._cite(event)
                yield from self._end(event)
            case Failure():
                yield from self._fail(event.error)

    def _event(self, kind: str, **fields: Any) -> Body:
        self._number += 1
        return {"type": kind, "sequence_number": self._number, **fields}

    def _add(self, body: Body) -> Iterator[Body]:
        item = _Item(len(self._items), body)
        self._items.append(item)
        yield self._event("response.output_item.added", output_index=item.index, item=_copy(body))

    def _place(self, item: _Item) -> Body:
        return {"item_id": item.id, "output_index": item.index}

    def _done(self, item: _Item) -> Body:
        item.body["status"] = "incomplete" if self._incomplete else "completed"
        return self._event("response.output_item.done", output_index=item.index, item=_copy(item.body))

    # Text

    def _text(self, piece: str) -> Iterator[Body]:
        if self._message is None:
            body = {"id": self._item_id("msg"), "type": "message", "role": "assistant", "content": []}
            yield from self._add(body | {"status": "in_progress"})
            self._message = self._items[-1]
            part = _text_part("")
            self._message.body["content"] = [part]
            yield self._event(
                "response.content_part.added", **self._place(self._message), content_index=0, part=_copy(part)
            )
        self._message.text.append(piece)
        yield self._event(
            "response.output_text.delta", **self._place(self._message), content_index=0, delta=piece, logprobs=[]
        )

    def _cite(self, end: End) -> Iterator[Body]:
        if self._message is None:
            return
        length, place = len("".join(self._message.text)), self._place(self._message)
        self._annotations = [{"type": "url_citation", **url_citation(each, length)} for each in end.citations]
        for index, annotation in enumerate(self._annotations):
            yield self._event(
                "response.output_text.annotation.added",
                **place,
                content_index=0,
                annotation_index=index,
                annotation=annotation,
            )

    def _end_text(self) -> Iterator[Body]:
        item, self._message = self._message, None
        if item is None:
            return
        text = "".join(item.text)
        part = _text_part(text) | {"annotations": self._annotations, "logprobs": self._logprobs}
        item.body["content"] = [part]
        place = self._place(item)
        # OpenAI's event has no bytes.
        told = [_without_bytes(token) for token in self._logprobs]
        yield self._event("response.output_text.done", **place, content_index=0, text=text, logprobs=told)
        yield self._event("response.content_part.done", **place, content_index=0, part=_copy(part))
        yield self._done(item)

    # Reasoning

    def _begin_thinking(self) -> Generator[Body, None, _Item]:
        body = {"id": self._item_id("rs"), "type": "reasoning", "summary": [], "content": []}
        yield from self._add(body | {"status": "in_progress"})
        self._reasoning = self._items[-1]
        return self._reasoning

    def _seal(self, details: Sequence[Body]) -> Iterator[Body]:
        """Put what the upstream wants back into the reasoning, before the calls that it belongs to."""
        item = self._reasoning
        if details and item is None and not self._calls:
            item = yield from self._begin_thinking()
        if details and item:
            item.body["encrypted_content"] = json.dumps(details, ensure_ascii=False)

    def _think(self, piece: str) -> Iterator[Body]:
        item = self._reasoning
        if item is None:
            item = yield from self._begin_thinking()
            part = {"type": "reasoning_text", "text": ""}
            item.body["content"] = [part]
            yield self._event("response.content_part.added", **self._place(item), content_index=0, part=_copy(part))
        item.text.append(piece)
        yield self._event("response.reasoning_text.delta", **self._place(item), content_index=0, delta=piece)

    def _end_thinking(self) -> Iterator[Body]:
        item, self._reasoning = self._reasoning, None
        if item is None:
            return
        if text := "".join(item.text):
            part = {"type": "reasoning_text", "text": text}
            item.body["content"] = [part]
            place = self._place(item)
            yield self._event("response.reasoning_text.done", **place, content_index=0, text=text)
            yield self._event("response.content_part.done", **place, content_index=0, part=_copy(part))
        yield self._done(item)

    # Calls

    def _arguments(self, call_id: str, name: str, piece: str) -> Iterator[Body]:
        origin = self._origins.get(name) or Origin(name=name)
        if origin.kind != "function":
            # What is not told in pieces of JSON is told when it is whole.
            return
        if call_id not in self._calls:
            yield from self._add(call_item(origin, call_id, "") | {"status": "in_progress"})
            self._calls[call_id] = self._items[-1]
        item = self._calls[call_id]
        for start in range(0, len(piece), _ARGUMENTS_PIECE):
            part = piece[start : start + _ARGUMENTS_PIECE]
            item.text.append(part)
            yield self._event("response.function_call_arguments.delta", **self._place(item), delta=part)

    def _call(self, call: ToolCall) -> Iterator[Body]:
        origin = self._origins.get(call.name) or Origin(name=call.name)
        if origin.kind != "function":
            yield from self._whole_call(origin, call)
            return
        known = self._calls.get(call.id)
        told = "".join(known.text) if known else ""
        yield from self._arguments(call.id, call.name, call.arguments[len(told) :])
        item = self._calls[call.id]
        item.body["arguments"] = call.arguments
        yield self._event(
            "response.function_call_arguments.done",
            **self._place(item),
            arguments=call.arguments,
        )
        yield self._done(item)

    def _whole_call(self, origin: Origin, call: ToolCall) -> Iterator[Body]:
        whole = call_item(origin, call.id, call.arguments)
        yield from self._add(whole | {"status": "in_progress"} | ({"input": ""} if "input" in whole else {}))
        item = self._items[-1]
        item.body |= whole
        if "input" in whole:
            yield self._event("response.custom_tool_call_input.delta", **self._place(item), delta=whole["input"])
            yield self._event("response.custom_tool_call_input.done", **self._place(item), input=whole["input"])
        yield self._done(item)

    # The end

    def _end(self, end: End) -> Iterator[Body]:
        if self._message is not None:
            # Only what comes last was cut off.
            yield from self._end_thinking()
        self._incomplete = _INCOMPLETE.get(end.finish_reason)
        yield from self._end_thinking()
        yield from self._end_text()
        self._usage, self._note = end.usage, "; ".join(filter(None, (self._note, end.note))) or None
        self.status = "incomplete" if self._incomplete else "completed"
        yield self._event(f"response.{self.status}", response=self.response())

    def _fail(self, error: BridgeError) -> Iterator[Body]:
        self.error = error
        self.status = "failed"
        for item in self._items:
            item.body["status"] = "completed" if item.body["status"] == "completed" else "incomplete"
        yield self._event("response.failed", response=self.response())

    def _item_id(self, kind: str) -> str:
        return f"{kind}_{self.id.removeprefix('resp_')}{len(self._items)}"


def response_of_item(item_id: str) -> str | None:
    """Return the id of the response that a message or reasoning item belongs to."""
    kind, _, rest = item_id.partition("_")
    return f"resp_{rest[:40]}" if kind in {"msg", "rs"} and len(rest) > 40 else None


def _copy(body: Body) -> Body:
    """What was sent stays as it was, while the item goes on."""
    return {name: list(value) if isinstance(value, list) else value for name, value in body.items()}


def _without_bytes(token: Body) -> Body:
    told = {name: value for name, value in token.items() if name != "bytes"}
    return told | {name: [*map(_without_bytes, told[name])] for name in told.keys() & {"top_logprobs"}}


def _text_part(text: str) -> Body:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage_body(usage: Usage) -> Body:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }


def _error_body(error: BridgeError) -> Body:
    """OpenAI knows a fixed list of codes here; the bridge's own code leads the text."""
    own = f"{error.code}: " if error.code else ""
    code = error.code if error.code in _OWN_CODES else _ERROR_CODES.get(error.type, "server_error")
    return {"code": code, "message": f"{own}{error.message}"}
