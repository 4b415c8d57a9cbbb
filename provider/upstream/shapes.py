"""The shapes of a prompt: one that loses nothing and that most servers take, and those that some want beyond it."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import count, takewhile
from typing import Any

from tools.carried import REASONING, is_thought, sealed, with_extras
from tools.results import NO_OUTPUT, Message, text_of
from tools.think_tags import ThinkTags

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
        content = [part for part in content if part.get("type") != "text" or not _is_blank(part["text"])] or content
        content = content if sees else [_in_words(part) for part in content]
        if all(part.get("type") == "text" for part in content):
            content = text_of(content)
        message = message | {"content": content}
    if role == "developer":
        return message | {"role": "system"}
    if role == "tool":
        return message | {"content": NO_OUTPUT} if _is_blank(content) else message
    return _without_think_block(message) if role == "assistant" else message


def _in_words(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": UNSEEN} if _is_image(part) else part


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
    return message | {"content": text if text.strip() else None if calls else ""}


def _is_blank(content: Any) -> bool:
    """Claude's servers refuse a text of white space alone."""
    return not (content.strip() if isinstance(content, str) else content)


def _is_empty(message: Message) -> bool:
    said = message.get("content")
    silent = _is_blank(said) or (isinstance(said, list) and all(map(is_thought, said)))
    return message.get("role") == "assistant" and silent and not message.get("tool_calls")


def _one_system(messages: Sequence[Message]) -> list[Message]:
    begin = _behind_system(messages)
    if begin < 2:
        return list(messages)
    texts = (text_of(message.get("content")) for message in messages[:begin])
    return [{"role": "system", "content": "\n\n".join(filter(None, texts))}, *messages[begin:]]


def _behind_system(messages: Sequence[Message]) -> int:
    return next((at for at, message in enumerate(messages) if message.get("role") != "system"), len(messages))


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
        last = written[-1] if written else {}
        if message["role"] == last.get("role") != "tool" and not last.get("tool_calls"):
            written[-1] = _both(last, message)
            continue
        if message["role"] == "assistant" and last.get("role", "system") == "system":
            written.append(_BEGINS)
        written.append(message)
    return written


_BEGINS: Message = {"role": "user", "content": "(The dialogue begins with an answer.)"}
_GOES_ON: Message = {"role": "user", "content": "(Go on.)"}


def with_user(messages: Sequence[Message]) -> list[Message]:
    """Let the user begin, and let nobody's answer be the last: the system's words are the user's where all are."""
    begin = _behind_system(messages)
    if begin == len(messages):
        return [*messages[:-1], messages[-1] | {"role": "user"}] if messages else []
    begins = [] if messages[begin]["role"] == "user" else [_BEGINS]
    is_answered = messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls")
    return [*messages[:begin], *begins, *messages[begin:], *([_GOES_ON] if is_answered else [])]


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


def single_calls(messages: Sequence[Message]) -> list[Message]:
    """Let each call of a round be a message of its own, and its result the next one."""
    written: list[Message] = []
    until = 0
    for at, message in enumerate(messages):
        calls = message.get("tool_calls") or ()
        if len(calls) < 2:
            written += [message] if at >= until else []
            continue
        results = list(takewhile(lambda behind: behind["role"] == "tool", messages[at + 1 :]))
        until = at + 1 + len(results)
        for number, call in enumerate(calls):
            written.append((message if not number else {"role": "assistant", "content": None}) | {"tool_calls": [call]})
            written += [result for result in results if result.get("tool_call_id") == call["id"]]
    return written


def with_names(messages: Sequence[Message]) -> list[Message]:
    """Let every result say which tool it is from."""
    names = {call["id"]: call["function"]["name"] for message in messages for call in message.get("tool_calls") or ()}
    return [
        message | {"name": names[message["tool_call_id"]]}
        if message["role"] == "tool" and message.get("tool_call_id") in names
        else message
        for message in messages
    ]


def some_images(most: int, messages: Sequence[Message]) -> list[Message]:
    """Say in words where an image was, but for the last ones."""
    numbers = count(1)
    over = sum(_is_image(part) for message in messages for part in _parts(message)) - most

    def one(message: Message) -> Message:
        parts = [_in_words(part) if _is_image(part) and next(numbers) <= over else part for part in _parts(message)]
        return message | {"content": parts} if parts else message

    return [one(message) for message in messages]


def _parts(message: Message) -> list[dict[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _is_image(part: dict[str, Any]) -> bool:
    return part.get("type") == "image_url"


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
