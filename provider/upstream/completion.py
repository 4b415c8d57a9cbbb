"""What the upstream says, from server-sent events: deltas, then how it ended.

Servers that call themselves OpenAI-compatible differ: `content` may be absent, null or a list of parts, reasoning is
called `reasoning_content` or `reasoning` or stands in tags before the answer, `choices` may be missing or empty,
`usage` comes last, always or never, the final `[DONE]` may be left out, and an error may come as an event. All of that
is read here.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from provider.engine.events import Completed, Delta, UpstreamFailed
from provider.errors import Unreachable
from provider.upstream.failures import from_body
from provider.upstream.think_tags import ThinkTags
from tools.carried import sealed, thought_in
from tools.surrogates import Halves
from tools.wire import Usage

StreamEvent = Delta | Completed | UpstreamFailed

DONE = "[DONE]"
CUT_OFF = "The upstream's answer broke off before its end. Trying again may help."


class CompletionReader:
    """Reads the data of one stream's events, and says at its end whether the answer is whole."""

    def __init__(self, secrets: Sequence[str] = (), *, show_reasoning: bool = True) -> None:
        self._secrets = secrets
        self._show_reasoning = show_reasoning
        self._tags = ThinkTags()
        self._halves: dict[object, Halves] = defaultdict(Halves)
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._done = False

    def feed(self, data: str) -> Iterator[Delta | UpstreamFailed]:
        """Take one event's data. What is not a JSON object is passed over: proxies write such lines."""
        if data.strip() == DONE:
            self._done = True
            return
        try:
            chunk = json.loads(data)
        except ValueError:
            return
        if isinstance(chunk, dict):
            yield from self.feed_chunk(chunk)

    def feed_chunk(self, chunk: Mapping[str, Any]) -> Iterator[Delta | UpstreamFailed]:
        """Take one chunk, or a whole completion from a server that does not stream."""
        if chunk.get("error") or chunk.get("object") == "error":
            yield from_body(None, chunk, self._secrets)
            return
        self._usage = _usage(chunk.get("usage")) or self._usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        said = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
        if isinstance(said, dict):
            yield from self._shown(self._whole(_delta(said)))

    def _whole(self, delta: Delta) -> Delta:
        """Put characters together that were cut in two, since nothing can pass half of one on."""
        for call in delta.tool_calls:
            function = call.get("function")
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                function["arguments"] = self._halves[call.get("index")].feed(function["arguments"])
        text, reasoning = self._halves["text"].feed(delta.text), self._halves["reasoning"].feed(delta.reasoning)
        return replace(delta, text=text, reasoning=reasoning)

    def _shown(self, delta: Delta) -> Iterator[Delta]:
        reasoning, text = self._tags.feed(delta.text)
        if not self._show_reasoning:
            delta, reasoning = replace(delta, reasoning=""), ""
        delta = replace(delta, text=text, reasoning=delta.reasoning + reasoning)
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
        return Completed(self._finish_reason or "stop", self._usage)


def _delta(delta: Mapping[str, Any]) -> Delta:
    reasoning, field = thought_in(delta)
    calls = delta.get("tool_calls")
    return Delta(
        text=_text(delta.get("content") or delta.get("refusal")),
        reasoning=reasoning,
        reasoning_field=field,
        tool_calls=[call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else (),
        sealed=sealed(delta),
    )


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    return Usage(prompt_tokens=max(0, prompt), completion_tokens=max(0, completion))
