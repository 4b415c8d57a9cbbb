"""The answers of the Messages API, as the OpenAPI document describes them.

`messages_response` makes them; tests hold what it makes against these models, and against the types of Anthropic's SDK.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bridge.api.openai.schemas import Answer, Note

_COUNT = Annotated[int, Field(ge=0)]


class AnsweredText(Answer):
    """Text."""

    type: Literal["text"]
    text: str


class AnsweredThinking(Answer):
    """What the model thought. The signature names what the bridge keeps of it."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class AnsweredToolUse(Answer):
    """A call that the client is to run."""

    type: Literal["tool_use"]
    id: str = Field(pattern=r"^[A-Za-z0-9]{1,40}$")
    name: str
    input: dict[str, Any]


class MessageUsage(Answer):
    """Tokens, as Anthropic counts them. Of the prompt's, none are known to be cached."""

    input_tokens: _COUNT
    cache_creation_input_tokens: Literal[0]
    cache_read_input_tokens: Literal[0]
    output_tokens: _COUNT


StopReason = Literal["end_turn", "tool_use", "max_tokens", "refusal"]


class AnthropicMessage(Answer):
    """A whole answer. `clawback` says what was odd about the request or the run."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[Annotated[AnsweredText | AnsweredThinking | AnsweredToolUse, Field(discriminator="type")]]
    stop_reason: StopReason | None
    stop_sequence: None
    usage: MessageUsage
    clawback: Note | None = None


class MessageEvent(BaseModel):
    """An event of a message's stream, as Anthropic's reference lists them. It ends with `message_stop`, or an error."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    type: Literal[
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
    ]


class TokenCount(Answer):
    """How many tokens a request is estimated to have, by the rule of `usage`."""

    input_tokens: _COUNT


class AnthropicErrorDetail(BaseModel):
    """What is wrong. `details` may hold the bridge's own code and the path of the field that is wrong."""

    type: str
    message: str
    details: dict[str, str] = {}


class AnthropicError(Answer):
    """An error in Anthropic's shape."""

    type: Literal["error"]
    error: AnthropicErrorDetail
    request_id: str
