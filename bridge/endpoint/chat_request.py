"""What a client sends to `/v1/chat/completions`, checked.

Source: OpenAI's API reference, chat completions. Unknown fields are ignored, as OpenAI's servers do.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bridge.errors import InvalidRequest
from tools.choices import ToolChoice, forced_name
from tools.definitions import ToolDefinition


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class FunctionCall(_Part):
    """The function of a tool call. `arguments` is JSON text."""

    name: str = Field(min_length=1)
    arguments: str = "{}"


class MessageToolCall(_Part):
    """One entry of an assistant message's `tool_calls`."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class SystemMessage(_Part):
    """Instructions."""

    role: Literal["system", "developer"]
    content: str | list[dict[str, Any]]
    name: str | None = None


class UserMessage(_Part):
    """What the user says: text, or parts of text and images."""

    role: Literal["user"]
    content: str | list[dict[str, Any]]
    name: str | None = None

    @field_validator("content")
    @classmethod
    def _known_parts(cls, content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
        for part in content if isinstance(content, list) else []:
            if part.get("type") not in {"text", "image_url", "file"}:
                raise ValueError(f"content parts of type {part.get('type')!r} are not supported; use text or image_url")
        return content


class AssistantMessage(_Part):
    """What the model said, with the tool calls it asked for."""

    role: Literal["assistant"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[MessageToolCall] | None = None
    name: str | None = None
    reasoning_content: str | None = None


class ToolMessage(_Part):
    """What a tool answered."""

    role: Literal["tool"]
    tool_call_id: str = Field(min_length=1)
    content: str | list[dict[str, Any]] | None = ""


ChatMessage = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class StreamOptions(_Part):
    """How the stream ends."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of a chat completion request, as far as the bridge uses it."""

    model_config = ConfigDict(extra="ignore")

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    tools: list[ToolDefinition] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    n: int | None = 1
    user: str | None = None
    prompt_cache_key: str | None = None
    inputs: dict[str, Any] | None = None

    @field_validator("n")
    @classmethod
    def _one_choice(cls, n: int | None) -> int | None:
        if n not in (None, 1):
            raise ValueError("only n = 1 is supported: a chatflow gives one answer")
        return n

    @model_validator(mode="after")
    def _choice_fits_tools(self) -> "ChatRequest":
        names = [tool.name for tool in self.tools or []]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two tools are named {name!r}")
        forced = forced_name(self.tool_choice)
        if isinstance(self.tool_choice, str) and self.tool_choice not in {"auto", "none", "required"}:
            raise ValueError(f"tool_choice {self.tool_choice!r} is none of auto, none, required")
        if isinstance(self.tool_choice, dict) and not forced:
            raise ValueError("tool_choice must name a function: {type: function, function: {name}}")
        if forced and forced not in names:
            raise ValueError(f"tool_choice names {forced!r}, which is not among tools")
        if self.tool_choice == "required" and not names:
            raise ValueError("tool_choice is required, and there are no tools")
        return self


def parse_chat_request(body: object) -> ChatRequest:
    """Check `body`. Raises InvalidRequest whose `param` is the path of the first field that is wrong."""
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object", code="invalid_json")
    try:
        return ChatRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        path = [str(part) for part in first["loc"] if part not in ("system", "developer", "user", "assistant", "tool")]
        param = _dotted(path)
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidRequest(f"{param}: {message}" if param else message, param=param or None) from None


def _dotted(path: list[str]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if part.isdigit() else f".{part}" if text else part
    return text
