"""What real upstreams refuse or overlook, as data: each model of an imitated vendor is a row of `models`.

A refusal is in the vendor's own words, since a client has nothing else to go by.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from demo.scripted.refusal import Refusal

Body = Mapping[str, Any]


def _holds_image(body: Body) -> bool:
    contents = [message.get("content") for message in body["messages"] if isinstance(message, dict)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(isinstance(part, dict) and part.get("type") == "image_url" for part in parts)


def _forces_tool(body: Body) -> bool:
    return body.get("tool_choice") not in (None, "auto", "none")


def _format_of(body: Body) -> Any:
    return (body.get("response_format") or {}).get("type")


# What a request may have that some upstream refuses.
TRAITS: dict[str, Callable[[Body], bool]] = {
    "tools": lambda body: bool(body.get("tools")),
    "free choice of tools": lambda body: bool(body.get("tools")) and not _forces_tool(body),
    "tool_choice": _forces_tool,
    "named tool_choice": lambda body: isinstance(body.get("tool_choice"), dict),
    "image": _holds_image,
    "json_schema": lambda body: _format_of(body) == "json_schema",
    "json_object": lambda body: _format_of(body) == "json_object",
    "stream": lambda body: bool(body.get("stream")),
    "stream_options": lambda body: "stream_options" in body,
    "max_tokens": lambda body: "max_tokens" in body,
    "max_completion_tokens": lambda body: "max_completion_tokens" in body,
    "user": lambda body: "user" in body,
    "parallel_tool_calls": lambda body: "parallel_tool_calls" in body,
}

OVERLOOKED = ("tool_choice", "image", "json_schema", "stream_options", "streamed calls")
"""What an upstream may take without a word and not act upon. `streamed calls`: it makes none in a stream."""


@dataclass(frozen=True)
class No:
    """A vendor's refusal."""

    message: str
    status: int = 400
    code: str | None = None


@dataclass(frozen=True)
class Quirks:
    """What one upstream refuses, by trait, what it overlooks, and the fields of its own that it takes."""

    refuses: Mapping[str, No] = field(default_factory=dict)
    overlooks: frozenset[str] = frozenset()
    own_fields: frozenset[str] = frozenset()

    def check(self, body: Body) -> None:
        """Raises `Refusal` for what this upstream does not take."""
        for trait, no in self.refuses.items():
            if TRAITS[trait](body):
                raise Refusal(no.message, status=no.status, code=no.code)
