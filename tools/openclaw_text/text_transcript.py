"""A conversation with tools as plain messages, for an upstream that knows neither `tools` nor the role `tool`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.choices import ToolChoice
from tools.openclaw_text.families import Family
from tools.openclaw_text.language import Language, language_of
from tools.openclaw_text.phrases import PHRASES
from tools.openclaw_text.prompt import DEFAULT_BUDGET_TOKENS, forced_tool, system_text
from tools.openclaw_text.schema_parts import Schema, name_of
from tools.openclaw_text.writer import Arguments, Result, kimi_id, write_calls, write_results
from tools.results import Message, text_of

_SYSTEM = {"system", "developer"}
_RESULT = {"tool", "function"}


@dataclass(frozen=True, slots=True)
class TextRequest:
    """The messages for the upstream, and what its model is not told."""

    messages: list[Message]
    warnings: tuple[str, ...] = ()


def to_text_messages(
    messages: Sequence[Message],
    tools: Sequence[Schema],
    tool_choice: ToolChoice | None,
    family: Family,
    language: Language | None = None,
    budget_tokens: int | None = DEFAULT_BUDGET_TOKENS,
    parallel: bool = True,
) -> TextRequest:
    """Return `messages` (OpenAI's form) as system, user and assistant messages without tool fields.

    One system message comes first, all others' text in it and the definitions at its end. Then user and assistant take
    turns, the user first, as strict servers want it: neighbours of one role become one message. Calls stand in the
    assistant's text as its family writes them; a round's results and what the user says after them are one message.
    Content is a string unless it has images. `language` None is detected.
    """
    language = language or language_of(messages)
    prompt = system_text(tools, tool_choice, family, language, budget_tokens, parallel)
    turns = _alternating(_Rewriter(family, tools).turns(messages))
    phrases = PHRASES[language]
    if turns and turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": phrases.opening})
    forced = forced_tool(tools, tool_choice)
    if forced is not None:
        _remind(turns, phrases.remind_named.replace("{name}", name_of(forced)))
    elif tools and tool_choice == "required":
        _remind(turns, phrases.remind_required)
    given = [text_of(message.get("content")) for message in messages if message.get("role") in _SYSTEM]
    system = "\n\n".join(text for text in (*given, prompt.text) if text.strip())
    leading = [{"role": "system", "content": system}] if system else []
    return TextRequest([*leading, *turns], prompt.warnings)


class _Rewriter:
    """Turns tool fields into text, and remembers by id which call a result answers."""

    def __init__(self, family: Family, tools: Sequence[Schema]) -> None:
        self._family = family
        self._tools = tools
        self._made = 0
        self._names: dict[str, str] = {}
        self._ids: dict[str, str] = {}

    def turns(self, messages: Sequence[Message]) -> Iterable[Message]:
        """Return the messages that are not the system's; results that follow each other are one message."""
        waiting: list[Message] = []
        for message in messages:
            role = message.get("role")
            if role in _RESULT:
                waiting.append(message)
                continue
            if role in _SYSTEM:
                continue
            yield from self._results(waiting)
            waiting = []
            if role == "assistant":
                yield {"role": "assistant", "content": self._spoken(message)}
            else:
                yield {"role": "user", "content": message.get("content")}
        yield from self._results(waiting)

    def _spoken(self, message: Message) -> str:
        calls: list[tuple[str, Arguments]] = []
        first = self._made
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            name = str(function.get("name") or "")
            calls.append((name, _arguments(function.get("arguments"))))
            self._names[str(call.get("id"))] = name
            self._ids[str(call.get("id"))] = kimi_id(name, self._made)
            self._made += 1
        text = text_of(message.get("content"))
        written = write_calls(calls, self._family, self._tools, first)
        return "\n\n".join(part for part in (text, written) if part.strip())

    def _results(self, messages: Sequence[Message]) -> Iterable[Message]:
        if not messages:
            return
        yield write_results([self._result(message) for message in messages], self._family)
        images = [part for message in messages for part in _images(message.get("content"))]
        if images:
            yield {"role": "user", "content": images}

    def _result(self, message: Message) -> Result:
        given = str(message.get("tool_call_id"))
        name = self._names.get(given) or str(message.get("name") or "tool")
        return name, self._ids.get(given, given), text_of(message.get("content")), False


def _arguments(given: object) -> Arguments:
    """Return a call's arguments, or their text where it is no JSON object: the model shall see what it wrote."""
    if isinstance(given, Mapping):
        return given
    text = str(given or "").strip() or "{}"
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return read if isinstance(read, dict) else text


def _alternating(turns: Iterable[Message]) -> list[Message]:
    """Join neighbours of one role, and leave out what is empty."""
    joined: list[Message] = []
    for turn in turns:
        content = _plain(turn["content"])
        if not content:
            continue
        if joined and joined[-1]["role"] == turn["role"]:
            joined[-1] = turn | {"content": _joined(joined[-1]["content"], content)}
        else:
            joined.append(turn | {"content": content})
    return joined


def _plain(content: object) -> str | list[Any]:
    """Return content as a string, or as parts where it has images."""
    if isinstance(content, list) and _images(content):
        return [part for part in content if not _is_empty_text(part)]
    return text_of(content)


def _joined(first: str | list[Any], second: str | list[Any]) -> str | list[Any]:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [*_as_parts(first), *_as_parts(second)]


def _as_parts(content: str | list[Any]) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _images(content: object) -> list[Any]:
    """Return the parts that are not text."""
    return [part for part in content if _kind(part) != "text"] if isinstance(content, list) else []


def _is_empty_text(part: object) -> bool:
    return _kind(part) == "text" and isinstance(part, Mapping) and not part.get("text")


def _kind(part: object) -> object:
    return part.get("type") if isinstance(part, Mapping) else None


def _remind(turns: list[Message], reminder: str) -> None:
    """Repeat a forced choice where a small model looks last: at the end of the user's last message."""
    if turns and turns[-1]["role"] == "user":
        turns[-1] = turns[-1] | {"content": _joined(turns[-1]["content"], reminder)}
