"""How many tokens a request and its answer are, where nobody who knows says so.

Clients budget with `usage`: OpenClaw compacts its history when the prompt nears the model's context, and with counts
of zero it never does. So an estimate has to be near, and rather too high than too low. A tokenizer would bring
megabytes of tables for one family of models. Weights for kinds of characters, fitted to the tokenizers o200k and
cl100k on prose in six languages, code, JSON, logs and listings, are within a quarter of what these count for whole
requests, and within two fifths for single short texts (Russian and Arabic: between the two, which differ by half).
Bytes divided by four, the usual rule, miss half of a directory listing.
"""

import json
import math
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bridge.runs.breath import in_pieces
from bridge.runs.requests import once
from tools.calls import ToolCall
from tools.definitions import ToolDefinition
from tools.results import Message, text_of
from tools.wire import Usage

_BYTES_PER_TOKEN = (
    (string.ascii_letters.encode(), 4.2),
    (string.digits.encode(), 2.0),
    (string.punctuation.encode(), 2.2),
    (string.whitespace.encode(), 10.0),
)
_OTHER_BYTES_PER_TOKEN = 3.6

_PER_MESSAGE = 4
_PER_CALL = 8
_PER_REPLY = 3
_PER_MEDIA = 765
"""What OpenAI counts for an image of 1024 x 1024 pixels."""
_PER_SMALL_IMAGE = 85
"""What OpenAI counts for an image with `detail: low`, whatever its size."""


def tokens(text: str) -> int:
    """Estimate the tokens of `text`."""
    rest = text.encode("utf-8", "replace")
    total = 0.0
    for kind, bytes_per_token in _BYTES_PER_TOKEN:
        left = rest.translate(None, kind)
        total += (len(rest) - len(left)) / bytes_per_token
        rest = left
    return math.ceil(total + len(rest) / _OTHER_BYTES_PER_TOKEN)


def prompt_tokens(messages: Iterable[Message], tools: Iterable[ToolDefinition] = ()) -> int:
    """Estimate the tokens of a request's messages and tool definitions, as OpenAI would count them."""
    definitions = (json.dumps(tool.to_openai()["function"], ensure_ascii=False) for tool in in_pieces(tools))
    offered = sum(tokens(definition) for definition in definitions)
    return _PER_REPLY + offered + sum(_message_tokens(message) for message in in_pieces(messages))


def estimate(
    messages: Sequence[Message], tools: Sequence[ToolDefinition], answer: str, calls: Iterable[ToolCall] = ()
) -> Usage:
    """Estimate the usage of one response: `answer` and `calls` are what it told its client."""
    written = tokens(answer) + sum(_PER_CALL + tokens(call.name) + tokens(call.arguments) for call in calls)
    return Usage(prompt_tokens=prompt_tokens(messages, tools), completion_tokens=written)


@once
def _message_tokens(message: Message) -> int:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    media = sum(_media_tokens(part) for part in parts if isinstance(part, dict))
    calls = message.get("tool_calls")
    asked = sum(_call_tokens(call) for call in calls if isinstance(call, dict)) if isinstance(calls, list) else 0
    return _PER_MESSAGE + tokens(text_of(content)) + media + asked


def _call_tokens(call: Mapping[str, Any]) -> int:
    function = call.get("function")
    if not isinstance(function, dict):
        return _PER_CALL
    return _PER_CALL + tokens(str(function.get("name") or "")) + tokens(str(function.get("arguments") or ""))


def _media_tokens(part: Mapping[str, Any]) -> int:
    """Count what is no text by the piece: its base64 says nothing about its tokens."""
    if isinstance(part.get("text"), str):
        return 0
    image = part.get("image_url")
    small = isinstance(image, dict) and image.get("detail") == "low"
    return _PER_SMALL_IMAGE if small else _PER_MEDIA
