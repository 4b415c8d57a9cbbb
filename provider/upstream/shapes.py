"""The shapes of a prompt: one that loses nothing and that most servers take, and those that some want beyond it."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from tools.carried import REASONING, is_thought, sealed, with_extras
from tools.results import Message, text_of
from tools.think_tags import ThinkTags

NO_OUTPUT = "(no output)"
UNSEEN = "(an image, which this model cannot see)"
BETWEEN = "I have the results."
UNKNOWN_THOUGHT = " "
"""Stands for a thought that nobody has kept. Moonshot takes an empty one for none."""

UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}
"""Stands for a signature that nobody has kept. Source: https://ai.google.dev/gemini-api/docs/thought-signatures"""

_LEADING = frozenset({"system", "developer"})


def plain(messages: Iterable[Message], *, sees: bool) -> list[Message]:
    """Return the messages as most servers take them: one system message, texts as strings, nothing that is empty."""
    written = [_one(message, sees=sees) for message in messages]
    return _one_system([message for message in written if not _is_empty(message)])


def _one(message: Message, *, sees: bool) -> Message:
    role, content = message.get("role"), message.get("content")
    if isinstance(content, list):
        content = content if sees else [_in_words(part) for part in content]
        if all(part.get("type") == "text" for part in content):
            content = text_of(content)
        message = message | {"content": content}
    if role == "developer":
        return message | {"role": "system"}
    if role == "tool":
        return message if content else message | {"content": NO_OUTPUT}
    return _without_think_block(message) if role == "assistant" else message


def _in_words(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": UNSEEN} if part.get("type") == "image_url" else part


def _without_think_block(message: Message) -> Message:
    """Take reasoning out of the text. Only that of a call goes back, in a field of its own."""
    content = message.get("content")
    if not isinstance(content, str):
        return message
    tags = ThinkTags()
    pieces = [tags.feed(content), tags.close()]
    thought, text = ("".join(each) for each in zip(*pieces, strict=True))
    calls = message.get("tool_calls")
    if calls and thought and not (message.keys() & set(REASONING) or sealed(message)):
        message = message | {REASONING[0]: thought}
    return message | {"content": text or (None if calls else "")}


def _is_empty(message: Message) -> bool:
    said = message.get("content")
    silent = not said or (isinstance(said, list) and all(map(is_thought, said)))
    return message.get("role") == "assistant" and silent and not message.get("tool_calls")


def _one_system(messages: Sequence[Message]) -> list[Message]:
    count = next((at for at, message in enumerate(messages) if message.get("role") != "system"), len(messages))
    if count < 2:
        return list(messages)
    texts = (text_of(message.get("content")) for message in messages[:count])
    return [{"role": "system", "content": "\n\n".join(filter(None, texts))}, *messages[count:]]


# What some servers want


def with_thoughts(messages: Sequence[Message]) -> list[Message]:
    """Let every answer and every call have a thought."""
    return [
        message | {REASONING[0]: _thought(message)} if message["role"] == "assistant" else message
        for message in messages
    ]


def _thought(message: Message) -> str:
    return next((message[name] for name in REASONING if message.get(name)), UNKNOWN_THOUGHT)


def with_signatures(messages: Sequence[Message]) -> list[Message]:
    """Let the first call of every round have a signature."""

    def signed(message: Message) -> Message:
        first = (message.get("tool_calls") or [{"extra_content": True}])[0]
        return message if first.get("extra_content") else with_extras(message, {"tool_calls": {first["id"]: _SIGNED}})

    return [signed(message) for message in messages]


_SIGNED = {"extra_content": UNSIGNED}


def system_first(messages: Sequence[Message]) -> list[Message]:
    """Let a system message that stands amid the dialogue be the user's, where it stands."""

    def of_user(message: Message) -> Message:
        return {"role": "user", "content": f"<system>\n{text_of(message.get('content'))}\n</system>"}

    return [of_user(message) if at and message["role"] == "system" else message for at, message in enumerate(messages)]


def without_system(messages: Sequence[Message]) -> list[Message]:
    """Let the first user message begin with the instructions."""
    if not messages or messages[0]["role"] != "system":
        return system_first(messages)
    first, rest = {"role": "user", "content": messages[0]["content"]}, system_first(messages)[1:]
    return [_both(first, rest[0]), *rest[1:]] if rest and rest[0]["role"] == "user" else [first, *rest]


def _both(one: Message, other: Message) -> Message:
    """Return two messages of one role as one."""
    texts = [one.get("content") or "", other.get("content") or ""]
    if all(isinstance(text, str) for text in texts):
        return one | other | {"content": "\n\n".join(filter(None, texts))}
    parts = [[{"type": "text", "text": text}] if isinstance(text, str) else text for text in texts if text]
    return one | other | {"content": [part for each in parts for part in each]}


def alternating(messages: Sequence[Message]) -> list[Message]:
    """Let user and assistant take turns, the user first."""
    written: list[Message] = []
    for message in messages:
        last = written[-1] if written else {"role": "system"}
        if message["role"] == last["role"] != "tool" and not last.get("tool_calls"):
            written[-1] = _both(last, message)
            continue
        if message["role"] == "assistant" and last["role"] == "system":
            written.append({"role": "user", "content": "(The dialogue begins with an answer.)"})
        written.append(message)
    return written


def answer_between(messages: Sequence[Message]) -> list[Message]:
    """Let no user message stand right behind a tool's."""
    written: list[Message] = []
    for message in messages:
        if written and message["role"] == "user" and written[-1]["role"] == "tool":
            written.append({"role": "assistant", "content": BETWEEN})
        written.append(message)
    return written


def plain_ids(messages: Sequence[Message]) -> list[Message]:
    """Let every call's id be nine letters and digits, which is what Mistral's models take, and all others as well."""

    def plain_id(given: str) -> str:
        return given if _NINE.fullmatch(given) else hashlib.sha256(given.encode(errors="replace")).hexdigest()[:9]

    def one(message: Message) -> Message:
        if message.get("tool_call_id"):
            return message | {"tool_call_id": plain_id(message["tool_call_id"])}
        calls = message.get("tool_calls")
        return message | {"tool_calls": [call | {"id": plain_id(call["id"])} for call in calls]} if calls else message

    return [one(message) for message in messages]


_NINE = re.compile(r"[a-zA-Z0-9]{9}")


def without_images(messages: Sequence[Message]) -> list[Message]:
    """Say in words where an image was."""
    return [_one(message, sees=False) if isinstance(message.get("content"), list) else message for message in messages]


def strings_alone(messages: Sequence[Message]) -> list[Message]:
    """Let every content be a string, whatever is lost."""
    return [
        message | {"content": text_of([_in_words(part) for part in message["content"]])}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def with_content(messages: Sequence[Message]) -> list[Message]:
    """Let the content of a message with calls be an empty string instead of null."""
    return [message | {"content": ""} if message.get("content") is None else message for message in messages]
