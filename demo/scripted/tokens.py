"""Token counts: a quarter of the characters, as close to a tokenizer as the tests need."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

_PER_MESSAGE = 4
_PER_IMAGE = 765  # a 1024 x 1024 image in high detail: https://platform.openai.com/docs/guides/images-vision


def count_text(text: str) -> int:
    """Tokens of a text."""
    return -(-len(text) // 4)


def count_prompt(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> int:
    """Tokens of a request: its messages with all their fields, and its tool definitions."""
    total = sum(_PER_MESSAGE + _count_message(message) for message in messages)
    return total + (count_text(json.dumps(tools, ensure_ascii=False)) if tools else 0)


def _count_message(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    total = sum(count_text(part["text"]) if part.get("type") == "text" else _PER_IMAGE for part in parts)
    for call in message.get("tool_calls") or ():
        total += count_text(call["function"]["name"]) + count_text(call["function"]["arguments"])
    return total
