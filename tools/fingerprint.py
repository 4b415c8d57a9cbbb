"""How an invocation is recognised when its workflow runs again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tools.results import Message, text_of


def text_digest(text: str) -> str:
    """Return 16 hex characters that stand for `text`, white space at its ends aside."""
    return hashlib.sha256(text.strip().encode()).hexdigest()[:16]


def invocation_fingerprint(model: str, messages: Sequence[Message], parameters: Mapping[str, Any]) -> str:
    """Return what stays the same when a node is run again with the same prompt.

    `messages` is the node's own rendered prompt. Turns that Dify's memory adds are left out, since the interrupted run
    may itself have become one: what counts are the system messages and the last user message.
    """
    system = [text_of(message.get("content")) for message in messages if message.get("role") == "system"]
    users = [text_of(message.get("content")) for message in messages if message.get("role") == "user"]
    material = [model, system, users[-1:], {key: parameters[key] for key in sorted(parameters)}]
    return hashlib.sha256(json.dumps(material, ensure_ascii=False, default=str).encode()).hexdigest()[:32]
