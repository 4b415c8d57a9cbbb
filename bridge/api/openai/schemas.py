"""The answers of the endpoint, as the OpenAPI document describes them.

`chat_response` and `responses_response` make them; tests hold what these make against these models, and against the
types of OpenAI's own SDK.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_COUNT = Annotated[int, Field(ge=0)]


class Answer(BaseModel):
    """What all answers have in common: nothing is in them that is not described."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class Note(Answer):
    """What was odd about the run: a field that OpenAI does not have and clients ignore."""

    note: str


# Chat completions


class ChatUsage(Answer):
    """Tokens, as OpenAI counts them."""

    prompt_tokens: _COUNT
    completion_tokens: _COUNT
    total_tokens: _COUNT


class CalledFunction(Answer):
    """A function and its arguments, as JSON text."""

    name: str
    arguments: str


class AnsweredCall(Answer):
    """A call that the client is to run."""

    id: str = Field(pattern=r"^[A-Za-z0-9]{1,40}$")
    type: Literal["function"]
    function: CalledFunction


class AnsweredMessage(Answer):
    """What the model said."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: str = ""
    reasoning_details: list[dict[str, Any]] = []
    tool_calls: list[AnsweredCall] = []
    function_call: CalledFunction | None = None


FinishReason = Literal["stop", "length", "tool_calls", "function_call", "content_filter"]


class Logprobs(Answer):
    """What the upstream said of the tokens of the text."""

    content: list[dict[str, Any]]
    refusal: None


class Choice(Answer):
    """The one answer."""

    index: Literal[0]
    message: AnsweredMessage
    logprobs: Logprobs | None
    finish_reason: FinishReason


class ChatCompletion(Answer):
    """A whole answer. `clawback` says what was odd about the run."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice] = Field(min_length=1, max_length=1)
    usage: ChatUsage
    clawback: Note | None = None


class FunctionDelta(Answer):
    """A piece of a function call."""

    name: str = ""
    arguments: str = ""


class CallDelta(Answer):
    """A piece of a call; the first has its id and name."""

    index: _COUNT
    id: str = ""
    type: Literal["function"] = "function"
    function: FunctionDelta


class Delta(Answer):
    """A piece of the answer; an empty one keeps the connection alive."""

    role: Literal["assistant"] = "assistant"
    content: str = ""
    reasoning_content: str = ""
    reasoning_details: list[dict[str, Any]] = []
    tool_calls: list[CallDelta] = []
    function_call: FunctionDelta | None = None


class ChunkChoice(Answer):
    """A piece of the one answer."""

    index: Literal[0]
    delta: Delta
    logprobs: Logprobs | None
    finish_reason: FinishReason | None


class ChatCompletionChunk(Answer):
    """A piece of a streamed answer. The stream ends with `data: [DONE]`, or before that with an error."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice] = Field(max_length=1)
    usage: ChatUsage | None = None
    clawback: Note | None = None


# Models


class ModelInput(Answer):
    """A variable that a request may set, in `inputs` or `metadata`."""

    name: str
    type: str
    required: bool


class Model(Answer):
    """An app, shown as a model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["dify"]
    description: str
    context_window: int = Field(ge=1)
    max_output_tokens: int = Field(ge=1)
    kind: Literal["chatflow", "workflow", "chat", "agent", "completion"]
    """What the app is in Dify."""
    inputs: list[ModelInput] | None
    """The variables of its Start node; null where Dify did not say."""
    opening_statement: str
    """What Dify's own chat with the app begins with, for clients that show it; it is in no transcript."""
    suggested_questions: list[str]
    input_modalities: list[Literal["text", "image"]]
    """What the app itself takes. Its nodes' models may see images that it does not."""
    type: Literal["model"]
    """Anthropic's, as all that follow."""
    display_name: str
    created_at: Literal["1970-01-01T00:00:00Z"]
    lifecycle: Literal["active"]
    max_input_tokens: int = Field(ge=1)
    max_tokens: int = Field(ge=1)


class ModelList(Answer):
    """All apps, shown as models. The last three fields are Anthropic's."""

    object: Literal["list"]
    data: list[Model]
    first_id: str | None
    last_id: str | None
    has_more: bool


# Responses


class InputTokensDetails(Answer):
    """Of these, none are known to be cached."""

    cached_tokens: _COUNT
    cache_write_tokens: _COUNT


class OutputTokensDetails(Answer):
    """Of these, none are known to be reasoning."""

    reasoning_tokens: _COUNT


class ResponseUsage(Answer):
    """Tokens, as OpenAI counts them."""

    input_tokens: _COUNT
    input_tokens_details: InputTokensDetails
    output_tokens: _COUNT
    output_tokens_details: OutputTokensDetails
    total_tokens: _COUNT


ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputText(Answer):
    """Text."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[Any]


class OutputMessage(Answer):
    """What the model said."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: ItemStatus
    content: list[OutputText]


class ReasoningText(Answer):
    """What the model thought."""

    type: Literal["reasoning_text"]
    text: str


class OutputReasoning(Answer):
    """What the model thought."""

    id: str
    type: Literal["reasoning"]
    status: ItemStatus
    summary: list[Any]
    content: list[ReasoningText]
    encrypted_content: str | None = None
    """What the upstream wants back. Send it with the call that follows."""


class OutputCall(Answer):
    """A call that the client is to run."""

    id: str
    type: Literal["function_call"]
    status: ItemStatus
    call_id: str = Field(pattern=r"^[A-Za-z0-9]{1,40}$")
    name: str
    arguments: str
    namespace: str | None = None


class OutputOtherCall(Answer):
    """A call of a tool of another kind: its text (`custom_tool_call`), or its action, operation or arguments."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    id: str
    type: Literal["custom_tool_call", "local_shell_call", "shell_call", "apply_patch_call", "tool_search_call"]
    status: ItemStatus
    call_id: str = Field(pattern=r"^[A-Za-z0-9]{1,40}$")


OutputItem = Annotated[OutputMessage | OutputReasoning | OutputCall | OutputOtherCall, Field(discriminator="type")]
ResponseStatus = Literal["in_progress", "completed", "incomplete", "failed", "cancelled"]


class ResponseError(Answer):
    """Why a response failed. The bridge's own code leads the message."""

    code: str
    message: str


class IncompleteDetails(Answer):
    """Why a response was cut off."""

    reason: Literal["max_output_tokens", "content_filter"]


class EchoedTool(Answer):
    """A tool that was on offer, a function or as it came."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    type: str


class ResponseBody(Answer):
    """A response as it stands. Most fields repeat the request. `clawback` says what was odd about the run."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: ResponseStatus
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    output: list[OutputItem]
    usage: ResponseUsage | None
    background: bool
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: dict[str, Any]
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[EchoedTool]
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    top_logprobs: int
    store: bool
    service_tier: Literal["default"]
    max_tool_calls: int | None
    safety_identifier: str | None
    truncation: Literal["disabled"]
    user: str | None
    clawback: Note | None = None


class ResponseEvent(BaseModel):
    """An event of a response's stream, as OpenAI's reference lists them: its type, its number, and what it tells."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    type: str = Field(pattern=r"^response\.")
    sequence_number: _COUNT


class InputItemList(Answer):
    """A page of a response's input."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool


class InputTokenCount(Answer):
    """How many tokens a request is estimated to have, by the rule of `usage`."""

    object: Literal["response.input_tokens"]
    input_tokens: _COUNT


class DeletedResponse(Answer):
    """The response is forgotten."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]
