"""The manners of real upstreams as data: what one refuses, overlooks, wants back, and how it writes its answers.

A refusal is in the vendor's own words, since a client has nothing else to go by. A vendor is a tuple of rules
(`vendors`), each with its source and how well it is known; what is only guessed is left off.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from demo.scripted.refusal import Form, Refusal

Body = Mapping[str, Any]
Message = Mapping[str, Any]
Standing = Literal["documented", "reported", "guessed"]

PLACEHOLDER = "skip_thought_signature_validator"
"""Takes the place of a signature. Source: https://ai.google.dev/gemini-api/docs/thought-signatures"""


def thought_of(names: Sequence[str]) -> str:
    """What a model thinks before it calls these tools: it can be told whether it comes back as it was."""
    return f"The request is plain. Next: {', '.join(names) or 'the answer'}."


def seal_of(names: Sequence[str]) -> str:
    """The signature under that thought."""
    return hashlib.sha256(thought_of(names).encode()).hexdigest()[:32]


def details_of(names: Sequence[str]) -> list[dict[str, Any]]:
    """The thought as OpenRouter writes it."""
    return [{"type": "reasoning.text", "text": thought_of(names), "signature": seal_of(names), "index": 0}]


def _messages(body: Body, role: str) -> list[Message]:
    return [each for each in body["messages"] if isinstance(each, dict) and each.get("role") == role]


def _names(message: Message) -> list[str]:
    return [call["function"]["name"] for call in message.get("tool_calls") or ()]


def _of_turn(body: Body) -> list[Message]:
    """The assistant's messages with calls behind the last user message."""
    last = max((at for at, each in enumerate(body["messages"]) if each.get("role") == "user"), default=-1)
    return [each for each in body["messages"][last + 1 :] if each.get("tool_calls")]


def _contents(body: Body) -> Iterator[Any]:
    yield from (message.get("content") for message in body["messages"] if isinstance(message, dict))


def _holds_image(body: Body) -> bool:
    parts = [part for content in _contents(body) if isinstance(content, list) for part in content]
    return any(isinstance(part, dict) and part.get("type") == "image_url" for part in parts)


def _forces_tool(body: Body) -> bool:
    return body.get("tool_choice") not in (None, "auto", "none")


def _format_of(body: Body) -> Any:
    return (body.get("response_format") or {}).get("type")


def _follows(body: Body, role: str, before: str) -> bool:
    roles = [message.get("role") for message in body["messages"]]
    return (before, role) in pairwise(roles)


def _signed(message: Message) -> bool:
    """Whether the first of the calls has its signature, or what may stand in its place."""
    google = (message["tool_calls"][0].get("extra_content") or {}).get("google") or {}
    return google.get("thought_signature") in (seal_of(_names(message)), PLACEHOLDER)


def _ids(body: Body) -> list[str]:
    return [str(call.get("id")) for message in body["messages"] for call in message.get("tool_calls") or ()]


def _schema_words(body: Body, *words: str) -> bool:
    tools = [tool["function"].get("parameters") for tool in body.get("tools") or ()]
    return any(word in found for word in words for found in map(_words, tools))


def _words(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return {word for each in schema for word in _words(each)}
    if not isinstance(schema, dict):
        return set()
    return set(schema) | {word for each in schema.values() for word in _words(each)}


# What a request may have that some upstream refuses.
TRAITS: dict[str, Callable[[Body], bool]] = {
    "tools": lambda body: bool(body.get("tools")),
    "free choice of tools": lambda body: bool(body.get("tools")) and not _forces_tool(body),
    "tool_choice": _forces_tool,
    "named tool_choice": lambda body: isinstance(body.get("tool_choice"), dict),
    "image": _holds_image,
    "json_schema": lambda body: _format_of(body) == "json_schema",
    "json_object": lambda body: _format_of(body) == "json_object",
    "json beside tools": lambda body: _format_of(body) in ("json_schema", "json_object") and bool(body.get("tools")),
    "stream": lambda body: bool(body.get("stream")),
    "stream_options": lambda body: "stream_options" in body,
    "max_tokens": lambda body: "max_tokens" in body,
    "max_completion_tokens": lambda body: "max_completion_tokens" in body,
    "user": lambda body: "user" in body,
    "parallel_tool_calls": lambda body: "parallel_tool_calls" in body,
    "temperature": lambda body: body.get("temperature", 1) != 1,
    "penalties": lambda body: bool({"frequency_penalty", "presence_penalty"} & body.keys()),
    "whole thoughts": lambda body: not body.get("stream") and body.get("enable_thinking") is not False,
    "developer": lambda body: bool(_messages(body, "developer")),
    "several systems": lambda body: len(_messages(body, "system")) > 1,
    "late system": lambda body: any(each.get("role") == "system" for each in body["messages"][1:]),
    "user after tool": lambda body: _follows(body, "user", "tool"),
    "system after tool": lambda body: _follows(body, "system", "tool"),
    "user after user": lambda body: _follows(body, "user", "user"),
    "silent assistant": lambda body: any(
        not each.get("content") and not each.get("tool_calls") for each in _messages(body, "assistant")
    ),
    "text parts": lambda body: any(
        isinstance(content, list) and all(part.get("type") == "text" for part in content) for content in _contents(body)
    ),
    "long ids": lambda body: any(not re.fullmatch(r"[a-zA-Z0-9]{9}", each) for each in _ids(body)),
    "reasoning_content": lambda body: any("reasoning_content" in each for each in body["messages"]),
    "another thought": lambda body: any(
        each.get("reasoning_content") not in (None, "", " ", thought_of(_names(each))) for each in _of_turn(body)
    ),
    "no thought": lambda body: any(not each.get("reasoning_content") for each in _of_turn(body)),
    "no thought ever": lambda body: any(
        each.get("tool_calls") and not each.get("reasoning_content") for each in _messages(body, "assistant")
    ),
    "no signature": lambda body: any(not _signed(each) for each in _of_turn(body)),
    "other details": lambda body: any(
        each.get("reasoning_details") not in (None, details_of(_names(each))) for each in _of_turn(body)
    ),
    "exclusive bounds": lambda body: _schema_words(body, "exclusiveMinimum", "exclusiveMaximum"),
}

OVERLOOKED = ("tool_choice", "image", "json_schema", "stream_options", "streamed calls", "unknown fields of messages")
"""What an upstream may take without a word and not act upon. `streamed calls`: it makes none in a stream."""

THOUGHTS = ("reasoning_content", "reasoning", "reasoning_text", "think tags", "thinking parts")
"""Where a thought stands: in a field of that name, in tags before the text, or in parts of the content."""

WRITTEN = (
    *THOUGHTS,
    *("signatures", "reasoning_details", "reasoning_opaque"),
    *("whole calls", "index 0", "no index", "no ids", "empty ids later", "ids of nine", "ids by name"),
    *("calls in a second choice", "calls end with stop", "the whole message last", "empty role"),
    *("filter results first", "comments", "usage with the end", "usage in every chunk", "no done"),
)
"""How an upstream may write its answer otherwise than OpenAI: `wire` and `play` do it."""


@dataclass(frozen=True)
class Rule:
    """One manner: it `refuses` a trait in its `words`, or it `overlooks` or `writes` something."""

    kind: Literal["refuses", "overlooks", "writes"]
    what: str
    source: str
    standing: Standing = "reported"
    words: str = ""
    status: int = 400
    code: str | None = None


@dataclass(frozen=True)
class Quirks:
    """One upstream: its rules, the fields of its own that it takes, and the form of its errors."""

    rules: tuple[Rule, ...] = ()
    own_fields: frozenset[str] = frozenset()
    form: Form = "openai"
    refuses: tuple[Rule, ...] = field(init=False)
    overlooks: frozenset[str] = field(init=False)
    writes: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        sure = [rule for rule in self.rules if rule.standing != "guessed"]
        of = {kind: [rule for rule in sure if rule.kind == kind] for kind in ("refuses", "overlooks", "writes")}
        object.__setattr__(self, "refuses", tuple(of["refuses"]))
        object.__setattr__(self, "overlooks", frozenset(rule.what for rule in of["overlooks"]))
        object.__setattr__(self, "writes", frozenset(rule.what for rule in of["writes"]))

    @property
    def thought(self) -> str | None:
        """Where its thoughts stand, None where it has none."""
        return next((where for where in THOUGHTS if where in self.writes), None)

    def check(self, body: Body) -> None:
        """Raises `Refusal` for what this upstream does not take."""
        for rule in self.refuses:
            if TRAITS[rule.what](body):
                raise Refusal(rule.words, status=rule.status, code=rule.code)
