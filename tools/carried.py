"""What a model wants back with its messages and calls, unread: thoughts in their own fields, and signatures of them.

Sources: Gemini's thought signatures (`extra_content` of a call), OpenRouter's and MiniMax' `reasoning_details`,
DeepSeek's, Moonshot's and Zhipu's `reasoning_content`, Mistral's parts of the type `thinking`, LiteLLM's
`thinking_blocks`, GitHub Copilot's `reasoning_text` and `reasoning_opaque`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tools.surrogates import whole

Message = dict[str, Any]

REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_text")
"""What servers call a thought that is a text."""

SEALED = (
    "reasoning_details",
    "extra_content",
    "thinking_blocks",
    "reasoning_opaque",
    "provider_specific_fields",
    "thought_signature",
)
"""Fields of a message that nobody but its server reads."""

_SEALED = frozenset(SEALED)
_THOUGHTS = frozenset({*REASONING, "reasoning_details", "thinking_blocks"})

OF_CALLS = "tool_calls"
"""Under this name a round keeps what belongs to its calls, by their ids."""

_CALL = frozenset({"index", "position", "id", "type", "function", "custom"})
_TEXTS = frozenset({"text", "summary", "thinking"})


def sealed(message: Mapping[str, Any]) -> Message:
    """Return of a message, or of a delta, what goes back as it came; thoughts that are parts of the content, too."""
    content = message.get("content")
    if _SEALED.isdisjoint(message) and not isinstance(content, list):  # nearly every delta
        return {}
    found = {name: message[name] for name in SEALED if message.get(name)}
    thoughts = [part for part in content if is_thought(part)] if isinstance(content, list) else []
    return found | {"content": thoughts} if thoughts else found


def is_thought(part: object) -> bool:
    """Say whether a part of a message's content is a thought."""
    return isinstance(part, dict) and part.get("type") in {"thinking", "redacted_thinking", "reasoning"}


def thought_in(message: Mapping[str, Any]) -> tuple[str, str]:
    """Return a message's or a delta's thought as text, and the field that holds it: one that is empty counts, too."""
    if _THOUGHTS.isdisjoint(message) and not isinstance(message.get("content"), list):  # nearly every delta
        return "", ""
    fields = [name for name in REASONING if isinstance(message.get(name), str)]
    field = next((name for name in fields if message[name]), fields[0] if fields else "")
    if field and message[field]:
        return message[field], field
    parts = [message.get("content"), message.get("reasoning_details"), message.get("thinking_blocks")]
    return next((text for part in parts if isinstance(part, list) and (text := _text(part))), ""), field


def _text(parts: Iterable[Any]) -> str:
    texts = []
    for part in parts:
        if is_thought(part) or (isinstance(part, dict) and str(part.get("type")).startswith("reasoning.")):
            said = next((part[name] for name in ("thinking", "text", "summary") if part.get(name)), "")
            texts.append("".join(str(each.get("text") or "") for each in said) if isinstance(said, list) else str(said))
    return "".join(texts)


def of_call(entry: Mapping[str, Any]) -> Message:
    """Return of an entry of `tool_calls` what OpenAI's form does not know."""
    return {name: value for name, value in entry.items() if name not in _CALL and value not in (None, "", {}, [])}


def with_extras(message: Message, carried: Mapping[str, Any]) -> Message:
    """Return an assistant message as its server wants it back."""
    fields = dict(carried)
    extras, thoughts = fields.pop(OF_CALLS, None) or {}, fields.pop("content", None)
    message = message | fields
    if thoughts:
        content = message.get("content")
        said = [{"type": "text", "text": content}] if isinstance(content, str) and content else list(content or ())
        message["content"] = [*thoughts, *(part for part in said if not is_thought(part))]
    if extras and message.get("tool_calls"):
        message["tool_calls"] = [call | extras.get(call["id"], {}) for call in message["tool_calls"]]
    return message


class Growing:
    """Puts the pieces of such fields together, as a stream brings them."""

    def __init__(self) -> None:
        self._pieces: list[Mapping[str, Any]] = []

    def feed(self, piece: Mapping[str, Any]) -> None:
        """Take the fields of one delta."""
        if piece:
            self._pieces.append(piece)

    def close(self) -> Message:
        """Return the fields."""
        grown: Message = {}
        for piece in self._pieces:
            _grow(grown, piece)
        return dict(whole(_closed(grown)))


class _Pieces(list[str]):
    """A text that is joined at the end: to copy it with each piece takes ever longer."""


def _grow(old: Message, new: Mapping[str, Any]) -> None:
    for name, value in new.items():
        if isinstance(value, str) and name in _TEXTS:
            old.setdefault(name, _Pieces()).append(value)
        elif isinstance(value, dict):
            inner = old.setdefault(name, {})
            if isinstance(inner, dict):
                _grow(inner, value)
        elif isinstance(value, list):
            items = old.setdefault(name, [])
            for item in value if isinstance(items, list) else ():
                _add(items, item)
        elif value not in (None, "") or name not in old:
            old[name] = value


def _add(items: list[Any], item: Any) -> None:
    if isinstance(item, dict):
        if not (items and _goes_on(items[-1], item)):
            items.append({})
        _grow(items[-1], item)
    else:
        items.append(item)


def _goes_on(last: Any, item: Message) -> bool:
    """Say whether an entry is a further piece of the last one. What is signed or encrypted is whole."""
    return (
        isinstance(last, dict)
        and last.get("type") == item.get("type")
        and last.get("index") == item.get("index")
        and not (last.get("signature") or last.get("data") or item.get("data"))
        and (bool(_TEXTS & item.keys()) or "signature" in item)
    )


def _closed(value: Any) -> Any:
    match value:
        case _Pieces():
            return "".join(value)
        case dict():
            return {name: _closed(inner) for name, inner in value.items()}
        case list():
            return [_closed(inner) for inner in value]
        case _:
            return value
