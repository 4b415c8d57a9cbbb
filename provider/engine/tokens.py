"""An estimate of token counts, for upstreams that report none and for Dify's own questions."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tools.results import text_of

_WIDE = re.compile(r"[\u2e80-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_CHARS_PER_TOKEN = 4
_PER_MESSAGE = 4
_PER_MEDIUM = 500


def estimate_text(text: str) -> int:
    """Return about how many tokens `text` is: one for an East Asian character, one for four others."""
    wide = len(_WIDE.findall(text))
    return wide + math.ceil((len(text) - wide) / _CHARS_PER_TOKEN)


def estimate_prompt(messages: Iterable[Mapping[str, Any]], tools: Iterable[Mapping[str, Any]] = ()) -> int:
    """Return about how many tokens a request with `messages` and `tools` is."""
    return sum(map(_message, messages)) + sum(estimate_text(json.dumps(tool, ensure_ascii=False)) for tool in tools)


def _message(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    media = sum(part.get("type") != "text" for part in content) if isinstance(content, list) else 0
    calls = json.dumps(message["tool_calls"], ensure_ascii=False) if message.get("tool_calls") else ""
    return _PER_MESSAGE + estimate_text(text_of(content)) + estimate_text(calls) + media * _PER_MEDIUM
