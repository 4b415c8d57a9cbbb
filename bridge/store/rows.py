"""The rows as the rest of the bridge sees them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.calls import ToolCall
from tools.ids import random_name
from tools.results import ToolResult
from tools.ticket_states import PENDING, CallState


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A client's session and the Dify user and conversation that stand for it.

    `scope` is a digest of what the client calls it, empty for nothing, None for one that a version before 0.2 wrote.
    """

    key: str
    model: str
    dify_user: str
    conversation_id: str
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class ExchangeRow:
    """What was said last in a session at some time. All fields but the first two are digests."""

    id: int
    session_key: str
    digest: str
    whole: str
    inputs: str
    frame: str


OWN_USER = "clawback-"
"""How the Dify users of clients begin."""


def new_user() -> str:
    """Name a Dify user. Whoever uses the app may name one in a callback_key, so nobody may guess it."""
    return OWN_USER + random_name()


@dataclass(frozen=True, slots=True)
class RunRow:
    """One agent turn as its client sees it. `request` is JSON; times are seconds since the epoch; `began_at` is that of
    the attempt, None where its workflow is known to be over.

    `request_key` is a digest of the whole request that began it, `idempotency` one of that and its Idempotency-Key.
    `version` rises with each change of the run and of all that belongs to it. `client` is whose it is: nobody's where
    executors run its calls. `driven_at` is when its attempt began to be driven: the store knows since when it is not.
    """

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
    direction: str = "endpoint"
    began_at: float | None = None
    request_key: str | None = None
    idempotency: str | None = None
    version: int = 0
    client: str = "default"
    driven_at: float | None = None


@dataclass(frozen=True, slots=True)
class MarkerRow:
    """A name of an attempt of a run inside texts, by the digest of its secret, or the Dify user that it has left."""

    digest: str
    run_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """What one HTTP response told the client: text, then the calls of a ticket or the end.

    `citations` is a JSON list of titles and addresses; None for a segment without any.
    """

    run_id: str
    number: int
    text: str
    reasoning: str
    ticket_id: str | None
    finish_reason: str
    usage: str
    citations: str | None = None


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
    ended_at: float | None = None


ANYWHERE = "*"
"""The place of a call that any executor may run, but for the tools of Dify."""


@dataclass(frozen=True, slots=True)
class CallRow:
    """One tool call, where it stands and, once it is there, its result.

    `name` is what the model was offered the tool as, `tool` what its executor calls it, where that is another name.
    `place` is the executor that the call is for, by name, or `ANYWHERE`; None for a call of the run's client.
    `verdict` is what the policy said of it, `asked` the arguments as the model wrote them where a person changed them.
    `asked_for` and `granted` are JSON: executors by name, each with the terms of its tool; a person is asked about the
    former, and has said yes to the latter. `lease` and `executor` are those of its newest lease, which lasts until
    `leased_until`; `handouts` counts its leases so far.
    """

    id: str
    ticket_id: str
    name: str
    arguments: str
    output: str | None
    is_error: bool | None
    images: str | None = None
    digest: str | None = None
    state: str = CallState.READY
    verdict: str = ""
    asked: str | None = None
    decide_until: float | None = None
    asked_for: str | None = None
    granted: str | None = None
    lease: str | None = None
    executor: str | None = None
    leased_until: float | None = None
    handouts: int = 0
    resolved_at: float | None = None
    tool: str | None = None
    place: str | None = None

    @property
    def own_name(self) -> str:
        """What the tool is called where it runs."""
        return self.tool or self.name

    def call(self) -> ToolCall:
        """Return what is to be run."""
        return ToolCall(id=self.id, name=self.name, arguments=self.arguments)

    def asked_call(self) -> ToolCall:
        """Return what the model asked for."""
        return ToolCall(id=self.id, name=self.name, arguments=self.asked or self.arguments)

    def result(self) -> ToolResult | None:
        """Return what came back, if it did."""
        if self.output is None:
            return None
        images = json.loads(self.images) if self.images else []
        return ToolResult.model_construct(
            tool_call_id=self.id, output=self.output, is_error=bool(self.is_error), images=images
        )

    def asks_for(self) -> dict[str, str]:
        """Return the executors, by name, that a person was asked about last, and the terms of their tools."""
        return dict(json.loads(self.asked_for)) if self.asked_for else {}

    def grants(self) -> dict[str, str]:
        """Return the executors, by name, that a person lets run it, and the terms of their tools."""
        return dict(json.loads(self.granted)) if self.granted else {}

    @property
    def pending(self) -> bool:
        """Whether a result may still come."""
        return self.state in PENDING

    @property
    def withheld(self) -> bool:
        """Whether the bridge itself answered it, so that nobody was given it to run."""
        return self.state in {CallState.DENIED, CallState.EXPIRED} and self.output is not None


@dataclass(frozen=True, slots=True)
class UnclaimedCall:
    """A call that executors may run, and that nobody has a lease on.

    `app` is the model of its run, or Dify's id of the app, empty where unknown, or who asks by MCP; `direction` is that
    of its run.
    """

    run_id: str
    app: str
    direction: str
    call: CallRow


@dataclass(frozen=True, slots=True)
class Move:
    """A step of one call from state to state, by whom and why; `values` are columns that change with it.

    A call that is leased is moved only under the same `lease`: it may have been handed out anew meanwhile.
    """

    call_id: str
    event: str
    before: str
    after: str
    actor: str
    detail: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    lease: str | None = None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One line of the audit trail: who did what to which ticket or call, and when."""

    id: int
    at: float
    run_id: str
    ticket_id: str
    call_id: str | None
    actor: str
    event: str
    before: str
    after: str
    detail: str


@dataclass(frozen=True, slots=True)
class TicketRow:
    """The pending calls of one round. `request_id` is that of the client's request that led to it.

    `reasoning` is JSON: what the model thought, in its upstream's own field.
    """

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
    request_id: str | None = None
    reasoning: str | None = None

    def results(self) -> list[ToolResult]:
        """Return the results that are in, in call order."""
        return [result for call in self.calls if (result := call.result()) is not None]

    def missing(self) -> list[str]:
        """Return the tool_call_ids that still wait for a result."""
        return [call.id for call in self.calls if call.output is None]

    @property
    def client_calls(self) -> list[CallRow]:
        """The calls that are the client's to run: of those of executors it learns nothing."""
        return [call for call in self.calls if call.place is None]

    @property
    def is_for_executors(self) -> bool:
        """Whether executors have something to run of a client's run."""
        return any(call.place is not None for call in self.calls)

    def unanswered(self) -> list[str]:
        """Return the tool_call_ids whose results the client owes."""
        return [call.id for call in self.client_calls if call.output is None]

    def handed_out(self) -> list[ToolCall]:
        """Return the calls that the run's client is given; those that the bridge answered itself are none of them."""
        return [call.call() for call in self.client_calls if not call.withheld]

    @property
    def is_deliverable(self) -> bool:
        """Whether the run's client can be given its calls, which it does not have yet."""
        return self.segment is None and not self.undecided and bool(self.handed_out())

    def reasoning_details(self) -> tuple[dict[str, Any], ...]:
        """Return what the model thought in the form in which a client may give it back."""
        details = json.loads(self.reasoning or "{}").get("reasoning_details")
        return tuple(details) if isinstance(details, list) else ()

    @property
    def undecided(self) -> bool:
        """Whether a person still has to decide about one of the client's calls."""
        return any(call.state == CallState.AWAITING_APPROVAL for call in self.client_calls)


@dataclass(frozen=True, slots=True)
class ExecutorRow:
    """A registered worker. `tools` and `patterns` are JSON; it is present while `seen_at` is recent."""

    id: str
    name: str
    tools: str
    patterns: str
    concurrency: int
    registered_at: float
    seen_at: float


@dataclass(frozen=True, slots=True)
class ModelCallRow:
    """One request to the upstream. `request` is JSON, without the first `before` messages; None: it is not shown.

    `price` is as `0.05 USD`, empty where the plugin's form has no prices.
    """

    invocation_id: str
    number: int
    run_id: str
    round: int
    at: float
    seconds: float
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str
    error: str | None
    status: int | None
    lesson: str | None
    """What a refusal taught; of an answered call, what it left out of what the client asked for."""
    request: str | None
    before: int
    price: str = ""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One execution of a node of a run's workflow. `price` is a decimal number in `currency`, empty for none."""

    id: int
    run_id: str
    attempt: int
    execution_id: str
    title: str
    node_type: str
    status: str
    error: str | None
    retries: int
    total_tokens: int
    price: str
    currency: str
    started_at: float
    ended_at: float | None
    node_id: str | None = None


@dataclass(frozen=True, slots=True)
class FormRow:
    """A form that a Human Input node paused a workflow run with. `definition` and `inputs` are JSON.

    `state` is open (a person is waited for), answered (not yet given to Dify), submitted, expired or cancelled.
    `ticket_id` is that of the call by which the client asks its own user, None where a person at the bridge is asked.
    `is_owed` says that the client was sent away meanwhile, and was not given the answer since.
    """

    id: str
    run_id: str
    attempt: int
    workflow_run_id: str
    node_id: str
    fingerprint: str
    definition: str
    token: str = field(repr=False)
    created_at: float
    expires_at: float
    state: str = "open"
    successor: str | None = None
    action: str | None = None
    inputs: str | None = None
    answered_by: str | None = None
    answered_at: float | None = None
    ticket_id: str | None = None
    is_owed: bool = False


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A client with a token of its own. `apps` is JSON: the models that it may ask, empty for all.

    One of the kind `mcp` asks /mcp and nothing else; one of the kind `executor` runs calls, as the executor of its
    name. `tools` is JSON: patterns of the tools that it is offered, or may offer; None for those that only read, and
    for all of an executor's.
    """

    name: str
    token_hash: str
    apps: str
    created_at: float
    expires_at: float | None = None
    used_at: float | None = None
    requests_per_minute: int | None = None
    open_tickets: int | None = None
    tokens_per_day: int | None = None
    kind: str | None = None
    tools: str | None = None

    def may_ask(self, model: str) -> bool:
        """Whether the client may ask this model."""
        apps = json.loads(self.apps)
        return not apps or model in apps


@dataclass(frozen=True, slots=True)
class LoginRow:
    """Someone who is logged in to the web page, by the digest of their cookie's value."""

    digest: str
    name: str
    token_hash: str
    expires_at: float
