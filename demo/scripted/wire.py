"""An answer as OpenAI sends it: a stream of chunks, or one body."""

import json
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from demo.scripted.answer import Answer, Piece, Reasoning, Text, ToolCall
from demo.scripted.refusal import Refusal
from demo.scripted.script import Cut, Fail, Sleep

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Send:
    """Bytes for the client."""

    data: bytes


Step = Send | Sleep | Cut


@dataclass(frozen=True)
class Envelope:
    """What is the same in all chunks of a response."""

    id: str
    created: int
    model: str
    include_usage: bool = False

    def chunk(self, choices: list[dict[str, Any]], usage: dict[str, object] | None = None) -> Send:
        """One event of the stream."""
        body = self._body("chat.completion.chunk", choices)
        if self.include_usage:
            body["usage"] = usage
        return _event(body)

    def completion(self, answer: Answer) -> bytes:
        """The whole response as one body."""
        message: dict[str, Any] = {"role": "assistant", "content": answer.content, "refusal": None}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.calls:
            message["tool_calls"] = [tool_call_of(call) for call in answer.calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
        body = self._body("chat.completion", [choice])
        return _dump(body | {"usage": answer.usage})

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_scripted",
            "choices": choices,
        }


def tool_call_of(call: ToolCall) -> dict[str, Any]:
    """A call in OpenAI's shape."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def body_steps(answer: Answer, envelope: Envelope) -> Iterator[Step]:
    """The steps of a response that is not streamed; its pauses are over before it."""
    body = envelope.completion(answer)
    if any(isinstance(piece, Cut) for piece in answer.pieces):
        yield Send(body[: len(body) // 2])
        yield Cut()
    else:
        yield Send(body)


def stream_steps(answer: Answer, envelope: Envelope) -> Iterator[Step]:
    """The steps of a streamed response, from its role chunk to `[DONE]`."""
    content = None if answer.calls and not answer.content else ""
    yield envelope.chunk([_choice({"role": "assistant", "content": content, "refusal": None})])
    for is_call, group in groupby(answer.pieces, lambda piece: isinstance(piece, ToolCall)):
        pieces = list(group)
        if is_call:
            calls = [piece for piece in pieces if isinstance(piece, ToolCall)]
            yield from (envelope.chunk([_choice(delta)]) for delta in _call_deltas(calls, answer.delta))
            continue
        for piece in pieces:
            if isinstance(piece, Fail):
                yield _event(failure(piece).body())
                return
            yield from _piece_steps(piece, envelope, answer.delta)
            if isinstance(piece, Cut):
                return
    yield envelope.chunk([_choice({}, answer.finish_reason)])
    if envelope.include_usage:
        yield envelope.chunk([], answer.usage)
    yield Send(DONE)


def failure(fail: Fail) -> Refusal:
    """The error that a scripted failure stands for."""
    return Refusal(f"The script asks for a failure with status {fail.status}.", status=fail.status)


def split(text: str, size: int | None) -> Iterator[str]:
    """The text in deltas of that size, or of sizes that follow from the text alone."""
    sizes = random.Random(zlib.crc32(text.encode(errors="replace")))  # noqa: S311 - the same every time
    largest = max(12, len(text) // 100)
    at = 0
    while at < len(text):
        end = at + (size or sizes.randint(1, largest))
        yield text[at:end]
        at = end


def _piece_steps(piece: Piece, envelope: Envelope, size: int | None) -> Iterator[Step]:
    if isinstance(piece, Text | Reasoning):
        field = "content" if isinstance(piece, Text) else "reasoning_content"
        yield from (envelope.chunk([_choice({field: delta})]) for delta in split(piece.text, size))
    elif isinstance(piece, Sleep | Cut):
        yield piece


def _call_deltas(calls: Sequence[ToolCall], size: int | None) -> Iterator[dict[str, Any]]:
    """The calls' deltas, interleaved: a call's id and name once, at its start, in the calls' order."""
    dice = random.Random(zlib.crc32("".join(call.arguments for call in calls).encode(errors="replace")))  # noqa: S311
    waiting = list(calls)
    open_: list[tuple[int, Iterator[str]]] = []
    while waiting or open_:
        if waiting and (not open_ or dice.random() < 0.5):
            call = waiting.pop(0)
            head = tool_call_of(call)
            head["function"]["arguments"] = ""
            yield {"tool_calls": [{"index": call.index, **head}]}
            open_.append((call.index, split(call.arguments, size)))
            continue
        index, deltas = chosen = dice.choice(open_)
        if (delta := next(deltas, None)) is None:
            open_.remove(chosen)
        else:
            yield {"tool_calls": [{"index": index, "function": {"arguments": delta}}]}


def _choice(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _event(body: dict[str, Any]) -> Send:
    return Send(b"data: " + _dump(body) + b"\n\n")


def _dump(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
