"""Tools as strict upstreams take them, around any mode: plain names, plain schemas, and the way back.

The engine knows a tool by its own name and its own schema only. What a schema loses on the way to the model is checked
when the arguments come back.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from provider.engine.events import Delta, UpstreamFailed
from provider.modes.mode import Decoder, Mode, Prompt, Reply
from tools.calls import Draft
from tools.choices import forced_name, named
from tools.definitions import ToolDefinition, names_of
from tools.names import safe_names
from tools.results import Message
from tools.schemas import for_upstream


class Normalised:
    """Speaks `mode` with names and schemas that every upstream takes."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode

    def encode(self, prompt: Prompt) -> dict[str, Any]:
        """Return the request's fields."""
        return self._mode.encode(_plain(prompt, _names(prompt)))

    def decoder(self, prompt: Prompt) -> Decoder:
        """Return a decoder whose calls have the tools' own names."""
        names = _names(prompt)
        return _NamedBack(self._mode.decoder(_plain(prompt, names)), {plain: name for name, plain in names.items()})

    def instead(self, prompt: Prompt, failed: UpstreamFailed) -> Mode | None:
        """Return the other mode, with the same care."""
        other = self._mode.instead(_plain(prompt, _names(prompt)), failed)
        return Normalised(other) if other else None


class _NamedBack:
    def __init__(self, decoder: Decoder, names: Mapping[str, str]) -> None:
        self._decoder = decoder
        self._names = names

    def feed(self, delta: Delta) -> str:
        return self._decoder.feed(delta)

    def drafts(self) -> Sequence[Draft]:
        return [replace(draft, name=self._own(draft.name)) for draft in self._decoder.drafts()]

    def close(self) -> Reply:
        reply = self._decoder.close()
        calls = [call.model_copy(update={"name": self._own(call.name)}) for call in reply.calls]
        return replace(reply, calls=calls)

    def _own(self, name: str) -> str:
        return self._names.get(name, name)


def _names(prompt: Prompt) -> dict[str, str]:
    """Return the plain name of each tool. A name that only the transcript holds must not take another tool's."""
    return safe_names([*names_of(prompt.tools), *names_of(prompt.known)])


def _plain(prompt: Prompt, names: Mapping[str, str]) -> Prompt:
    forced = names.get(forced_name(prompt.choice) or "")
    tools = _definitions(prompt.tools, names)
    return replace(
        prompt,
        messages=[_message(message, names) for message in prompt.messages],
        tools=tools,
        choice=named(forced) if forced else prompt.choice,
        known=tools if prompt.known is prompt.tools else _definitions(prompt.known, names),
    )


def _definitions(tools: Iterable[ToolDefinition], names: Mapping[str, str]) -> list[ToolDefinition]:
    return [for_upstream(tool, names[tool.name]) for tool in tools]


def _message(message: Message, names: Mapping[str, str]) -> Message:
    calls = message.get("tool_calls") if message.get("role") == "assistant" else None
    if not isinstance(calls, list):
        return message
    return message | {"tool_calls": [_call(call, names) for call in calls]}


def _call(call: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    name = call["function"]["name"]
    return call | {"function": call["function"] | {"name": names.get(name) or safe_names([name])[name]}}
