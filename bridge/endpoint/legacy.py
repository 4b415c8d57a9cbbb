"""The fields before tools: `functions`, `function_call` and the role `function`, read as tools.

    functions: [{name, ...}]              tools: [{type: function, function: {name, ...}}]
    function_call: auto | none | {name}   tool_choice: auto | none | {type: function, function: {name}}
    assistant.function_call               assistant.tool_calls of one call
    role function, name                   role tool, tool_call_id

A client of this kind knows no ids and takes one call at a time. The ids are made up here, and those of the turn in
progress are replaced by the real ones where the run is known (`recall`). Source: OpenAI's API reference, deprecated
fields of chat completions.
"""

import hashlib
import json
from typing import Any

from bridge.errors import InvalidRequest


def is_legacy(body: dict[str, Any]) -> bool:
    """Say whether the client speaks of functions instead of tools."""
    if body.get("tools"):
        return False
    messages = body.get("messages")
    spoken = isinstance(messages, list) and any(
        isinstance(message, dict) and (message.get("role") == "function" or message.get("function_call"))
        for message in messages
    )
    return bool(body.get("functions")) or spoken


def modernized(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body with tools instead of functions. Raises InvalidRequest."""
    modern = {name: value for name, value in body.items() if name not in {"functions", "function_call"}}
    functions = body.get("functions") or []
    if not isinstance(functions, list):
        raise InvalidRequest("functions: Input should be a valid list", param="functions")
    modern["tools"] = [{"type": "function", "function": function} for function in functions]
    modern["tool_choice"] = _choice(body.get("function_call"))
    modern["parallel_tool_calls"] = False
    messages = body.get("messages")
    if isinstance(messages, list):
        modern["messages"] = _messages(messages)
    return {name: value for name, value in modern.items() if value not in (None, [])}


def _choice(choice: Any) -> Any:
    if choice in (None, "auto", "none"):
        return choice
    if isinstance(choice, dict) and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}
    raise InvalidRequest("function_call must be auto, none or {name}", param="function_call")


def _messages(messages: list[Any]) -> list[Any]:
    modern: list[Any] = []
    asked: tuple[str, str] | None = None
    for position, message in enumerate(messages):
        if not isinstance(message, dict):
            modern.append(message)
            continue
        call = message.get("function_call")
        if message.get("role") == "assistant" and isinstance(call, dict):
            asked = (str(call.get("name")), _made_up_id(position, call))
            rest = {name: value for name, value in message.items() if name != "function_call"}
            modern.append(rest | {"tool_calls": [{"id": asked[1], "type": "function", "function": call}]})
        elif message.get("role") == "function":
            if asked is None or message.get("name") != asked[0]:
                path = f"messages[{position}]"
                raise InvalidRequest(
                    f"{path}: a function message must follow the assistant's function_call of the same name",
                    param=f"{path}.name",
                )
            modern.append({"role": "tool", "tool_call_id": asked[1], "content": message.get("content") or ""})
        else:
            modern.append(message)
    return modern


def _made_up_id(position: int, call: dict[str, Any]) -> str:
    material = json.dumps([position, call.get("name"), call.get("arguments")], default=str)
    return f"fn{hashlib.sha256(material.encode()).hexdigest()[:24]}"
