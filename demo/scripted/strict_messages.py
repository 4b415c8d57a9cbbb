"""What OpenAI refuses in a transcript."""

from collections.abc import Mapping, Sequence
from typing import Any

from demo.scripted.models import Model
from demo.scripted.refusal import Refusal
from demo.scripted.strict_tools import check_function_name

_FIELDS: dict[str, frozenset[str]] = {
    "system": frozenset({"role", "content", "name"}),
    "developer": frozenset({"role", "content", "name"}),
    "user": frozenset({"role", "content", "name"}),
    "assistant": frozenset({"role", "content", "name", "tool_calls", "refusal", "audio", "annotations"}),
    "tool": frozenset({"role", "content", "name", "tool_call_id"}),
}
_PARTS: dict[str, frozenset[str]] = {
    "system": frozenset({"text"}),
    "developer": frozenset({"text"}),
    "user": frozenset({"text", "image_url", "input_audio", "file"}),
    "assistant": frozenset({"text", "refusal"}),
    "tool": frozenset({"text"}),
}
_LONGEST_ID = 40


def check_messages(messages: object, model: Model) -> Sequence[Mapping[str, Any]]:
    """The transcript, if it is sound. Raises `Refusal`."""
    if not isinstance(messages, list) or not messages:
        raise Refusal("messages must be an array of at least one message.", param="messages")
    for index, message in enumerate(messages):
        _check_message(message, f"messages[{index}]", model)
    _check_order(messages)
    return messages


def _check_message(message: object, path: str, model: Model) -> None:
    if not isinstance(message, dict):
        raise Refusal(f"{path} must be an object.", param=path)
    role = message.get("role")
    if not isinstance(role, str) or role not in _FIELDS:
        raise Refusal(f"{path}.role must be one of {', '.join(_FIELDS)}, not {role!r}.", param=f"{path}.role")
    fields = {name for name, value in message.items() if value is not None}
    unknown = fields - _FIELDS[role] - model.extra_message_fields
    for name in () if "unknown fields of messages" in model.quirks.overlooks else sorted(unknown):
        raise Refusal(f"Unknown parameter: '{path}.{name}'.", param=f"{path}.{name}", code="unknown_parameter")
    if model.text_format is not None and (role == "tool" or "tool_calls" in fields):
        raise Refusal(f"{path}: the model '{model.name}' knows nothing of tools; only text.", param=path)
    if role == "assistant" and message.get("content") is None:
        if not (message.get("tool_calls") or message.get("refusal")):
            raise Refusal(f"{path}.content may be null only beside tool_calls.", param=f"{path}.content")
    else:
        _check_content(message.get("content"), role, f"{path}.content", model)
    if "tool_calls" in fields:
        _check_tool_calls(message["tool_calls"], f"{path}.tool_calls", model)
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise Refusal(f"{path}.tool_call_id must be a string.", param=f"{path}.tool_call_id")


def _check_content(content: object, role: str, path: str, model: Model) -> None:
    if isinstance(content, str):
        return
    if role == "tool" and model.tool_content_is_string:
        raise Refusal(f"{path} must be a string for the model '{model.name}'.", param=path)
    if not isinstance(content, list) or not content:
        raise Refusal(f"{path} must be a string or an array of content parts, not {content!r:.80}.", param=path)
    for index, part in enumerate(content):
        if not (role == "assistant" and "thinking parts" in model.quirks.writes and part.get("type") == "thinking"):
            _check_part(part, role, f"{path}[{index}]")


def _check_part(part: object, role: str, path: str) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str) or kind not in _PARTS[role]:
        known = ", ".join(sorted(_PARTS[role]))
        raise Refusal(f"{path}.type must be one of {known} in a {role} message, not {kind!r}.", param=f"{path}.type")
    payload = part.get(kind)
    if kind in ("text", "refusal"):
        if not isinstance(payload, str):
            raise Refusal(f"{path}.{kind} must be a string.", param=f"{path}.{kind}")
    elif not isinstance(payload, dict):
        raise Refusal(f"{path}.{kind} must be an object.", param=f"{path}.{kind}")
    elif kind == "image_url" and not str(payload.get("url")).startswith(("http://", "https://", "data:image/")):
        raise Refusal(f"{path}.image_url.url must be an http(s) or data:image/ URL.", param=f"{path}.image_url.url")


def _check_tool_calls(calls: object, path: str, model: Model) -> None:
    if not isinstance(calls, list) or not calls:
        raise Refusal(f"{path} must be an array of at least one call.", param=path)
    for index, call in enumerate(calls):
        here = f"{path}[{index}]"
        function = call.get("function") if isinstance(call, dict) and call.get("type") == "function" else None
        if not isinstance(function, dict):
            raise Refusal(f"{here} must be {{'id', 'type': 'function', 'function': {{...}}}}.", param=here)
        own = {"extra_content"} if "signatures" in model.quirks.writes else set()
        unknown = (call.keys() - {"id", "type", "function"} - own) | (function.keys() - {"name", "arguments"})
        if unknown:
            message = f"{here} has unknown fields: {', '.join(sorted(unknown))}."
            raise Refusal(message, param=here, code="unknown_parameter")
        identifier = call.get("id")
        if not isinstance(identifier, str) or not 1 <= len(identifier) <= _LONGEST_ID:
            raise Refusal(f"{here}.id must be a string of 1 to {_LONGEST_ID} characters.", param=f"{here}.id")
        check_function_name(function.get("name"), f"{here}.function.name")
        if not isinstance(function.get("arguments"), str):
            raise Refusal(
                f"{here}.function.arguments must be a string that holds JSON.", param=f"{here}.function.arguments"
            )


def _check_order(messages: Sequence[Mapping[str, Any]]) -> None:
    """Each call answered by one tool message, directly after its assistant message; no other tool messages."""
    seen: set[str] = set()
    waiting: set[str] = set()
    asked_at = 0
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            identifier = message["tool_call_id"]
            if identifier not in waiting:
                raise Refusal(
                    f"messages[{index}]: a tool message must answer a call of the assistant message before it;"
                    f" none still unanswered has the tool_call_id '{identifier}'.",
                    param=f"messages[{index}].tool_call_id",
                )
            waiting.remove(identifier)
            continue
        _check_answered(waiting, asked_at)
        for call in message.get("tool_calls") or ():
            if call["id"] in seen:
                raise Refusal(f"messages[{index}].tool_calls: the id '{call['id']}' was used before.", param="messages")
            seen.add(call["id"])
            waiting.add(call["id"])
            asked_at = index
    _check_answered(waiting, asked_at)


def _check_answered(waiting: set[str], asked_at: int) -> None:
    if waiting:
        raise Refusal(
            f"messages[{asked_at}]: the assistant's tool_calls must be answered by tool messages directly after it;"
            f" these tool_call_ids have none: {', '.join(sorted(waiting))}.",
            param="messages",
        )
