"""What a client sends to chat completions, checked, and the fields of it that are for the model alone.

The plugin passes these on to the upstream. Source: OpenAI's API reference, chat completions.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

from bridge.api.bodies import breathe_if_long, checked
from bridge.api.openai.chat_messages import ChatMessage, Part
from bridge.api.openai.legacy import (
    FunctionCallChoice,
    modern_choice,
    modern_messages,
    modern_tools,
    speak_of_functions,
)
from bridge.api.openai.tool_choice import ChatToolChoice, note_of, offer
from bridge.api.openai.turns import Ask
from bridge.api.reading import each_once
from bridge.errors import InvalidRequest
from bridge.runs.sessions.openclaw import is_openclaw
from bridge.runs.transcripts import Said, again, transcript_of
from tools.definitions import Function, ToolDefinition
from tools.openclaw_text.plain_turns import with_calls
from tools.results import Message, ToolResult

_LEAST_OF_OPENCLAW = 16
"""A smaller limit of OpenClaw's is not obeyed: it asks for 1 token when it believes that the context is full."""


def _string_or_list(value: Any) -> str:
    return "list" if isinstance(value, list) else "string"


class JsonSchema(BaseModel):
    """The schema that an answer is to follow."""

    model_config = ConfigDict(extra="ignore", defer_build=True, populate_by_name=True)

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


def check_schema(kind: str, schema: JsonSchema | None, param: str) -> None:
    """Raise InvalidRequest where a schema is to be followed and there is none; `param` is where it would stand."""
    if kind == "json_schema" and (schema is None or schema.schema_ is None):
        raise InvalidRequest(f"{param}: there is no schema to follow; give one, or ask for json_object", param=param)


class ResponseFormat(BaseModel):
    """Whether an answer is text, any JSON, or JSON by a schema."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def to_openai(self) -> dict[str, Any] | None:
        """Return the field as it goes upstream; text is what an absent one means."""
        return None if self.type == "text" else self.model_dump(exclude_none=True, by_alias=True)


class Sampling(BaseModel):
    """How the model is to write."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    temperature: float | None = Field(default=None, ge=0, le=2, strict=True, allow_inf_nan=False)
    """The sampling temperature."""
    top_p: float | None = Field(default=None, ge=0, le=1, strict=True, allow_inf_nan=False)
    """The nucleus sampling threshold."""
    presence_penalty: float | None = Field(default=None, ge=-2, le=2, strict=True, allow_inf_nan=False)
    """Penalises tokens that occur in the text so far."""
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2, strict=True, allow_inf_nan=False)
    """Penalises tokens by how often they occur in the text so far."""
    seed: int | None = Field(default=None, strict=True, ge=-(2**63), lt=2**63)
    """Makes answers repeatable, if the upstream supports it."""
    stop: (
        Annotated[
            Annotated[str, Tag("string")] | Annotated[list[str], Field(max_length=4), Tag("list")],
            Discriminator(_string_or_list),
        ]
        | None
    ) = None
    """Up to four texts. The answer ends before the first that occurs."""
    max_tokens: int | None = Field(default=None, ge=1, strict=True)
    """The older name of `max_completion_tokens`."""
    max_completion_tokens: int | None = Field(default=None, ge=1, strict=True)
    """The largest number of tokens in the answer, up to the app's `max_output_tokens`."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    """How much the model reasons. A node's own setting wins, unless it is `client`."""
    verbosity: Literal["low", "medium", "high"] | None = None
    """How long the answer should be."""
    response_format: ResponseFormat | None = None
    """The answer's format: text, any JSON, or JSON with a schema."""
    logprobs: bool | None = None
    """Asks for the log probability of each token of the answer, where the upstream gives it."""
    top_logprobs: int | None = Field(default=None, ge=0, le=20, strict=True)
    """So many of the likeliest tokens at each place, with `logprobs`."""

    def parameters(self, most_tokens: int, messages: Sequence[Message]) -> dict[str, Any]:
        """Return what goes to the plugin. The limit on the answer is called `max_tokens`, as a node calls it."""
        names = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "reasoning_effort")
        carried = {name: getattr(self, name) for name in (*names, "verbosity")}
        carried["stop"] = [self.stop] if isinstance(self.stop, str) else self.stop or None
        if self.logprobs:
            carried |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        carried["response_format"] = self.response_format.to_openai() if self.response_format else None
        limit = self.max_completion_tokens or self.max_tokens or 0
        least = _LEAST_OF_OPENCLAW if 0 < limit < _LEAST_OF_OPENCLAW and is_openclaw(messages) else 1
        carried["max_tokens"] = min(limit, most_tokens) if limit >= least else None
        return {name: value for name, value in carried.items() if value is not None}


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


def _said(messages: Any, check: ValidatorFunctionWrapHandler) -> list[Message]:
    """Return messages, once they are checked, as a run keeps them."""
    known = each_once(messages, check, Said, lambda message: again(message.said))
    return transcript_of([each if isinstance(each, Said) else each.said for each in known])


if TYPE_CHECKING:
    Messages = list[Message]
else:
    # They are checked as such, and read as what a run keeps of them.
    Messages = Annotated[list[ChatMessage], WrapValidator(_said)]


class StreamOptions(Part):
    """How the stream ends."""

    include_usage: bool | None = False


class ChatRequest(Sampling):
    """The body of a chat completion request, as far as the bridge uses it."""

    model: str
    """The model id of an app, or one of its aliases."""
    messages: Messages
    """The conversation. It may be empty if `tool_results` is set."""
    stream: bool | None = False
    """Whether to stream the answer in chunks."""
    stream_options: StreamOptions | None = None
    """`include_usage` adds a last chunk with the usage."""
    tools: list[ChatTool] | None = None
    """The client's tools. The bridge ignores tools that are not functions, and says so in the answer."""
    tool_choice: ChatToolChoice | None = None
    """`auto`, `none`, `required`, a function, or `allowed_tools`. The bridge and the plugin enforce it if the
    upstream does not."""
    parallel_tool_calls: bool | None = None
    """Whether the model may call several tools at once."""
    functions: list[Function] | None = None
    """The older form of `tools`. The answer uses `function_call`, with one call at a time."""
    function_call: FunctionCallChoice | None = None
    """The older form of `tool_choice`."""
    n: int | None = 1
    """The number of answers; only 1 is supported."""
    modalities: list[str] | None = None
    """The kinds of output; only text is supported."""
    audio: Any = None
    """Refused: the bridge does not produce audio."""
    user: str | None = None
    """Separates conversations: requests with different values never share one. Several conversations may use the
    same value."""
    metadata: dict[str, str] | None = Field(default=None, max_length=16)
    """Up to 16 texts, which are also values for the variables of the app's Start node."""
    prompt_cache_key: str | None = None
    """Separates conversations, like `user`."""
    inputs: dict[str, Any] | None = None
    """Clawback's own field: values for the variables of the app's Start node."""
    tool_results: list[ToolResult] | None = None
    """Clawback's own field: tool results outside of `messages`."""
    tool_call_mode: CallMode | None = None
    """Clawback's own field: `openclaw_text` returns tool calls as text, in the form that OpenClaw executes."""

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
        return not self.tools and (bool(self.functions) or speak_of_functions(self.messages))

    @property
    def note(self) -> str | None:
        """What is said of tools that were left out."""
        return note_of(tool.type for tool in self.tools or () if isinstance(tool, OtherTool))

    @property
    def include_usage(self) -> bool:
        """Whether the stream is to end with a chunk that holds the usage alone."""
        return bool(self.stream_options and self.stream_options.include_usage)


def parse_chat_request(body: dict[str, Any]) -> ChatRequest:
    """Check `body`. Raises InvalidRequest with the field's path."""
    chat = checked(ChatRequest, body)
    if form := chat.response_format:
        check_schema(form.type, form.json_schema, "response_format.json_schema.schema")
    breathe_if_long()
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
