"""The language of a prompt: the rules for tools are given in it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tools.results import text_of

Language = Literal["en", "zh"]

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_LATIN = re.compile(r"[A-Za-z]")
#: Names and paths stay Latin in a Chinese text, but few English texts have any Han character.
_LETTERS_PER_HAN = 5
_ENOUGH = 4


def language_of(messages: Sequence[Mapping[str, Any]]) -> Language:
    """Return `zh` (simplified Chinese) where the instructions are Chinese, else `en`.

    The first system message decides, since a node's own prompt stands before a client's; without one, or where it says
    nothing, the first user message does.
    """
    for roles in ({"system", "developer"}, {"user"}):
        for message in messages:
            if message.get("role") in roles and (found := _language(text_of(message.get("content")))):
                return found
    return "en"


def _language(text: str) -> Language | None:
    """Return the language of `text`, or None where it is too short to tell."""
    han, letters = len(_HAN.findall(text)), len(_LATIN.findall(text))
    if han < 2 and letters < _ENOUGH:
        return None
    japanese = len(_KANA.findall(text)) * 4 > han
    return "zh" if han * _LETTERS_PER_HAN >= letters and not japanese else "en"
