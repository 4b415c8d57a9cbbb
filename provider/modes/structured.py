"""OpenAI's own fields."""

from collections.abc import Sequence
from typing import Any

from provider.engine.events import Delta, UpstreamFailed
from provider.modes.mode import Decoder, Mode, Prompt, Reply
from tools.calls import Draft, ToolCallAssembler


class Structured:
    """Tools in `tools`, calls in `tool_calls`."""

    def encode(self, prompt: Prompt) -> dict[str, Any]:
        """Return `messages`, and where there are tools `tools`, `tool_choice` and `parallel_tool_calls`."""
        body: dict[str, Any] = {"messages": list(prompt.messages)}
        if not prompt.tools:
            return body
        body["tools"] = [tool.to_openai() for tool in prompt.tools]
        # `auto` is what an absent tool_choice means, and some servers know no tool_choice.
        if prompt.choice != "auto":
            body["tool_choice"] = prompt.choice
        if prompt.parallel is not None:
            body["parallel_tool_calls"] = prompt.parallel
        return body

    def decoder(self, prompt: Prompt) -> Decoder:
        """Return a decoder of OpenAI's deltas."""
        return StructuredDecoder()

    def instead(self, prompt: Prompt, failed: UpstreamFailed) -> Mode | None:
        """Return None: the node wants this mode."""
        return None


class StructuredDecoder:
    """Text as it comes, and calls put together from their deltas."""

    def __init__(self) -> None:
        self._calls = ToolCallAssembler()

    def feed(self, delta: Delta) -> str:
        """Take a delta and return its text."""
        for entry in delta.tool_calls:
            self._calls.feed(entry)
        return delta.text

    def drafts(self) -> Sequence[Draft]:
        """Return the calls as far as they are written."""
        return self._calls.drafts()

    def close(self) -> Reply:
        """Return the calls."""
        return Reply(calls=self._calls.calls())
