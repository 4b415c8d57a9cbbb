"""What a client sends to `/v1/messages`, checked, and read in the terms of chat completions.

Source: Anthropic's API reference, messages. Unknown fields are ignored, as are those that say nothing to a chatflow
(`cache_control`, `context_management`, `top_k` and the like). `inputs` is the bridge's own.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator

from bridge.api.bodies import checked
from bridge.api.openai.chat_messages import Part
from bridge.api.openai.parameters import JsonSchema, ResponseFormat, Sampling
from bridge.errors import InvalidRequest
from tools.definitions import NAME_PATTERN, Function, ToolDefinition

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
    id: str = ""
    name: str = Field(min_length=1)
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
    tool_use_id: str = ""
    content: _Shown | None = None
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


class UserTurn(Part):
    """What the user says, and what came of calls."""

    role: Literal["user"]
    content: Annotated[_String | Annotated[list[UserBlock], Tag("blocks")], Discriminator(_string_or_blocks)]


class ModelTurn(Part):
    """What the model said, and which calls it asked for."""

    role: Literal["assistant"]
    content: Annotated[_String | Annotated[list[ModelBlock], Tag("blocks")], Discriminator(_string_or_blocks)]


class SystemTurn(Part):
    """Instructions amid the transcript."""

    role: Literal["system"]
    content: _Text


InputMessage = Annotated[UserTurn | ModelTurn | SystemTurn, Field(discriminator="role")]

# What else a request holds


class MessagesTool(Part):
    """A tool on offer. One that has no schema is for a server of Anthropic's to run, and is left out."""

    type: str | None = None
    name: str = Field(default="", pattern=rf"{NAME_PATTERN}|^$")
    description: str | None = None
    input_schema: dict[str, Any] | None = None

    @property
    def runs_here(self) -> bool:
        """Whether a client can run it."""
        return self.input_schema is not None and self.type in {None, "custom"}

    def definition(self) -> ToolDefinition:
        """Return it in OpenAI's form."""
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
    messages: list[InputMessage] = Field(min_length=1)
    """The transcript."""
    system: _Text | None = None
    """What stands before everything else: a text, or blocks of text."""
    tools: list[MessagesTool] | None = None
    """The client's tools. Those of Anthropic's servers are left out, and a note says so."""
    tool_choice: MessagesToolChoice | None = None
    """`auto`, `any`, `tool` or `none`, and `disable_parallel_tool_use`. It is enforced."""
    mcp_servers: list[Any] | None = None
    """Left out, and a note says so: Anthropic's servers would ask them."""
    thinking: Thinking | None = None
    """Whether blocks of the model's reasoning are sent."""
    output_config: OutputConfig | None = None
    """`effort`: how much the model thinks first, where a node's own setting is `client`. `format`: the schema of an
    answer that is data."""

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
    """How many tokens the answer may have. More than the app's limit is cut to it."""
    stream: bool | None = False
    """Whether the answer comes as events."""
    temperature: float | None = Field(default=None, ge=0, le=2, strict=True, allow_inf_nan=False)
    """How freely the model chooses its words."""
    top_p: float | None = Field(default=None, ge=0, le=1, strict=True, allow_inf_nan=False)
    """From how much of all likely words the model chooses."""
    stop_sequences: list[str] | None = Field(default=None, max_length=4)
    """Up to four texts before which the answer ends."""
    metadata: RequestMetadata | None = None
    """`user_id` keeps the conversations of others apart; several may have it in common."""
    inputs: dict[str, Any] | None = None
    """The bridge's own: values for the variables of the app's Start node."""
    thread: Any = None
    """Refused, so that Anthropic's SDKs send the whole transcript each time."""

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
