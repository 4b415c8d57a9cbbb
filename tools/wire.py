"""What the plugin and the bridge say to each other, over HTTP with a bearer token.

    POST /plugin/v1/attach                       AttachRequest -> AttachResponse
    PUT  /plugin/v1/tickets/{ticket_id}?wait=10  TicketRequest -> TicketStatus, as below; the same body opens no other
    GET  /plugin/v1/tickets/{ticket_id}?wait=10&invocation_id=ID
                                                 TicketStatus; a long poll of at most `wait` seconds. An invocation
                                                 whose run was started again since hears that it is cancelled
    POST /plugin/v1/tickets/{ticket_id}/cancel   CancelRequest -> TicketStatus
    POST /plugin/v1/tickets/{ticket_id}/expire?invocation_id=ID
                                                 TicketStatus; expired: the plugin goes on without the results that did
                                                 not come; resolved: with them
    POST /plugin/v1/tickets/{ticket_id}/suspend?invocation_id=ID
                                                 TicketStatus; still open: the plugin lets go; resolved: it goes on
    POST /plugin/v1/invocations/{id}/drafts      DraftRequest -> 204; calls that the model is still writing
    POST /plugin/v1/invocations/{id}/beat        204; the invocation is alive
    POST /plugin/v1/invocations/{id}/record      RecordRequest -> 204
    GET  /plugin/v1/ping                         PingResponse; for credential validation

Errors are OpenAI-shaped: {"error": {"message", "type", "code", "param"}}.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tools.calls import LONGEST_NAME, ToolCall
from tools.choices import ToolChoice
from tools.definitions import ToolDefinition
from tools.marker import MOST_MARKERS
from tools.results import Message, ToolResult

PROTOCOL = 1
"""Raised when the plugin and the bridge would no longer understand each other."""

AGENT = "clawback-plugin/0.2.0"
"""How the plugin calls itself (`User-Agent`), so that the bridge can tell when it is of another version."""


def bridge_root(url: str) -> str:
    """Return a bridge's own address, also from its address for clients, which ends in /v1."""
    return url.strip().rstrip("/").removesuffix("/v1").rstrip("/")


TicketState = Literal["open", "resolved", "expired", "cancelled"]


class Usage(BaseModel):
    """Token counts of one upstream call, as OpenAI counts them."""

    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)

    @property
    def total_tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore")


class PingResponse(_Wire):
    """The bridge is there and knows the token."""

    service: Literal["clawback"] = "clawback"
    version: str
    protocol: int = PROTOCOL


class Part(_Wire):
    """So many messages that follow one another, and their digest."""

    count: int = Field(ge=1)
    digest: str = Field(max_length=64)


class Digests(_Wire):
    """What an answer to attach holds: its messages, its tools, and how many characters all of it has."""

    messages: list[Part] = Field(default_factory=list, max_length=64)
    tools: str = Field(default="", max_length=64)
    characters: int = 0


class AttachRequest(_Wire):
    """An invocation asks which run it serves.

    `user` is what Dify passes to a model plugin: the UUID of the EndUser row for API callers. `callback_key` is the
    node's parameter, and `markers` is what the markers in the prompt hold, the newest first; any of the three may
    be absent. `age_seconds` is how long ago the invocation began: one that could not ask in time may belong to a
    workflow run that was replaced since. Before that it may have waited `unread_seconds`, as its process was
    stopped. `label` is the node's, by which a client may choose it. `has` are the digests of the answer that the plugin
    still has for this user, or none of any: that is left out of the answer. `marker` is how earlier plugins send the
    last marker alone; they do not say what they have, nor that an invocation `beats`.
    """

    protocol: int = PROTOCOL
    invocation_id: str = Field(min_length=8, max_length=64)
    fingerprint: str = Field(max_length=64)
    model: str = Field(max_length=200)
    user: str | None = Field(default=None, max_length=255)
    app_id: str | None = Field(default=None, max_length=64)
    callback_key: str | None = Field(default=None, max_length=1024)
    label: str = Field(default="", max_length=1024)
    markers: list[Annotated[str, Field(max_length=64)]] = Field(default_factory=list, max_length=MOST_MARKERS)
    marker: str | None = Field(default=None, max_length=64)
    age_seconds: float = Field(default=0, ge=0)
    unread_seconds: float = Field(default=0, ge=0)
    beats: bool = False
    has: Digests | None = None


class Round(_Wire):
    """One finished round of an earlier try of the same invocation: it is replayed, not asked for again.

    `reasoning` is what the upstream wants back with it, unread (`tools.carried`): some refuse to go on without it.
    `shown` is what Dify was given of it, reasoning tags included, and is given again.
    """

    content: str | None = None
    reasoning: dict[str, Any] = Field(default_factory=dict)
    shown: str = ""
    calls: list[ToolCall]
    results: list[ToolResult]
    messages: list[Message] = Field(default_factory=list)


class Answer(_Wire):
    """The final answer of an earlier try of the same invocation."""

    text: str
    finish_reason: str = "stop"
    usage: Usage = Usage()


class AttachResponse(_Wire):
    """The run that the invocation serves, or none (`run_id` is None; `reason` says what was tried). A node that is
    `left_out` belongs to a run whose client chose another one by its label.

    `messages` is the client's transcript in OpenAI's form; `messages[turn]` is the user message whose text went to
    Dify as `query`. It `omits` the parts of these numbers of what the plugin `has`, which stand in the same places, and
    may omit the tools. `digests` is what the plugin has then, where all of it is long. `past_queries` holds
    `text_digest`s of the queries of earlier runs of this Dify conversation, by which the plugin recognises turns that
    Dify's memory adds. `open_ticket` is the ticket that an earlier try of this
    invocation left open: the plugin waits for it instead of asking the upstream again. `parameters` is what the client
    asks of the model, under the names of a node's parameters (`temperature`, `max_tokens`, `stop`, `response_format`
    in OpenAI's form, ...): the node's own settings come first. `watched` says that a client may watch calls grow,
    `shown` that what is sent upstream is shown to who watches the bridge.
    `secret` names the run in what the plugin tells Dify, where the bridge has to find the run's question again by it.
    `also` has a further name of some tools, by which a node's allowed_tools may name them. An invocation that was
    answered nothing else for `beat_seconds` says that it is alive.
    """

    run_id: str | None = None
    secret: str | None = None
    reason: str | None = None
    left_out: bool = False
    messages: list[Message] = Field(default_factory=list)
    turn: int | None = None
    omits: list[int] = Field(default_factory=list)
    omits_tools: bool = False
    digests: Digests | None = None
    query: str = ""
    past_queries: list[str] = Field(default_factory=list)
    tools: list[ToolDefinition] = Field(default_factory=list)
    also: dict[str, str] = Field(default_factory=dict)
    beat_seconds: float | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    watched: bool = True
    shown: bool = False
    rounds: list[Round] = Field(default_factory=list)
    open_ticket: "OpenTicket | None" = None
    answer: Answer | None = None


class OpenTicket(_Wire):
    """A ticket of an earlier try that nobody has answered yet."""

    ticket_id: str
    content: str | None = None
    reasoning: dict[str, Any] = Field(default_factory=dict)
    shown: str = ""
    calls: list[ToolCall]


class DraftDelta(_Wire):
    """A further piece of a call's arguments, from the character `offset` on. The first has offset 0."""

    id: str = Field(pattern=r"^[A-Za-z0-9]{1,40}$")
    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    offset: int = Field(ge=0)
    arguments: str


class DraftRequest(_Wire):
    """What the model has written of its calls since the last such request.

    It lets a client watch a call grow and promises nothing: only the round's ticket makes a call one that may be run.
    A request that is lost costs nothing, as the ticket brings all of it. `streamed_text` says that text of this round
    went to Dify before.
    """

    run_id: str
    round: int = Field(ge=0)
    calls: list[DraftDelta] = Field(min_length=1)
    streamed_text: bool = False


class TicketRequest(_Wire):
    """The pending tool calls of one round. `content` is the text the model wrote before them, `reasoning` what the
    upstream wants back with them, `shown` what Dify was given of both, reasoning tags included.

    `streamed_text` says that text of this round went to Dify, so that the bridge waits for it before it ends the
    client's response. `usage` is this round's. `wait_seconds` is how long the invocation will hold. `stops` says that
    it does not wait at all: it ends with the calls in its text (`tools.openclaw_text.stopping`), and the bridge runs
    the workflow again with the results. `model_calls` are those since the last ticket.
    """

    run_id: str
    invocation_id: str
    round: int = Field(ge=0)
    content: str | None = None
    reasoning: dict[str, Any] = Field(default_factory=dict)
    shown: str = ""
    calls: list[ToolCall] = Field(min_length=1)
    usage: Usage = Usage()
    streamed_text: bool = False
    wait_seconds: float = Field(default=0, ge=0)
    stops: bool = False
    model_calls: list["ModelCall"] = Field(default_factory=list)


class TicketStatus(_Wire):
    """A ticket as the plugin sees it. `results` are complete, in call order, when it is resolved, and when it is
    expired those that came in time.

    `messages` are user messages that the client sent after the results; `tools` and `tool_choice` are what its
    request offers from now on (None: as before), `also` as when attaching. `reason` says why a ticket is expired or
    cancelled. `let_go` asks the plugin to suspend an open ticket now, since other runs wait for this one's place at
    Dify.
    """

    ticket_id: str
    state: TicketState
    results: list[ToolResult] = Field(default_factory=list)
    messages: list[Message] = Field(default_factory=list)
    tools: list[ToolDefinition] | None = None
    also: dict[str, str] = Field(default_factory=dict)
    tool_choice: ToolChoice | None = None
    reason: str | None = None
    let_go: bool = False


class CancelRequest(_Wire):
    """Why the plugin no longer waits. The ticket stays what it is where a later invocation has taken it over."""

    reason: str = Field(default="cancelled by the plugin", max_length=500)
    invocation_id: str | None = None


class ModelCall(_Wire):
    """One request to the upstream, which took so many `seconds` and was over `ago` seconds before it is told of.

    `number` counts an invocation's. `price` is as `0.05 USD`, or empty. `lesson` names what a refusal taught, so that
    the next request is written otherwise; `left_out` what a client asked for and an answered request did not say, or
    with less. `request` is what was sent, where the bridge wants to know it: without the `before` first messages, which
    are those of the call before (or are too long), and without `tools` where these are the same.
    """

    number: int = Field(ge=0)
    round: int = Field(ge=0)
    seconds: float = Field(ge=0, allow_inf_nan=False)
    ago: float = Field(default=0, ge=0, allow_inf_nan=False)
    usage: Usage | None = None
    price: str = ""
    finish_reason: str = ""
    error: str | None = None
    status: int | None = None
    lesson: str | None = None
    left_out: list[str] = Field(default_factory=list)
    request: dict[str, Any] | None = None
    before: int = Field(default=0, ge=0)


class RecordRequest(_Wire):
    """How an invocation ended. `usage` is that of its last upstream call, `total_usage` that of all of them.

    `stopped` says that it ended with the calls of an open ticket instead of an answer.
    """

    run_id: str
    text: str = ""
    finish_reason: str = "stop"
    usage: Usage = Usage()
    total_usage: Usage = Usage()
    rounds: int = 0
    error: str | None = None
    stopped: bool = False
    logprobs: list[dict[str, Any]] = Field(default_factory=list)
    model_calls: list[ModelCall] = Field(default_factory=list)
