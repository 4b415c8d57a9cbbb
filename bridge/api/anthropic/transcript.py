"""Messages in the terms of chat completions.

Equal requests become equal, however their client wrote them: a text is one block of text, `cache_control` and the
signatures of thinking are gone, and so is the line about billing, which differs between a client's requests.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bridge.api.anthropic.messages_request import (
    ContentSource,
    CountRequest,
    DocumentBlock,
    ImageBlock,
    InlineSource,
    InputMessage,
    MessagesRequest,
    ModelTurn,
    SearchResultBlock,
    SystemTurn,
    TextBlock,
    TextSource,
    ToolResultBlock,
    ToolUseBlock,
    UrlSource,
    UserTurn,
)
from bridge.api.openai.ask import Ask
from bridge.api.openai.chat_messages import text_in
from bridge.api.openai.tool_choice import offer
from bridge.errors import InvalidRequest
from bridge.runs.breath import in_pieces
from tools.choices import ToolChoice, named
from tools.definitions import ToolDefinition
from tools.results import Message, ToolResult, text_of

_BILLING = "x-anthropic-billing-header:"


def ask_of(asked: MessagesRequest, body: dict[str, Any], most_tokens: int) -> Ask:
    """Return what the request asks for. Raises InvalidRequest where the tools and the choice do not fit."""
    messages, tools, choice = prompt_of(asked)
    return Ask(
        model=asked.model,
        # What tells sessions and kinds of calls apart stands where chat completions have it.
        body=body | {"messages": messages, "tools": tools, "user": asked.metadata and asked.metadata.user_id},
        messages=messages,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=False if asked.tool_choice and asked.tool_choice.disable_parallel_tool_use else None,
        parameters=asked.sampling().parameters(most_tokens, messages),
        inputs=asked.inputs or {},
        results=list(_failures(asked.messages)),
    )


def prompt_of(asked: CountRequest) -> tuple[list[Message], list[ToolDefinition], ToolChoice | None]:
    """Return what a model would read of the request: its messages and tools, and the choice among these."""
    tools, choice = offer([tool.definition() for tool in asked.tools or () if tool.runs_here], _choice(asked))
    return [*_system(asked), *chat_messages(asked.messages)], tools, choice


def _choice(asked: CountRequest) -> ToolChoice | None:
    chosen = asked.tool_choice
    if chosen is None:
        return None
    if chosen.type == "tool" and not chosen.name:
        raise InvalidRequest("tool_choice of the type tool names none", param="tool_choice.name")
    if chosen.name in asked.left_out or (asked.left_out and not any(tool.runs_here for tool in asked.tools or ())):
        # Nobody can be made to call what is left out.
        return None
    if chosen.type == "tool":
        return named(str(chosen.name))
    return "required" if chosen.type == "any" else chosen.type


def _system(asked: CountRequest) -> Iterator[Message]:
    texts = [asked.system] if isinstance(asked.system, str) else [block.text for block in asked.system or ()]
    text = "\n\n".join(text for text in texts if text.strip() and not text.startswith(_BILLING))
    if text:
        yield {"role": "system", "content": text}


def chat_messages(messages: Sequence[InputMessage]) -> list[Message]:
    """Return the transcript: results are messages of their own, before what else the user's message holds."""
    told: list[Message] = []
    for message in in_pieces(messages):
        match message:
            case SystemTurn():
                told.append({"role": "system", "content": _joined(message.content)})
            case ModelTurn():
                _add_model_turn(told, message)
            case _ if isinstance(message.content, str):
                told.append({"role": "user", "content": message.content})
            case _:
                told += [_tool_message(block) for block in message.content if isinstance(block, ToolResultBlock)]
                content = _content(block for block in message.content if not isinstance(block, ToolResultBlock))
                told += [{"role": "user", "content": content}] if content else []
    return told


def _add_model_turn(told: list[Message], message: ModelTurn) -> None:
    """Neighbours with this role are one message."""
    blocks = [TextBlock(type="text", text=message.content)] if isinstance(message.content, str) else message.content
    text = "".join(block.text for block in blocks if isinstance(block, TextBlock))
    calls = [_call(block) for block in blocks if isinstance(block, ToolUseBlock)]
    if not (told and told[-1]["role"] == "assistant"):
        told.append({"role": "assistant", "content": None})
    last = told[-1]
    last["content"] = (last["content"] or "") + text or None
    if calls:
        last["tool_calls"] = [*last.get("tool_calls", ()), *calls]


def _call(block: ToolUseBlock) -> dict[str, Any]:
    arguments = json.dumps(block.input if isinstance(block.input, dict) else {}, ensure_ascii=False)
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}


# Results


def _tool_message(block: ToolResultBlock) -> Message:
    content = _content(block.content or "")
    if not isinstance(content, str):
        content = [_shown(part) for part in content]
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": content}


def _shown(part: dict[str, Any]) -> dict[str, Any]:
    """A result may be text and images: a model that could have read a file is told that it was there."""
    if part["type"] != "file":
        return part
    text = text_in(part["file"]["file_data"])
    return _text(text or f"({part['file'].get('filename', 'a file')}: results of tools cannot hold files)")


def _failures(messages: Sequence[InputMessage]) -> Iterator[ToolResult]:
    """Yield the results since the model last spoke whose tools failed, which a tool message does not say."""
    spoken = [position for position, message in enumerate(messages) if isinstance(message, ModelTurn)]
    for message in messages[spoken[-1] + 1 :] if spoken else ():
        for block in message.content if isinstance(message, UserTurn) and not isinstance(message.content, str) else ():
            if isinstance(block, ToolResultBlock) and block.is_error:
                output = text_of(_tool_message(block)["content"])
                yield ToolResult(tool_call_id=block.tool_use_id, output=output, is_error=True)


# Content


def _content(blocks: "str | Iterable[Any]") -> str | list[dict[str, Any]]:
    """Return content as a text where it is nothing else."""
    if isinstance(blocks, str):
        return blocks
    parts = [part for block in blocks for part in _parts(block)]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _joined(content: str | list[TextBlock]) -> str:
    return content if isinstance(content, str) else "\n".join(block.text for block in content)


def _parts(block: Any) -> Iterator[dict[str, Any]]:
    match block:
        case TextBlock():
            yield _text(block.text)
        case ImageBlock():
            yield {"type": "image_url", "image_url": {"url": _url(block.source)}}
        case DocumentBlock():
            yield _document(block)
        case SearchResultBlock():
            yield _text("\n".join([block.title, block.source, _joined(block.content)]).strip())


def _document(block: DocumentBlock) -> dict[str, Any]:
    match block.source:
        case TextSource(data=text):
            return _text(_titled(block, text))
        case ContentSource(content=content):
            return _text(_titled(block, _joined(content)))
        case UrlSource(url=url):
            return _text(_titled(block, f"(a document at {url})"))
        case source:
            file = {"file_data": _url(source)} | ({"filename": block.title} if block.title else {})
            return {"type": "file", "file": file}


def _titled(block: DocumentBlock, text: str) -> str:
    return f"{block.title}\n\n{text}" if block.title else text


def _url(source: InlineSource | UrlSource) -> str:
    return source.url if isinstance(source, UrlSource) else f"data:{source.media_type};base64,{source.data}"


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
