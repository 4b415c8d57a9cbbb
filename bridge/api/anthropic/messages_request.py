"""What a client sends to `/v1/messages`, checked, and read in the terms of chat completions.

Source: Anthropic's API reference, messages. Unknown fields are ignored, as are those that say nothing to a chatflow
(`cache_control`, `context_management`, `top_k` and the like). `inputs` is the bridge's own.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any, Literal, cast
from weakref import WeakValueDictionary

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator

from bridge.api.anthropic.client_tools import function_of, runs_at_client
from bridge.api.bodies import checked
from bridge.api.openai.chat_messages import CallId, CallName, Part, data_as_text, text_in, text_of_nothing
from bridge.api.openai.chat_request import JsonSchema, ResponseFormat, Sampling
from bridge.api.openai.tool_choice import offer
from bridge.api.openai.turns import Ask, Words
from bridge.api.reading import checked_once
from bridge.errors import InvalidRequest
from bridge.runs.services import in_pieces
from bridge.runs.transcripts import Said, again, come_again, grown
from tools.choices import ToolChoice, named
from tools.definitions import NAME_PATTERN, Function, ToolDefinition
from tools.marker import without_markers
from tools.results import Message, ToolResult, as_error, text_of

# What messages are made of


class TextBlock(Part):
    """Text."""

    type: Literal["text"]
    text: str


class InlineSource(Part):
    """The thing itself, as base64."""

    type: Literal["base64"]
    media_type: str
    data: str


class InlineImage(InlineSource):
    """An image as base64."""

    media_type: str = Field(pattern=r"^image/(png|jpeg|gif|webp)$")
    data: str = Field(pattern=r"^[A-Za-z0-9+/]+={0,2}$")


class UrlSource(Part):
    """Where it is."""

    type: Literal["url"]
    url: str = Field(pattern=r"^https?://")


class TextSource(Part):
    """A document as text."""

    type: Literal["text"]
    data: str


class ContentSource(Part):
    """A document as a text or as blocks."""

    type: Literal["content"]
    content: "str | list[TextBlock]"


def _refuse_uploads(source: Any) -> Any:
    if isinstance(source, dict) and source.get("type") == "file":
        raise ValueError("files that were uploaded to Anthropic are out of the bridge's reach; send the file itself")
    return source


class ImageBlock(Part):
    """An image."""

    type: Literal["image"]
    source: Annotated[Annotated[InlineImage | UrlSource, Field(discriminator="type")], BeforeValidator(_refuse_uploads)]


class DocumentBlock(Part):
    """A document: text, or a file as base64."""

    type: Literal["document"]
    source: Annotated[
        Annotated[InlineSource | UrlSource | TextSource | ContentSource, Field(discriminator="type")],
        BeforeValidator(_refuse_uploads),
    ]
    title: str | None = None


class SearchResultBlock(Part):
    """A search result that the client found."""

    type: Literal["search_result"]
    title: str = ""
    source: str = ""
    content: list[TextBlock]


class ToolUseBlock(Part):
    """A call that the model asked for."""

    type: Literal["tool_use"]
    id: CallId = ""
    name: CallName = ""
    input: Any = None


class ToolReference(Part):
    """A tool that a search for tools has found: the client's own matter."""

    type: Literal["tool_reference"]


def _string_or_blocks(value: Any) -> str:
    return "blocks" if isinstance(value, list) else "string"


_String = Annotated[str, Tag("string")]
ShownBlock = Annotated[
    TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReference, Field(discriminator="type")
]
_Shown = Annotated[_String | Annotated[list[ShownBlock], Tag("blocks")], Discriminator(_string_or_blocks)]


class ToolResultBlock(Part):
    """What came of a call."""

    type: Literal["tool_result"]
    tool_use_id: CallId = ""
    content: Annotated[_Shown | None, BeforeValidator(data_as_text)] = None
    is_error: bool | None = None


class OtherBlock(Part):
    """What the model thought, or what a server of Anthropic's did: nothing of it goes back."""

    type: str


_USERS = {"text", "image", "document", "search_result", "tool_result"}


def _kind_of_users(block: Any) -> Any:
    kind = block.get("type") if isinstance(block, dict) else getattr(block, "type", None)
    # Such as `mcp_tool_result`: a server's doing, which clients send back with either role.
    return "other" if isinstance(kind, str) and kind.endswith("_tool_result") else kind


def _kind_of_models(block: Any) -> Any:
    kind = block.get("type") if isinstance(block, dict) else getattr(block, "type", None)
    return kind if kind in {"text", "tool_use"} or not isinstance(kind, str) else "other"


UserBlock = Annotated[
    Annotated[TextBlock, Tag("text")]
    | Annotated[ImageBlock, Tag("image")]
    | Annotated[DocumentBlock, Tag("document")]
    | Annotated[SearchResultBlock, Tag("search_result")]
    | Annotated[ToolResultBlock, Tag("tool_result")]
    | Annotated[OtherBlock, Tag("other")],
    Discriminator(
        _kind_of_users,
        custom_error_type="union_tag_unknown",
        custom_error_message=f"must be one of {', '.join(sorted(_USERS))}",
    ),
]
ModelBlock = Annotated[
    Annotated[TextBlock, Tag("text")] | Annotated[ToolUseBlock, Tag("tool_use")] | Annotated[OtherBlock, Tag("other")],
    Discriminator(
        _kind_of_models,
        custom_error_type="union_tag_unknown",
        custom_error_message="must be text, tool_use, thinking or another block of an answer",
    ),
]
_Text = Annotated[_String | Annotated[list[TextBlock], Tag("blocks")], Discriminator(_string_or_blocks)]


class _Turn(Part):
    """A message of the transcript."""

    @cached_property
    def parts(self) -> list[Said]:
        """What it is of messages: results are messages of their own, before what else a user's message holds."""
        return list(map(Said, self._messages()))

    def _messages(self) -> Iterable[Message]:
        raise NotImplementedError


class UserTurn(_Turn):
    """What the user says, and what came of calls."""

    role: Literal["user"]
    content: Annotated[
        _String | Annotated[list[UserBlock], Tag("blocks")],
        Discriminator(_string_or_blocks),
        BeforeValidator(text_of_nothing),
    ]

    def _messages(self) -> Iterable[Message]:
        if isinstance(self.content, str):
            yield {"role": "user", "content": self.content}
            return
        yield from (_tool_message(block) for block in self.content if isinstance(block, ToolResultBlock))
        if content := _content(block for block in self.content if not isinstance(block, ToolResultBlock)):
            yield {"role": "user", "content": content}


class ModelTurn(_Turn):
    """What the model said, and which calls it asked for."""

    role: Literal["assistant"]
    content: Annotated[
        _String | Annotated[list[ModelBlock], Tag("blocks")],
        Discriminator(_string_or_blocks),
        BeforeValidator(text_of_nothing),
    ]

    def _messages(self) -> Iterable[Message]:
        blocks = [TextBlock(type="text", text=self.content)] if isinstance(self.content, str) else self.content
        text = "".join(block.text for block in blocks if isinstance(block, TextBlock))
        calls = [_call(block) for block in blocks if isinstance(block, ToolUseBlock)]
        yield {"role": "assistant", "content": text or None, **({"tool_calls": calls} if calls else {})}


class SystemTurn(_Turn):
    """Instructions amid the transcript."""

    role: Literal["system"]
    content: _Text

    def _messages(self) -> Iterable[Message]:
        yield {"role": "system", "content": _joined(self.content)}


InputMessage = Annotated[UserTurn | ModelTurn | SystemTurn, Field(discriminator="role")]


def _lasting(turn: _Turn) -> _Turn:
    turn.parts[:] = [again(part, _PARTS) for part in turn.parts]
    return turn


_PARTS: WeakValueDictionary[str, Said] = WeakValueDictionary()


# What else a request holds


class MessagesTool(Part):
    """A tool on offer. One that has no schema is left out, but for those that `client_tools` knows."""

    type: str | None = None
    name: str = Field(default="", pattern=rf"{NAME_PATTERN}|^$")
    description: str | None = None
    input_schema: dict[str, Any] | None = None

    @property
    def runs_here(self) -> bool:
        """Whether a client can run it."""
        return (self.input_schema is not None and self.type in {None, "custom"}) or runs_at_client(self.type)

    def definition(self) -> ToolDefinition:
        """Return it in OpenAI's form."""
        if runs_at_client(self.type):
            return ToolDefinition(function=function_of(str(self.type), self.name))
        function = Function(name=self.name, description=self.description, parameters=self.input_schema)
        return ToolDefinition(function=function)


class MessagesToolChoice(Part):
    """Whether a tool must be called, and whether several may be at once."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Part):
    """Whether the client is told what the model thinks."""

    type: str
    display: str | None = None

    @property
    def shown(self) -> bool:
        """Whether there are to be blocks of it."""
        return self.type != "disabled" and self.display != "omitted"


class OutputFormat(Part):
    """The schema of an answer that is data."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(Part):
    """How much the model is to think, and the answer's form."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class RequestMetadata(Part):
    """Who asks."""

    user_id: str | None = None


class CountRequest(Part):
    """The body of a request for the number of its tokens, as far as the bridge uses it."""

    model: str
    """The model id of an app, or one of its aliases."""
    messages: Annotated[list[InputMessage], Field(min_length=1), checked_once(_Turn, _lasting)]
    """The conversation."""
    system: _Text | None = None
    """The system prompt: a text, or blocks of text."""
    tools: list[MessagesTool] | None = None
    """The client's tools: those with a schema, `bash`, `text_editor` and `memory`. The bridge ignores all others, and
    says so in the answer."""
    tool_choice: MessagesToolChoice | None = None
    """`auto`, `any`, `tool` or `none`, and `disable_parallel_tool_use`. The bridge and the plugin enforce it if the
    upstream does not."""
    mcp_servers: list[Any] | None = None
    """Ignored, since only Anthropic's servers use it. The answer says so."""
    thinking: Thinking | None = None
    """Whether to send the model's reasoning as thinking blocks."""
    output_config: OutputConfig | None = None
    """`effort`: how much the model reasons, if the node's own setting is `client`. `format`: the JSON schema of the
    answer."""

    @field_validator("tools")
    @classmethod
    def _have_names(cls, tools: list[MessagesTool] | None) -> list[MessagesTool] | None:
        for position, tool in enumerate(tools or ()):
            if tool.runs_here and not tool.name:
                raise ValueError(f"tool {position} has no name")
        return tools

    @property
    def left_out(self) -> list[str]:
        """The names of the tools that nobody here can run."""
        return [tool.name or tool.type or "?" for tool in self.tools or () if not tool.runs_here]

    @property
    def note(self) -> str | None:
        """What of the request is not done."""
        names = [*self.left_out, *(["mcp_servers"] if self.mcp_servers else [])]
        return f"left out, since nobody here can run them: {', '.join(names)}" if names else None


class MessagesRequest(CountRequest):
    """The body of a request for a message, as far as the bridge uses it."""

    max_tokens: int | None = Field(default=None, ge=1, strict=True)
    """The largest number of tokens in the answer, up to the app's `max_output_tokens`."""
    stream: bool | None = False
    """Whether to stream the answer as events."""
    temperature: float | None = Field(default=None, ge=0, le=2, strict=True, allow_inf_nan=False)
    """The sampling temperature."""
    top_p: float | None = Field(default=None, ge=0, le=1, strict=True, allow_inf_nan=False)
    """The nucleus sampling threshold."""
    stop_sequences: list[str] | None = Field(default=None, max_length=4)
    """Up to four texts. The answer ends before the first that occurs."""
    metadata: RequestMetadata | None = None
    """`user_id` separates conversations: requests with different values never share one. Several conversations may
    use the same value."""
    inputs: dict[str, Any] | None = None
    """Clawback's own field: values for the variables of the app's Start node."""
    thread: Any = None
    """Refused with an error that makes Anthropic's SDKs send the whole conversation instead."""

    def sampling(self) -> Sampling:
        """Return what is for the model alone, in the terms of chat completions."""
        config = self.output_config or OutputConfig()
        schema = JsonSchema(name="answer", schema=config.format.schema_) if config.format else None
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            stop=self.stop_sequences,
            max_tokens=self.max_tokens,
            reasoning_effort=config.effort,
            response_format=ResponseFormat(type="json_schema", json_schema=schema) if schema else None,
        )


def parse_messages_request(body: dict[str, Any]) -> MessagesRequest:
    """Check `body`. Raises InvalidRequest whose `param` is the path of the first field that is wrong."""
    asked = checked(MessagesRequest, body)
    if asked.thread is not None:
        raise InvalidRequest(
            "thread: the bridge holds no threads; send the whole transcript each time",
            code="thread_unsupported_request",
            param="thread",
        )
    return asked


def parse_count_request(body: dict[str, Any]) -> CountRequest:
    """Check `body`. Raises InvalidRequest as `parse_messages_request` does."""
    return checked(CountRequest, body)


_BILLING = "x-anthropic-billing-header:"
_WORDS = Words(
    whole_round="each tool_use block must be followed by a tool_result block that has its id as tool_use_id",
    result="the tool_result block with that tool_use_id",
)


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
        words=_WORDS,
    )


def prompt_of(asked: CountRequest) -> tuple[list[Message], list[ToolDefinition], ToolChoice | None]:
    """Return what a model would read of the request: its messages and tools, and the choice among these."""
    tools, choice = offer([tool.definition() for tool in asked.tools or () if tool.runs_here], _choice(asked))
    parts = [part for message in in_pieces(asked.messages) for part in message.parts]
    system = [again(message, _PARTS) if come_again(parts) else message for message in _system(asked)]
    return _put_together([*system, *parts])[0], tools, choice


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


@grown((list[Message](), cast("Message | None", None)))
def _put_together(
    before: tuple[list[Message], Message | None], parts: Sequence[Message], count: int
) -> tuple[list[Message], Message | None]:
    """Return the transcript, and its last message, as it came, where that is the model's and may not be whole."""
    told, last = list(before[0]), before[1]
    for role, neighbours in groupby(in_pieces(parts[count:]), itemgetter("role")):
        new = list(neighbours)
        if role == "assistant":
            # What the model said without a break is one message.
            if last is not None:
                told.pop()
                new = [last, *new]
            new = [_as_one(new)]
        last = new[-1] if role == "assistant" else None
        clean = map(without_markers, new)
        told += map(again, clean) if come_again(parts) else clean
    return told, last


def _as_one(messages: Sequence[Message]) -> Message:
    content = "".join(message["content"] or "" for message in messages) or None
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    return {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}


def _call(block: ToolUseBlock) -> dict[str, Any]:
    arguments = json.dumps(block.input if isinstance(block.input, dict) else {}, ensure_ascii=False)
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}


# Results


def _tool_message(block: ToolResultBlock) -> Message:
    content = _content(block.content or "")
    if not isinstance(content, str):
        content = [_shown(part) for part in content]
    if block.is_error:
        said = as_error(text_of(content))
        content = said if isinstance(content, str) else [_text(said), *(p for p in content if p["type"] != "text")]
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": content}


def _shown(part: dict[str, Any]) -> dict[str, Any]:
    """A result may be text and images: a model that could have read a file is told that it was there."""
    if part["type"] != "file":
        return part
    text = text_in(part["file"]["file_data"])
    return _text(text or f"({part['file'].get('filename', 'a file')}: results of tools cannot hold files)")


def _failures(messages: Sequence[InputMessage]) -> Iterator[ToolResult]:
    """Yield the results since the model last spoke whose tools failed, which a tool message does not say."""
    spoken = next((n for n in reversed(range(len(messages))) if isinstance(messages[n], ModelTurn)), None)
    for message in messages[spoken + 1 :] if spoken is not None else ():
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
