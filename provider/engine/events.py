"""What happens to the engine, and what it wants done.

An event that begins an exchange is answered by at most one `Exchange`; its outcome comes back as events. `TellDrafts`
goes to the bridge without an outcome. Everything else that the engine returns is an `Output` for Dify.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from provider.errors import ProviderError
from tools.calls import ToolCall
from tools.wire import AttachRequest, AttachResponse, DraftRequest, RecordRequest, TicketRequest, TicketStatus, Usage

# Events


@dataclass(frozen=True, slots=True)
class Started:
    """The invocation begins."""


@dataclass(frozen=True, slots=True)
class Attached:
    """The bridge says which run this is."""

    response: AttachResponse


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of what the upstream's model says. `tool_calls` are entries of a chunk's `delta.tool_calls`.

    `reasoning_field` is what the upstream calls its reasoning, `sealed` what it wants back unread (`tools.carried`).
    """

    text: str = ""
    reasoning: str = ""
    reasoning_field: str = ""
    tool_calls: Sequence[dict[str, Any]] = ()
    sealed: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was sent to the upstream, for so long, and what came of it where that was no answer.

    `left_out` are the fields that a client asked for and that an answered request did not say, or with less.
    """

    body: dict[str, Any] = field(repr=False)
    seconds: float
    error: str | None = None
    status: int | None = None
    lesson: str | None = None
    left_out: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class UpstreamFailed:
    """The upstream did not answer, or broke off. `retry_after` is what it asked for, in seconds."""

    error: ProviderError
    transient: bool = False
    retry_after: float | None = None
    status: int | None = None
    asked: Sequence[Asked] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Completed:
    """The upstream's answer is whole. `usage` is None where the upstream does not count.

    Of one that is a thought alone, `failed` says what it is unless the thought holds a call.
    """

    finish_reason: str = "stop"
    usage: Usage | None = None
    asked: Sequence[Asked] = field(default=(), compare=False, repr=False)
    failed: UpstreamFailed | None = None
    logprobs: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class TicketReported:
    """The bridge says how a ticket stands."""

    status: TicketStatus


@dataclass(frozen=True, slots=True)
class BridgeFailed:
    """The bridge did not do what it was asked. A transient failure is worth another try."""

    error: ProviderError
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """The bridge has noted how the invocation ended, or could not: that is no reason to fail."""


@dataclass(frozen=True, slots=True)
class Woke:
    """A pause is over."""


Event = Started | Attached | Delta | Completed | UpstreamFailed | TicketReported | BridgeFailed | Recorded | Woke

# Exchanges: each leads to one event or more


@dataclass(frozen=True, slots=True)
class Attach:
    """Ask the bridge which run this is."""

    request: AttachRequest


@dataclass(frozen=True, slots=True)
class CallUpstream:
    """Ask the upstream, within `seconds`."""

    body: dict[str, Any] = field(repr=False)
    seconds: float


@dataclass(frozen=True, slots=True)
class OpenTicket:
    """Hand calls to the bridge, and wait at most `seconds` for their results."""

    ticket_id: str
    request: TicketRequest
    seconds: float = 0


@dataclass(frozen=True, slots=True)
class PollTicket:
    """Ask how a ticket stands, and wait at most `seconds` for it to change."""

    ticket_id: str
    invocation_id: str
    seconds: float


@dataclass(frozen=True, slots=True)
class SuspendTicket:
    """Let go of the ticket, unless its results are there."""

    ticket_id: str
    invocation_id: str


@dataclass(frozen=True, slots=True)
class ExpireTicket:
    """Wait no longer for the results that are not there."""

    ticket_id: str
    invocation_id: str


@dataclass(frozen=True, slots=True)
class CancelTicket:
    """Tell the bridge that nobody waits any more."""

    ticket_id: str
    invocation_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """Tell the bridge how the invocation ended."""

    invocation_id: str
    request: RecordRequest


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for `seconds`."""

    seconds: float


# Asides: done beside everything else, and nobody waits for what comes of them


@dataclass(frozen=True, slots=True)
class TellDrafts:
    """Let the bridge know of calls that are still being written."""

    invocation_id: str
    request: DraftRequest


Exchange = (
    Attach | CallUpstream | OpenTicket | PollTicket | SuspendTicket | ExpireTicket | CancelTicket | Record | Pause
)

# Outputs: for Dify


@dataclass(frozen=True, slots=True)
class Say:
    """Text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """An empty chunk: the invocation is alive."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The end. `calls` are for Dify itself, which passed the tools."""

    finish_reason: str
    usage: Usage
    calls: Sequence[ToolCall] = ()


@dataclass(frozen=True, slots=True)
class Fail:
    """The end, with an error."""

    error: ProviderError


Output = Say | Heartbeat | Finish | Fail
Action = Exchange | TellDrafts | Output
