"""Where in its script a conversation stands, read off the messages alone: the server remembers no conversation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demo.scripted.request import Request
from demo.scripted.script import Script, read_script, without_directives
from demo.scripted.text_formats import holds_call, shows_tool

Message = Mapping[str, Any]

# What OpenClaw adds after the user's words. It is nobody's question and no tool's result.
_CLIENT_CONTEXT = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>"


@dataclass(frozen=True)
class Result:
    """What a tool answered; `name` is None where the transcript does not tell it."""

    name: str | None
    text: str


@dataclass(frozen=True)
class Place:
    """The message that holds the script, and how many of its rounds are done."""

    script: Script
    text: str
    index: int
    rounds_done: int


def text_of(message: Message) -> str:
    """A message's text, its text parts joined by newlines."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if part.get("type") == "text")
    return content or ""


def find_place(request: Request) -> Place | None:
    """The last user message with directives, and the round that comes next. Raises `Refusal` for a malformed script."""
    for index, message in reversed(list(enumerate(request.messages))):
        if message["role"] == "user" and (script := read_script(text := text_of(message))):
            done = sum(_asks_for_tools(request, later) for later in request.messages[index + 1 :])
            return Place(script, text, index, done)
    return None


def last_question(messages: Sequence[Message]) -> str:
    """What the user said last, without what a client adds on its own."""
    questions = [text_of(message) for message in messages if message["role"] == "user"]
    own = [text for text in questions if not text.startswith(_CLIENT_CONTEXT)]
    return (own or questions or [""])[-1]


def last_results(request: Request, place: Place) -> list[Result]:
    """What answered the script's last calls: tool messages, or the user messages after calls that were text."""
    messages = request.messages
    for index in range(len(messages) - 1, place.index, -1):
        if _asks_for_tools(request, messages[index]):
            after = messages[index + 1 :]
            if request.model.text_format is not None:
                texts = [text_of(message) for message in after if message["role"] == "user"]
                return [Result(None, text) for text in texts if not text.startswith(_CLIENT_CONTEXT)]
            names = {call["id"]: call["function"]["name"] for call in messages[index]["tool_calls"]}
            return [Result(names.get(m["tool_call_id"]), text_of(m)) for m in after if m["role"] == "tool"]
    return []


def may_call(request: Request, place: Place) -> bool:
    """Whether the request offers tools at all: as a field, or, to a model that only writes text, in the prompt."""
    format_ = request.model.text_format
    if format_ is None:
        return bool(request.tools) and request.tool_choice != "none"
    prompts = [m for i, m in enumerate(request.messages) if m["role"] != "assistant" and i <= place.index]
    prompt = "\n".join(without_directives(text_of(message)) for message in prompts)
    names = {call.name for round_ in place.script.rounds for call in round_.calls}
    return format_.is_in(prompt) or any(shows_tool(prompt, name) for name in names)


def _asks_for_tools(request: Request, message: Message) -> bool:
    if message["role"] != "assistant":
        return False
    if request.model.text_format is None:
        return bool(message.get("tool_calls"))
    return holds_call(text_of(message))
