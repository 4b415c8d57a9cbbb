"""An answer as OpenAI sends it, or as another vendor does (`quirks.WRITTEN`): a stream of chunks, or one body."""

import json
import random
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from demo.scripted.answer import Answer, Piece, Reasoning, Text, ToolCall
from demo.scripted.quirks import THOUGHTS, details_of, seal_of
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
    always: dict[str, object] | None = None
    logprobs: int | None = None

    def chunk(self, choices: list[dict[str, Any]], usage: dict[str, object] | None = None) -> Send:
        """One event of the stream."""
        body = self._body("chat.completion.chunk", choices)
        if self.include_usage:
            body["usage"] = usage or self.always
        return _event(body)

    def completion(self, answer: Answer) -> bytes:
        """The whole response as one body."""
        body = self._body("chat.completion", _choices(answer))
        return _dump(body | {"usage": answer.usage})

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_scripted",
            "choices": [self._with_logprobs(choice) for choice in choices],
        }

    def _with_logprobs(self, choice: dict[str, Any]) -> dict[str, Any]:
        content = (choice.get("delta") or choice.get("message") or {}).get("content")
        if self.logprobs is None or not isinstance(content, str) or not content:
            return choice
        tokens = [_scored(token, self.logprobs) for token in re.findall(r"\s*\S+|\s+", content)]
        return choice | {"logprobs": {"content": tokens, "refusal": None}}


def _scored(token: str, others: int) -> dict[str, Any]:
    """A word as a token with its log probability, and as many of the likeliest."""
    likely = [
        {"token": word, "logprob": -0.25 - at, "bytes": list(word.encode())} for at, word in enumerate([token, *"ab"])
    ]
    return {**likely[0], "top_logprobs": likely[:others]}


def _choices(answer: Answer) -> list[dict[str, Any]]:
    said: dict[str, Any] = {"role": "assistant", "content": answer.content, "refusal": None}
    for delta in _thought_deltas(answer.reasoning or "", answer, None):
        if isinstance(delta.get("content"), list):
            text = [{"type": "text", "text": answer.content}] if answer.content else []
            delta = {"content": [*delta["content"], *text]}
        said |= delta
    if "think tags" in answer.writes and answer.reasoning:
        said["content"] = f"<think>\n{answer.reasoning}\n</think>\n\n{answer.content or ''}"
    calls = {"tool_calls": _entries(answer.calls, answer.writes)} if answer.calls else {}
    end = {"logprobs": None, "finish_reason": answer.finish_reason}
    if calls and "calls in a second choice" in answer.writes:
        spoken = {"index": 0, "message": said, **end}
        return [spoken, {"index": 1, "message": {"role": "assistant", "content": None, **calls}, **end}]
    return [{"index": 0, "message": said | calls, **end}]


def _entries(calls: Sequence[ToolCall], writes: frozenset[str]) -> list[dict[str, Any]]:
    """The calls as a vendor writes them."""
    entries = [tool_call_of(call) for call in calls]
    if "signatures" in writes:
        entries[0]["extra_content"] = {"google": {"thought_signature": seal_of([call.name for call in calls])}}
    return [entry | {"id": ""} for entry in entries] if "no ids" in writes else entries


def _thought_deltas(thought: str, answer: Answer, size: int | None) -> Iterator[dict[str, Any]]:
    """A thought in deltas of `size` characters, or in one."""
    if not thought:
        return
    writes, names = answer.writes, [call.name for call in answer.calls]
    pieces = list(split(thought, size)) if size else [thought]
    if "think tags" in writes:
        yield from ({"content": piece} for piece in ("<think>\n", *pieces, "\n</think>\n\n"))
        return
    field = next((name for name in THOUGHTS[:3] if name in writes), THOUGHTS[0])
    for at, piece in enumerate(pieces):
        if "thinking parts" in writes:
            yield {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": piece}]}]}
            continue
        delta: dict[str, Any] = {field: piece}
        if "reasoning_details" in writes:
            [detail] = details_of(names)
            signed = {"signature": detail["signature"]} if at == len(pieces) - 1 else {}
            delta["reasoning_details"] = [{"type": detail["type"], "text": piece, "index": 0, **signed}]
        yield delta
    if "reasoning_opaque" in writes:
        yield {"reasoning_opaque": seal_of(names)}


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
    writes = answer.writes
    envelope = replace(envelope, always=answer.usage if "usage in every chunk" in writes else None)
    yield from _opening(answer, envelope)
    for is_call, group in groupby(answer.pieces, lambda piece: isinstance(piece, ToolCall)):
        pieces = list(group)
        if is_call:
            calls = [piece for piece in pieces if isinstance(piece, ToolCall)]
            number = int("calls in a second choice" in writes)
            yield from (envelope.chunk([_choice(delta, None, number)]) for delta in _call_deltas(calls, answer))
            continue
        for piece in pieces:
            if isinstance(piece, Fail):
                yield _event(failure(piece).body())
                return
            yield from _piece_steps(piece, envelope, answer)
            if isinstance(piece, Cut):
                return
    yield from _closing(answer, envelope)


def _opening(answer: Answer, envelope: Envelope) -> Iterator[Step]:
    if "filter results first" in answer.writes:
        yield envelope.chunk([])
    if "comments" in answer.writes:
        yield Send(b": PROCESSING\n\n")
    content = None if answer.calls and not answer.content else ""
    yield envelope.chunk([_choice({"role": "assistant", "content": content, "refusal": None})])


def _closing(answer: Answer, envelope: Envelope) -> Iterator[Step]:
    at_end = "usage with the end" in answer.writes
    yield envelope.chunk([_choice({}, answer.finish_reason)], answer.usage if at_end else None)
    if "the whole message last" in answer.writes:
        yield _event(json.loads(envelope.completion(answer)))
    if envelope.include_usage and not at_end:
        yield envelope.chunk([], answer.usage)
    if "no done" not in answer.writes:
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


def _piece_steps(piece: Piece, envelope: Envelope, answer: Answer) -> Iterator[Step]:
    if isinstance(piece, Text):
        role = {"role": ""} if "empty role" in answer.writes else {}
        deltas = split(piece.text, answer.delta)
        yield from (envelope.chunk([_choice({**role, "content": delta})]) for delta in deltas)
    elif isinstance(piece, Reasoning):
        deltas_of = _thought_deltas(piece.text, answer, answer.delta or 12)
        yield from (envelope.chunk([_choice(delta)]) for delta in deltas_of)
    elif isinstance(piece, Sleep | Cut):
        yield piece


def _call_deltas(calls: Sequence[ToolCall], answer: Answer) -> Iterator[dict[str, Any]]:
    """The calls' deltas as a vendor writes them."""
    writes, entries = answer.writes, _entries(calls, answer.writes)
    where = {"index 0": lambda _: {"index": 0}, "no index": lambda _: {}}
    indexed = next((where[name] for name in where if name in writes), lambda index: {"index": index})
    if "whole calls" in writes:
        for call, entry in zip(calls, entries, strict=True):
            yield {"tool_calls": [indexed(call.index) | entry]}
        return
    later = {"id": "", "type": "function"} if "empty ids later" in writes else {}
    for index, function, is_head in _interleaved(calls, answer.delta):
        at = next(at for at, call in enumerate(calls) if call.index == index)
        head = entries[at] if is_head else later
        yield {"tool_calls": [indexed(index) | head | {"function": function}]}


def _interleaved(calls: Sequence[ToolCall], size: int | None) -> Iterator[tuple[int, dict[str, str], bool]]:
    """The calls' pieces, interleaved: a call's name once, at its start, in the calls' order."""
    dice = random.Random(zlib.crc32("".join(call.arguments for call in calls).encode(errors="replace")))  # noqa: S311
    waiting = list(calls)
    open_: list[tuple[int, Iterator[str]]] = []
    while waiting or open_:
        if waiting and (not open_ or dice.random() < 0.5):
            call = waiting.pop(0)
            yield call.index, {"name": call.name, "arguments": ""}, True
            open_.append((call.index, split(call.arguments, size)))
            continue
        index, deltas = chosen = dice.choice(open_)
        if (delta := next(deltas, None)) is None:
            open_.remove(chosen)
        else:
            yield index, {"arguments": delta}, False


def _choice(delta: dict[str, Any], finish_reason: str | None = None, number: int = 0) -> dict[str, Any]:
    return {"index": number, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _event(body: dict[str, Any]) -> Send:
    return Send(b"data: " + _dump(body) + b"\n\n")


def _dump(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
