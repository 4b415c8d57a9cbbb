"""What OpenClaw does with an answer as a whole. The answer is only looked at here, not changed.

Source: OpenClaw 2026.9.6.
"""

import json
import re
from typing import Any, Literal

from tools.openclaw_text.deeds import (
    ACKNOWLEDGEMENT,
    ATTACHMENT,
    BLANKS,
    EXECUTED,
    HORIZONTAL_BLANKS,
    NOTES,
    SILENCES,
    SPACE,
    TAGS,
)
from tools.openclaw_text.guard import ANYWHERE, AT_BREAK, CUT, NOTHING, Openers, begun_opener, marked, opener

Deed = Literal["call", "order"]

_CALL = opener(EXECUTED)
_BEGUN_CALL = begun_opener(EXECUTED)
_REASONING = re.compile(f"{CUT}[^>]*>?|{NOTHING}+")
_CALL_ANYWHERE = opener(EXECUTED[-1:])
_TAG = opener(TAGS)
_NOTE = opener(NOTES)
_ATTACHMENT = re.compile(rf"(?:\A|\n)[{HORIZONTAL_BLANKS}\r]*+{ATTACHMENT}", re.IGNORECASE)
_WORD = f"(?:{'|'.join((*SILENCES, ACKNOWLEDGEMENT))})"
_SILENCE = f"(?:{'|'.join(SILENCES)})"
_SILENT = re.compile(
    rf"\A[\W_]*+{_WORD}(?:{SPACE}+{_WORD})*[\W_]*\Z"
    rf"|\A{SPACE}*+{_SILENCE}"
    rf"|(?:\A|{SPACE}|[*.]){_SILENCE}{SPACE}*+\Z",
    re.IGNORECASE,
)
_ACKNOWLEDGED_AT_END = re.compile(rf"{ACKNOWLEDGEMENT.upper()}[^A-Za-z0-9_]{{0,4}}\Z")
_WORD_START = re.compile(r"(?<![^\W_])(?=\w)")
_CUT_WORD = opener((*SILENCES, ACKNOWLEDGEMENT, ATTACHMENT))
_ESCAPED = re.compile(r"\\u([0-9A-Fa-f]{4})")


def deed(text: str) -> Deed | None:
    """Say what a whole answer does in OpenClaw: it is run as calls, or taken for an order; None where it is only shown.

    What OpenClaw would leave out as it shows the answer is no deed.
    """
    read = marked(text)
    begin = len(text) - len(text.lstrip(BLANKS))
    if _CALL.match(read, begin) or _CALL_ANYWHERE.search(read) or (CUT in read and _holds_call(text)):
        return "call"
    tagged = CUT in read and _is_tagged_order(read)
    plain = read.replace(NOTHING, "")
    if tagged or _TAG.search(read) or _NOTE.match(read, begin) or _ATTACHMENT.search(plain) or _is_silent(plain):
        return "order"
    return "order" if json_order(text) else None


def json_order(text: str) -> bool:
    """Say whether OpenClaw takes this JSON for an order: to say nothing, or to send a message instead.

    `{"action": "NO_REPLY"}`, `"NO_REPLY"` and `{"name": "message", "arguments": {"action": "send", ...}}` are such.
    """
    parts = _REASONING.split(marked(text))
    return any(map(_is_json_order, {parts[0], parts[-1], "".join(parts), "".join(parts[::2])}))


def holds_json_order(text: str) -> bool:
    """The same, but JSON with reasoning inside counts: nobody knows what it is without."""
    *before, last = _REASONING.split(marked(text))
    inside = any(part.lstrip(BLANKS).startswith(("{", '"')) for part in before)
    return inside or bool(before and _speaks_of_orders(_unescaped(last))) or json_order(text)


def _is_json_order(text: str) -> bool:
    text = text.strip(BLANKS)
    if text[:1] not in {"{", '"'} or text[-1:] not in {"}", '"'} or not _speaks_of_orders(_unescaped(text)):
        return False
    try:
        # Numbers do not matter, and Python would refuse long ones.
        said = json.loads(text, parse_int=len, parse_float=len, parse_constant=_no_constant)
    except RecursionError:
        return True
    except ValueError:
        return False
    return _is_silence(said) or _is_message(said)


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), text)


def _holds_call(text: str) -> bool:
    guard = Openers((_CALL, _BEGUN_CALL), ANYWHERE, AT_BREAK)
    return guard.feed(text) + guard.close() != text


def _speaks_of_orders(plain: str) -> bool:
    upper = plain.upper()
    silence = any(word.upper() in upper for word in SILENCES)
    return silence or all(word in plain for word in ('"name"', '"arguments"', "message", "send"))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _is_silence(read: Any) -> bool:
    said = read.get("action") if isinstance(read, dict) and len(read) == 1 else read
    return isinstance(said, str) and said.strip(BLANKS).lower() in SILENCES


def _is_message(read: Any) -> bool:
    arguments = read.get("arguments") if isinstance(read, dict) else None
    return isinstance(arguments, dict) and _says(read, "name", "message") and _says(arguments, "action", "send")


def _says(read: dict[str, Any], key: str, word: str) -> bool:
    value = read.get(key)
    return isinstance(value, str) and value.strip(BLANKS) == word


def _is_silent(text: str) -> bool:
    return bool(_SILENT.search(text)) or any(map(_is_acknowledged, (text, _without_markup(text))))


def _is_acknowledged(text: str) -> bool:
    text = text.strip(BLANKS)
    return text.startswith(ACKNOWLEDGEMENT.upper()) or bool(_ACKNOWLEDGED_AT_END.search(text))


def _without_markup(text: str) -> str:
    # Behind the last `>` nothing is a tag; before it each `<` is one, so that each character is read once.
    end = text.rfind(">") + 1
    text = re.sub("<[^>]*>", " ", text[:end]) + text[end:]
    return re.sub("&nbsp;", " ", text.strip(BLANKS), flags=re.IGNORECASE).strip("*`~_")


def _is_tagged_order(read: str) -> bool:
    """Say whether an order may be there once the tags of reasoning are gone."""
    return any(_CUT_WORD.match(read, start.end()) for start in _WORD_START.finditer(read))
