"""Dify's prompt messages in OpenAI's form.

Source: the SDK's `entities/model/message.py`, as JSON.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tools.definitions import Function, ToolDefinition
from tools.marker import find_markers, strip_markers
from tools.results import Message, text_of


def to_openai(messages: Iterable[Mapping[str, Any]]) -> list[Message]:
    """Return Dify's `messages` as OpenAI's chat messages."""
    return [_message(message) for message in messages]


def _message(message: Mapping[str, Any]) -> Message:
    role = message["role"]
    converted: Message = {"role": role, "content": _content(message.get("content"))}
    if message.get("name") and role != "tool":
        converted["name"] = message["name"]
    if role == "assistant" and message.get("tool_calls"):
        converted["tool_calls"] = [_call(call) for call in message["tool_calls"]]
        converted["content"] = converted["content"] or None
    if role == "tool":
        converted |= {"tool_call_id": message.get("tool_call_id", ""), "content": text_of(converted["content"])}
    return converted


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {
        "id": call["id"],
        "type": "function",
        "function": {"name": function["name"], "arguments": function.get("arguments") or "{}"},
    }


def _content(content: str | list[Mapping[str, Any]] | None) -> str | list[dict[str, Any]]:
    if isinstance(content, list):
        return [_part(part) for part in content]
    return content or ""


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"type": "text", "text": part["data"]}
    url = part.get("url") or f"data:{part['mime_type']};base64,{part.get('base64_data', '')}"
    match part["type"]:
        case "audio" if not part.get("base64_data"):
            return {"type": "audio_url", "audio_url": {"url": url}}
        case "audio":
            return {
                "type": "input_audio",
                "input_audio": {"data": part.get("base64_data", ""), "format": part["format"]},
            }
        case "video":
            return {"type": "video_url", "video_url": {"url": url}}
        case "document":
            return {"type": "file", "file": {"filename": part.get("filename") or "document", "file_data": url}}
        case _:
            return {"type": "image_url", "image_url": {"url": url, "detail": part.get("detail") or "auto"}}


def to_definitions(tools: Iterable[Mapping[str, Any]]) -> list[ToolDefinition]:
    """Return the tools that Dify itself passes (to Agent nodes' models, say) as definitions."""
    return [
        ToolDefinition(
            function=Function.model_construct(
                name=tool["name"], description=tool.get("description") or None, parameters=tool.get("parameters")
            )
        )
        for tool in tools
    ]


def split_rounds(messages: Sequence[Message], as_text: bool = False) -> tuple[list[Message], list[Message]]:
    """Return the prompt up to its last user message, and the rounds of tools that Dify itself ran since then.

    A ReAct strategy tells of them `as_text`, and bids the model to continue.
    """
    last = max((index for index, message in enumerate(messages) if message.get("role") == "user"), default=-1)
    if as_text and last > 1 and _is_scratchpad(*messages[last - 1 : last + 1]):
        last -= 2
    elif last < 0 or not any(message.get("role") == "tool" for message in messages[last + 1 :]):
        return list(messages), []
    return list(messages[: last + 1]), list(messages[last + 1 :])


def _is_scratchpad(text: Message, bid: Message) -> bool:
    return bid["content"] == "continue" and "Observation: " in text_of(text.get("content"))


def take_markers(messages: Sequence[Message]) -> tuple[list[Message], list[str]]:
    """Return `messages` without markers, and what these hold, the newest first."""
    found = find_markers(text_of(message.get("content")) for message in messages)
    return [message | {"content": _without_markers(message.get("content"))} for message in messages], found


def _without_markers(content: Any) -> Any:
    if isinstance(content, str):
        return strip_markers(content)
    if isinstance(content, list):
        return [
            part | {"text": strip_markers(part["text"])} if part.get("type") == "text" else part for part in content
        ]
    return content
