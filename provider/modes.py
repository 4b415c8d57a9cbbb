"""How tools and calls are expressed to a model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from provider.events import Delta
from tools.calls import ToolCall, ToolCallAssembler
from tools.choices import ToolChoice
from tools.definitions import ToolDefinition
from tools.results import Message


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is to see: a transcript in OpenAI's form, and the tools on offer."""

    messages: Sequence[Message]
    tools: Sequence[ToolDefinition] = ()
    choice: ToolChoice = "auto"
    parallel: bool | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """How a response ended: the last `text`, and the calls. `problems` says what is wrong with some, by their id."""

    text: str = ""
    calls: Sequence[ToolCall] = ()
    problems: dict[str, str] = field(default_factory=dict)


class Decoder(Protocol):
    """Reads one response."""

    def feed(self, delta: Delta) -> str:
        """Take a delta and return the text that may be shown by now."""

    def close(self) -> Reply:
        """End the response."""


class Mode(Protocol):
    """Writes requests and reads responses."""

    def encode(self, prompt: Prompt) -> dict[str, Any]:
        """Return the request's fields for `prompt`: `messages` and whatever goes with the tools."""

    def decoder(self, prompt: Prompt) -> Decoder:
        """Return what reads the response to `prompt`."""


class Structured:
    """OpenAI's own fields."""

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
        return _StructuredDecoder()


class _StructuredDecoder:
    def __init__(self) -> None:
        self._calls = ToolCallAssembler()

    def feed(self, delta: Delta) -> str:
        for entry in delta.tool_calls:
            self._calls.feed(entry)
        return delta.text

    def close(self) -> Reply:
        return Reply(calls=self._calls.calls())
