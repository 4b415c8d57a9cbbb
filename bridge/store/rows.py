"""The rows as the rest of the bridge sees them."""

from dataclasses import dataclass, field

from tools.calls import ToolCall
from tools.results import ToolResult


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A client's session and the Dify user and conversation that stand for it."""

    key: str
    model: str
    dify_user: str
    conversation_id: str


@dataclass(frozen=True, slots=True)
class RunRow:
    """One agent turn as its client sees it. `request` is JSON; times are seconds since the epoch."""

    id: str
    model: str
    session_key: str
    turn_key: str
    dify_user: str
    conversation_id: str
    query_digest: str
    auxiliary: str | None
    state: str
    attempt: int
    task_id: str
    workflow_run_id: str
    request: str
    error: str | None
    created_at: float
    updated_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """What one HTTP response told the client: text, then the calls of a ticket or the end."""

    run_id: str
    number: int
    text: str
    reasoning: str
    ticket_id: str | None
    finish_reason: str
    usage: str


@dataclass(frozen=True, slots=True)
class InvocationRow:
    """One call of an LLM node into the plugin."""

    id: str
    run_id: str
    attempt: int
    fingerprint: str
    successor: str | None
    state: str
    answer: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class CallRow:
    """One tool call and, once it is there, its result."""

    id: str
    ticket_id: str
    name: str
    arguments: str
    output: str | None
    is_error: bool | None

    def call(self) -> ToolCall:
        """Return what the model asked for."""
        return ToolCall(id=self.id, name=self.name, arguments=self.arguments)

    def result(self) -> ToolResult | None:
        """Return what came back, if it did."""
        if self.output is None:
            return None
        return ToolResult(tool_call_id=self.id, output=self.output, is_error=bool(self.is_error))


@dataclass(frozen=True, slots=True)
class TicketRow:
    """The pending calls of one round."""

    id: str
    run_id: str
    invocation_id: str
    round: int
    state: str
    content: str | None
    shown: str
    segment: int | None
    reply: str | None
    reason: str | None
    created_at: float
    expires_at: float
    calls: list[CallRow] = field(default_factory=list)

    def results(self) -> list[ToolResult]:
        """Return the results that are in, in call order."""
        return [result for call in self.calls if (result := call.result()) is not None]

    def missing(self) -> list[str]:
        """Return the tool_call_ids that still wait for a result."""
        return [call.id for call in self.calls if call.output is None]
