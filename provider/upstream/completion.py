"""What the upstream says, from server-sent events: deltas, then how it ended.

Servers that call themselves OpenAI-compatible differ: `content` may be absent, null or a list of parts, reasoning is
called `reasoning_content` or `reasoning` or stands in tags before the answer, `choices` may be missing or empty,
`usage` comes last, always or never, the final `[DONE]` may be left out, and an error may come as an event. All of that
is read here. What stands behind `[DONE]` counts for nothing.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from provider.engine.events import Completed, Delta, UpstreamFailed
from provider.errors import Refused, SaidNothing, Unavailable, Unreachable
from provider.upstream.failures import from_body
from tools.carried import REASONING, sealed, thought_in
from tools.surrogates import Halves
from tools.think_tags import ThinkTags
from tools.wire import Usage

StreamEvent = Delta | Completed | UpstreamFailed

DONE = "[DONE]"
NOTHING = "The upstream answered nothing: no text and no call. Trying again may help, or another model."
_MOST_TOKENS = 4_096
"""Logprobs of so many tokens are kept at most: they may be a hundred times as long as the text."""
CUT_OFF = "The upstream's answer broke off before its end. Trying again may help."


class CompletionReader:
    """Reads the data of one stream's events, and says at its end whether the answer is whole."""

    def __init__(self, secrets: Sequence[str] = (), *, show_reasoning: bool = True, may_be_empty: bool = False) -> None:
        self._secrets = secrets
        self._show_reasoning = show_reasoning
        self._tags = ThinkTags()
        self._halves: dict[object, Halves] = defaultdict(Halves)
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._logprobs: list[Any] = []
        self._done = False
        self._may_be_empty = may_be_empty
        self._is_begun = self._is_shown = self._has_said = self._has_thought = False
        self._speaker: object = None
        self._told: list[str] = []
        self._thought: list[str] = []

    @property
    def is_done(self) -> bool:
        """Whether nothing that comes now counts."""
        return self._done

    @property
    def is_ended(self) -> bool:
        """Whether the answer is whole, and at most its usage is to come."""
        return self._done or self._finish_reason is not None

    def feed(self, data: str) -> Iterator[Delta | UpstreamFailed]:
        """Take one event's data. What is not a JSON object is passed over: proxies write such lines."""
        if data.strip() == DONE:
            self._done = True
            return
        try:
            chunk = json.loads(data)
        except ValueError:
            return
        # Some servers put an error into a list.
        chunk = chunk[0] if isinstance(chunk, list) and chunk else chunk
        if isinstance(chunk, dict):
            yield from self.feed_chunk(chunk)

    def feed_chunk(self, chunk: Mapping[str, Any]) -> Iterator[Delta | UpstreamFailed]:
        """Take one chunk, or a whole completion from a server that does not stream."""
        choices = chunk.get("choices")
        said = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
        error = error_in(chunk, said)
        if error is not None:
            yield from_body(None, error, self._secrets)
            return
        self._usage = _usage(chunk.get("usage"), self._usage)
        for choice in said:
            self._usage = _usage(choice.get("usage"), self._usage)
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            self._note_logprobs(choice.get("logprobs"))
            try:
                delta = self._delta(choice)
            except _NoCall as problem:
                yield UpstreamFailed(Refused(f"The upstream sent a tool call that is none: {problem}"))
                return
            yield from self._shown(self._whole(delta))

    def _delta(self, choice: Mapping[str, Any]) -> Delta:
        """Return what a choice says. A whole message behind deltas says most of it once more."""
        is_whole = not choice.get("delta") and isinstance(choice.get("message"), dict)
        said = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
        delta = _delta(said if isinstance(said, dict) else {})
        if is_whole and self._is_begun:
            delta = replace(
                delta,
                text=_rest(delta.text, self._told),
                reasoning=_rest(delta.reasoning, self._thought),
                tool_calls=[{**call, "position": position} for position, call in enumerate(delta.tool_calls)],
            )
        # Another choice holds the calls of the first, where there is one: its words are a second answer's.
        number = str(choice.get("index") or 0)
        if delta.text and self._speaker not in (None, number):
            delta = replace(delta, text="")
        elif delta.text:
            self._speaker = number
        named = any((call.get("function") or {}).get("name") for call in delta.tool_calls)
        self._has_said = self._has_said or bool(delta.text.strip()) or named
        self._has_thought = self._has_thought or bool(delta.reasoning)
        if not is_whole:
            self._is_begun = self._is_begun or bool(delta.text or delta.reasoning or delta.tool_calls)
            self._told.append(delta.text)
            self._thought.append(delta.reasoning)
        return delta

    def _whole(self, delta: Delta) -> Delta:
        """Put characters together that were cut in two, since nothing can pass half of one on."""
        for call in delta.tool_calls:
            function = call.get("function")
            arguments = function.get("arguments") if function else None
            if function and isinstance(arguments, str) and (self._halves or not arguments.isascii()):
                function["arguments"] = self._halves[call.get("index")].feed(arguments)
        if not self._halves and delta.text.isascii() and delta.reasoning.isascii():
            return delta
        text, reasoning = self._halves["text"].feed(delta.text), self._halves["reasoning"].feed(delta.reasoning)
        return replace(delta, text=text, reasoning=reasoning)

    def _shown(self, delta: Delta) -> Iterator[Delta]:
        reasoning, text = self._tags.feed(delta.text)
        if "</think>" in text and not (self._has_thought or reasoning or self._is_shown):
            reasoning, text = _parted(text)
        self._is_shown = self._is_shown or bool(text.strip())
        if not self._show_reasoning:
            delta, reasoning = replace(delta, reasoning=""), ""
        if reasoning or text != delta.text:
            field = delta.reasoning_field or (REASONING[0] if reasoning else "")
            delta = replace(delta, text=text, reasoning=delta.reasoning + reasoning, reasoning_field=field)
        if delta.text or delta.reasoning or delta.tool_calls or delta.sealed or delta.reasoning_field:
            yield delta

    def rest(self) -> Iterator[Delta]:
        """Return what was held back, once nothing more comes."""
        reasoning, text = self._tags.close()
        if text or (reasoning and self._show_reasoning):
            yield Delta(text=text, reasoning=reasoning if self._show_reasoning else "")

    def close(self) -> Completed | UpstreamFailed:
        """Say how the stream ended."""
        if self._finish_reason is None and not self._done:
            return UpstreamFailed(Unreachable(CUT_OFF), transient=True)
        word = str(self._finish_reason or "stop").lower()
        # Gemini says both why, and why that is: `content_filter: PROHIBITED_CONTENT`.
        kind, _, cause = word.partition(": ")
        known = _REASONS.get(cause) or _REASONS.get(kind)
        reason = known or (FAULT if _FAILED.search(word) else self._finish_reason)
        if reason == FAULT:
            told = f"The upstream gave its answer up ({self._finish_reason}). Trying again may help."
            return UpstreamFailed(Unavailable(told), transient=True)
        counted = self._usage is not None and self._usage.completion_tokens > 0
        is_meant = self._may_be_empty and counted and reason == "stop"
        if not (self._has_said or is_meant) and reason not in {"length", "content_filter"}:
            failed = UpstreamFailed(SaidNothing(NOTHING), transient=True)
            return Completed(str(reason), self._usage, failed=failed) if self._has_thought else failed
        return Completed(str(reason), self._usage, logprobs=tuple(self._logprobs))

    def _note_logprobs(self, said: Any) -> None:
        content = said.get("content") if isinstance(said, dict) else None
        if isinstance(content, list):
            self._logprobs += (
                entry for entry in content[: _MOST_TOKENS - len(self._logprobs)] if isinstance(entry, dict)
            )


FAULT = "fault"
_WORDS = {
    "stop": "stop eos eos_token end_turn stop_sequence complete completed",
    "tool_calls": "tool_calls tool_use tool_call function_call",
    "length": "length max_tokens max_output_tokens model_length token_limit model_context_window_exceeded repetition",
    "content_filter": "content_filter content_filtered safety image_safety sensitive refusal recitation blocklist "
    "prohibited_content spii language function_call_filter guardrail_intervened",
    FAULT: "error network_error timeout abort cancelled other insufficient_system_resource malformed_function_call "
    "malformed_tool_call malformed_response unexpected_tool_call too_many_tool_calls missing_thought_signature",
}
"""What vendors call the end of an answer. Source: the references of OpenAI, Gemini, Anthropic, Cohere, Mistral,
DeepSeek, Zhipu, OpenRouter and vLLM. Words that are not here are passed on.
"""
_FAILED = re.compile("error|fail|overload")
_REASONS = {word: reason for reason, words in _WORDS.items() for word in words.split()}


class _NoCall(Exception):
    pass


_ERRORS = frozenset({"error", "base_resp"})


def error_in(chunk: Mapping[str, Any], choices: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the error that a chunk tells of, in OpenAI's form, None where it tells of none: 200 says nothing of it."""
    if choices and _ERRORS.isdisjoint(chunk) and chunk.get("object") != "error":  # nearly every chunk
        return next(({"error": choice["error"]} for choice in choices if choice.get("error")), None)
    error = chunk.get("error")
    if isinstance(error, dict) and not error.get("message") and str(error.get("code") or 0) == "0":
        error = None
    if error or chunk.get("object") == "error":
        return chunk
    if inner := next((choice["error"] for choice in choices if choice.get("error")), None):
        return {"error": inner}
    base = chunk.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return {"error": {"message": base.get("status_msg"), "code": base["status_code"]}}
    if choices:
        return None
    listed = chunk.get("errors")
    if isinstance(listed, list) and listed and isinstance(listed[0], dict):
        return {"error": listed[0]}
    message = chunk.get("error_msg") or chunk.get("errorMessage") or chunk.get("message") or chunk.get("msg")
    status = chunk.get("status") if str(chunk.get("status")).isdigit() else chunk.get("success") is False and 400
    code = chunk.get("error_code") or chunk.get("code") or status
    return {"error": {"message": message, "code": code}} if isinstance(message, str) and code else None


_LONE_END = re.compile(r"(?<!`)</think>(?!`)\s*")


def _parted(text: str) -> tuple[str, str]:
    """Return the thought that ends in a text, where the prompt holds its beginning, and the answer behind it."""
    thought, *answer = _LONE_END.split(text, maxsplit=1)
    if not answer or not answer[0] or "<think" in thought:
        return "", text
    return thought.strip("\n"), answer[0]


def _rest(text: str, pieces: Sequence[str]) -> str:
    """Return what a whole text says beyond its pieces."""
    told = "".join(pieces)
    return text[len(told) :] if text.startswith(told) else ""


def _delta(delta: Mapping[str, Any]) -> Delta:
    reasoning, field = thought_in(delta)
    return Delta(
        text=_text(delta.get("content") or delta.get("refusal")),
        reasoning=reasoning,
        reasoning_field=field,
        tool_calls=_calls(delta) or (),
        sealed=sealed(delta),
    )


def _calls(delta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries for calls, that of the older `function_call` among them. Raises _NoCall."""
    calls = delta.get("tool_calls") or []
    if not isinstance(calls, list):
        raise _NoCall("tool_calls is not a list")
    if delta.get("function_call") and not calls:
        calls = [{"index": 0, "function": delta["function_call"]}]
    return [_call(call) for call in calls if call is not None]


def _call(call: Any) -> dict[str, Any]:
    if not isinstance(call, dict):
        raise _NoCall("an entry of tool_calls is not an object")
    if "function" not in call and call.get("name"):
        # Some servers write what belongs into `function` beside it.
        call = {"id": call.get("id"), "index": call.get("index"), "function": call}
    function, index = call.get("function"), call.get("index")
    if function is not None and not isinstance(function, dict):
        raise _NoCall("function is not an object")
    if function and not isinstance(function.get("name"), str | None):
        raise _NoCall("a name is not text")
    if (isinstance(index, str) and index.isdigit()) or (isinstance(index, float) and index.is_integer()):
        index = int(index)
    if isinstance(index, bool) or not isinstance(index, int | None):
        raise _NoCall("an index is not a number")
    return {**call, "index": index}


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def _usage(usage: Any, known: Usage | None) -> Usage | None:
    """Return the usage so far. A count of nothing does not replace a real one."""
    if not isinstance(usage, dict):
        return known
    prompt, completion = (_count(usage.get(f"{name}_tokens")) for name in ("prompt", "completion"))
    if prompt is None or completion is None:
        return known
    # Some count the prompt at the beginning alone.
    before = known or Usage(prompt_tokens=0, completion_tokens=0)
    return Usage(prompt_tokens=prompt or before.prompt_tokens, completion_tokens=completion or before.completion_tokens)


def _count(value: Any) -> int | None:
    return max(0, int(value)) if isinstance(value, int | float) and math.isfinite(value) else None
