"""What a client gets from `/v1/messages`: the message, and the events of its stream.

Source: Anthropic's API reference, messages and their streaming events.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.api.anthropic.wording import error_body, helps_to_repeat, in_their_words
from bridge.dify.errors import RunFailed
from bridge.errors import BridgeError
from bridge.runs.segments import Calls, Draft, End, Event, Failure, Reasoning, Text
from bridge.runs.sessions.claude_code import AGENT, SESSION
from bridge.runs.sessions.sessions import digest
from tools.calls import ToolCall, arguments_of
from tools.fingerprint import text_digest
from tools.wire import Usage

Body = dict[str, Any]

_PIECE = 4096
_STOP_REASONS = {"tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}
_DELTAS = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}


@dataclass(frozen=True, slots=True)
class Told:
    """What a message repeats of its request, and what it is told by: one segment of one run."""

    model: str
    run_id: str
    segment: int
    prompt_tokens: int
    context_window: int
    thinking: bool = False
    note: str | None = None

    @property
    def id(self) -> str:
        """The message's id: the same however often it is told."""
        return f"msg_{text_digest(f'{self.run_id} {self.segment}')[:24]}"

    @property
    def signature(self) -> str:
        """What signs its thinking: the run and the segment that the bridge keeps of it."""
        return f"{self.run_id}.{self.segment}"


@dataclass(slots=True)
class _Block:
    """A block that is being told; `written` is its text or its arguments so far."""

    index: int
    body: Body
    call_id: str = ""
    written: list[str] = field(default_factory=list)

    def write(self, piece: str) -> Body:
        """Add a piece and return the event that tells it."""
        self.written.append(piece)
        kind, name = _DELTAS[self.body["type"]]
        return {"type": "content_block_delta", "index": self.index, "delta": {"type": kind, name: piece}}


class MessageTeller:
    """Turns a segment's events into a message and the events of its stream.

    One block is open at a time. A call's block ends when its ticket is there, since Claude Code runs a call once its
    block has ended, whatever comes after. What comes while such a block is open is told behind it.
    """

    def __init__(self, told: Told) -> None:
        self._told = told
        self._content: list[Body] = []
        self._open: _Block | None = None
        self._later: list[Text | Reasoning] = []
        self._usage = Usage(prompt_tokens=told.prompt_tokens, completion_tokens=0)
        self._stop_reason: str | None = None
        self._notes = [told.note] if told.note else []
        self.error: BridgeError | None = None

    def message(self) -> Body:
        """Return the message as it stands."""
        return {
            "id": self._told.id,
            "type": "message",
            "role": "assistant",
            "model": self._told.model,
            "content": self._content,
            "stop_reason": self._stop_reason,
            "stop_sequence": None,
            "usage": _usage_body(self._usage),
            **self._note(),
        }

    # The stream

    def begin(self) -> Iterator[Body]:
        """Tell that the message begins."""
        yield {"type": "message_start", "message": self.message() | {"content": []}}
        yield {"type": "ping"}

    def keepalive(self) -> Iterator[Body]:
        """Tell nothing. Claude Code gives up after 300 s without content, and a `ping` is none."""
        if self._open is None:
            yield from self._begin({"type": "text", "text": ""})
        yield from self._write("")

    def tell(self, event: Event) -> Iterator[Body]:
        """Return the events that say `event`."""
        match event:
            case Text() | Reasoning() if self._open and self._open.call_id:
                self._later.append(event)
            case Text():
                yield from self._say("text", event.text)
            case Reasoning() if self._told.thinking:
                yield from self._say("thinking", event.text)
            case Draft():
                yield from self._draft(event)
            case Calls():
                yield from self._call_all(event.calls)
            case End():
                yield from self._end(event)
            case Failure():
                self.error = in_their_words(event.error, self._told.prompt_tokens, self._told.context_window)
                yield error_body(self.error)

    # Blocks

    def _say(self, kind: str, text: str) -> Iterator[Body]:
        if self._open is None or self._open.body["type"] != kind:
            yield from self._stop()
            yield from self._begin({"type": kind, kind: ""} | ({"signature": ""} if kind == "thinking" else {}))
        yield from self._write(text)

    def _begin(self, body: Body, call_id: str = "") -> Iterator[Body]:
        self._open = _Block(len(self._content), body, call_id)
        self._content.append(body)
        yield {"type": "content_block_start", "index": self._open.index, "content_block": dict(body)}

    def _write(self, piece: str) -> Iterator[Body]:
        if self._open:
            yield self._open.write(piece)

    def _stop(self) -> Iterator[Body]:
        block, self._open = self._open, None
        if block is None:
            return
        kind, whole = block.body["type"], "".join(block.written)
        if kind == "tool_use":
            block.body["input"] = arguments_of(whole) or {}
        else:
            block.body[kind] = whole
        if kind == "thinking":
            block.body["signature"] = self._told.signature
            delta = {"type": "signature_delta", "signature": self._told.signature}
            yield {"type": "content_block_delta", "index": block.index, "delta": delta}
        yield {"type": "content_block_stop", "index": block.index}

    # Calls

    def _draft(self, draft: Draft) -> Iterator[Body]:
        """Tell a call as it grows, where it comes first.

        Of others that grow beside it only one block could be open. Behind text that has ended, Claude Code does not
        repeat a stream that breaks amid a call, but gives up.
        """
        if not self._content:
            yield from self._begin_call(draft.call_id, draft.name)
        if self._open and self._open.call_id == draft.call_id:
            yield from self._arguments(draft.arguments)

    def _begin_call(self, call_id: str, name: str) -> Iterator[Body]:
        yield from self._stop()
        yield from self._begin({"type": "tool_use", "id": call_id, "name": name, "input": {}}, call_id)

    def _arguments(self, arguments: str) -> Iterator[Body]:
        for start in range(0, len(arguments), _PIECE):
            yield from self._write(arguments[start : start + _PIECE])

    def _call_all(self, calls: tuple[ToolCall, ...]) -> Iterator[Body]:
        begun = self._open.call_id if self._open else ""
        for call in sorted(calls, key=lambda call: call.id != begun):
            if call.id != begun:
                yield from self._begin_call(call.id, call.name)
            written = sum(map(len, self._open.written)) if self._open else 0
            yield from self._arguments(call.arguments[written:])
            yield from self._stop()

    # The end

    def _end(self, end: End) -> Iterator[Body]:
        yield from self._stop()
        for event in self._later:
            yield from self.tell(event)
        yield from self._stop()
        self._usage = end.usage
        self._stop_reason = _STOP_REASONS.get(end.finish_reason, "end_turn")
        self._notes += [end.note] if end.note else []
        delta = {"stop_reason": self._stop_reason, "stop_sequence": None}
        yield {"type": "message_delta", "delta": delta, "usage": _usage_body(end.usage), **self._note()}
        yield {"type": "message_stop"}

    def _note(self) -> Body:
        return {"clawback": {"note": "; ".join(self._notes)}} if self._notes else {}


def _usage_body(usage: Usage) -> Body:
    return {
        "input_tokens": usage.prompt_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": usage.completion_tokens,
    }


KEPT_SECONDS = 5.0
_MOST = 1000


def key_of(client: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> str:
    """Return a digest that is the same for a client's request and its repeat, of which one streams."""
    given = {name.lower(): value for name, value in headers.items()}
    asked = {name: value for name, value in body.items() if name != "stream"}
    return digest([client, given.get(SESSION), given.get(AGENT), asked])


class ToldFailures:
    """Keeps each for a moment, and tells it once more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, BridgeError]] = {}

    def keep(self, key: str, error: BridgeError) -> None:
        """Keep a failure, unless the same request may go better. Where nobody knows why, it has its second try."""
        if helps_to_repeat(error) or error.code == RunFailed.code:
            return
        now = time.monotonic()
        with self._lock:
            fresh = {other: kept for other, kept in self._kept.items() if now - kept[0] <= KEPT_SECONDS}
            self._kept = dict(list(fresh.items())[-_MOST:]) | {key: (now, error.fresh())}

    def raise_again(self, client: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> None:
        """Raise what a stream of the same request was told a moment ago; only once, since a person may try again."""
        if not self._kept:
            return
        with self._lock:
            at, error = self._kept.pop(key_of(client, headers, body), (0.0, None))
        if error and time.monotonic() - at <= KEPT_SECONDS:
            raise error.fresh()
