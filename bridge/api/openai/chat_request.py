"""What a client sends to `/v1/chat/completions`, checked.

Source: OpenAI's API reference, chat completions. Unknown fields are ignored, as OpenAI's servers do; so are known ones
that say nothing to a chatflow (`store`, `service_tier`, `logprobs` and the like). `tool_results`, `tool_call_mode` and
`inputs` are the bridge's own.
"""

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator

from bridge.api.bodies import Item, checked
from bridge.api.openai.ask import Ask
from bridge.api.openai.chat_messages import ChatMessage, Part
from bridge.api.openai.legacy import (
    FunctionCallChoice,
    modern_choice,
    modern_messages,
    modern_tools,
    speaks_of_functions,
)
from bridge.api.openai.parameters import Sampling, check_schema
from bridge.api.openai.tool_choice import ChatToolChoice, offer
from bridge.api.openai.tool_kinds import note_of
from bridge.errors import InvalidRequest
from bridge.runs.breath import breathe
from tools.definitions import Function, ToolDefinition
from tools.openclaw_text.plain_turns import with_calls
from tools.results import ToolResult

CallMode = Literal["structured", "openclaw_text"]


class OtherTool(Part):
    """A tool that nobody here can run: it is left out."""

    type: str = Field(json_schema_extra={"not": {"const": "function"}})


def _tool_kind(tool: Any) -> str:
    kind = tool.get("type", "function") if isinstance(tool, dict) else getattr(tool, "type", "function")
    return "other" if isinstance(kind, str) and kind != "function" else "function"


ChatTool = Annotated[
    Annotated[ToolDefinition, Tag("function")] | Annotated[OtherTool, Tag("other")], Discriminator(_tool_kind)
]


def _as_checked(messages: Any) -> Any:
    """Return messages, each that was checked before as what it was then."""
    items = messages if isinstance(messages, list) else []
    return [item.made if isinstance(item, Item) and item.made else item for item in items] or messages


class StreamOptions(Part):
    """How the stream ends."""

    include_usage: bool | None = False


class ChatRequest(Sampling):
    """The body of a chat completion request, as far as the bridge uses it."""

    model: str
    """The model id of an app."""
    messages: Annotated[list[ChatMessage], BeforeValidator(_as_checked)]
    """The transcript. It may be empty where `tool_results` are given."""
    stream: bool | None = False
    """Whether the answer comes in chunks."""
    stream_options: StreamOptions | None = None
    """`include_usage` puts the usage into a chunk of its own, after the last."""
    tools: list[ChatTool] | None = None
    """The client's tools. What is no function is left out, and the answer says so."""
    tool_choice: ChatToolChoice | None = None
    """`auto`, `none`, `required`, a function, or `allowed_tools`. It is enforced, whatever the upstream makes of it."""
    parallel_tool_calls: bool | None = None
    """Whether the model may ask for several tools at once."""
    functions: list[Function] | None = None
    """The older form of `tools`: its client gets `function_call`, one call at a time."""
    function_call: FunctionCallChoice | None = None
    """The older form of `tool_choice`."""
    n: int | None = 1
    """How many answers; there is one."""
    modalities: list[str] | None = None
    """What the answer is made of; it is text."""
    audio: Any = None
    """Refused: a chatflow does not speak."""
    user: str | None = None
    """Keeps the conversations of others apart; several may have it in common."""
    metadata: dict[str, str] | None = Field(default=None, max_length=16)
    """Up to 16 texts."""
    prompt_cache_key: str | None = None
    """Keeps conversations of other keys apart; several may have it in common."""
    inputs: dict[str, Any] | None = None
    """The bridge's own: values for the variables of the app's Start node."""
    tool_results: list[ToolResult] | None = None
    """The bridge's own: results beside the transcript, or without any."""
    tool_call_mode: CallMode | None = None
    """The bridge's own: `openclaw_text` asks for calls as text, in the form that OpenClaw executes."""

    @field_validator("n")
    @classmethod
    def _one_choice(cls, n: int | None) -> int | None:
        if n not in (None, 1):
            raise ValueError("only n = 1 is supported: a chatflow gives one answer")
        return n

    @field_validator("modalities")
    @classmethod
    def _text_alone(cls, modalities: list[str] | None) -> list[str] | None:
        if modalities not in (None, ["text"]):
            raise ValueError("only text is supported: a chatflow does not speak")
        return modalities

    @field_validator("audio")
    @classmethod
    def _no_audio(cls, audio: Any) -> Any:
        if audio is not None:
            raise ValueError("audio is not supported: a chatflow does not speak")
        return audio

    @cached_property
    def legacy(self) -> bool:
        """Whether the client speaks of functions instead of tools."""
        return not self.tools and (bool(self.functions) or speaks_of_functions(self.messages))

    @property
    def note(self) -> str | None:
        """What is said of tools that were left out."""
        return note_of(tool.model_dump() for tool in self.tools or () if isinstance(tool, OtherTool))

    @property
    def include_usage(self) -> bool:
        """Whether the stream is to end with a chunk that holds the usage alone."""
        return bool(self.stream_options and self.stream_options.include_usage)


def parse_chat_request(body: dict[str, Any]) -> ChatRequest:
    """Check `body`. Raises InvalidRequest with the field's path."""
    chat = checked(ChatRequest, body)
    for item, message in zip(body["messages"], chat.messages, strict=True):
        if isinstance(item, Item):
            item.made = message
    if form := chat.response_format:
        check_schema(form.type, form.json_schema, "response_format.json_schema.schema")
    breathe()
    if not chat.messages and not chat.tool_results:
        raise InvalidRequest("messages: there must be at least one message", param="messages")
    return chat


def ask_of(chat: ChatRequest, body: dict[str, Any], most_tokens: int) -> Ask:
    """Return what the request asks for. Raises InvalidRequest where the tools and the choice do not fit."""
    if chat.legacy:
        tools, choice = offer(modern_tools(chat.functions or []), modern_choice(chat.function_call))
    else:
        functions = [tool for tool in chat.tools or () if isinstance(tool, ToolDefinition)]
        tools, choice = offer(functions, chat.tool_choice)
    messages = modern_messages(chat.messages)
    return Ask(
        model=chat.model,
        body=body,
        messages=with_calls(messages) if chat.tool_call_mode == "openclaw_text" else messages,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=False if chat.legacy else chat.parallel_tool_calls,
        parameters=chat.parameters(most_tokens, messages),
        inputs=chat.inputs or {},
        results=chat.tool_results or [],
        one_call=chat.legacy,
    )
