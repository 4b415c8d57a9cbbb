"""Plays an engine by events alone: no network, no process, a clock that stands still until it is moved."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from provider.engine.engine import Engine, Invocation
from provider.engine.events import (
    Action,
    Attached,
    BridgeFailed,
    CallUpstream,
    Completed,
    Delta,
    Event,
    Fail,
    Finish,
    OpenTicket,
    Record,
    Recorded,
    Say,
    Started,
    TicketReported,
    UpstreamFailed,
)
from provider.errors import ProviderError, Unreachable
from provider.modes.mode import Mode
from provider.modes.structured import Structured
from provider.settings import NodeSettings
from tools.calls import ToolCall
from tools.definitions import Function, ToolDefinition
from tools.results import Message, ToolResult
from tools.wire import AttachResponse, TicketState, TicketStatus, Usage

START = 1000.0
NODE: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Do it."}]
DOWN = BridgeFailed(Unreachable("the bridge is down"), transient=True)
CUT = UpstreamFailed(Unreachable("broke off"), transient=True)


def tool(name: str) -> ToolDefinition:
    return ToolDefinition(function=Function(name=name, parameters={"type": "object", "properties": {}}))


TOOLS = [tool("read"), tool("write"), tool("exec")]


def attached(**fields: Any) -> Attached:
    given: dict[str, Any] = {"run_id": "run1", "tools": TOOLS, "messages": [{"role": "user", "content": "Do it."}]}
    return Attached(AttachResponse(**given | {"turn": 0, "query": "Do it."} | fields))


def call_delta(index: int, name: str = "", arguments: str = "", call_id: str = "") -> Delta:
    function = {"name": name} if name else {}
    entry: dict[str, Any] = {"index": index, "function": function | {"arguments": arguments}}
    return Delta(tool_calls=[entry | ({"id": call_id} if call_id else {})])


def asks(*calls: tuple[str, str]) -> list[Event]:
    """A response that asks for tools: (name, arguments) each."""
    deltas = [call_delta(index, name, arguments, f"up{index}") for index, (name, arguments) in enumerate(calls)]
    return [*deltas, Completed("tool_calls", Usage(prompt_tokens=10, completion_tokens=5))]


def says(text: str, finish_reason: str = "stop") -> list[Event]:
    return [Delta(text=text), Completed(finish_reason, Usage(prompt_tokens=10, completion_tokens=5))]


@dataclass
class Play:
    """One invocation. `acts` are all actions so far."""

    settings: dict[str, Any] = field(default_factory=dict)
    callbacks: bool = True
    stream: bool = True
    tools: Sequence[ToolDefinition] = ()
    stop: Sequence[str] = ()
    messages: Sequence[Message] = field(default_factory=lambda: NODE)
    mode: Mode = field(default_factory=Structured)
    limit: float = 600
    sees_images: bool = True

    def __post_init__(self) -> None:
        self.now = START
        self.acts: list[Action] = []
        self.engine = Engine(
            Invocation(
                invocation_id="inv12345",
                model="main",
                messages=self.messages,
                settings=NodeSettings.read(self.settings),
                request={"model": "up", "stream": True} | ({"stop": self.stop} if self.stop else {}),
                hold_until=START + self.limit - 30,
                deadline=START + self.limit - 3,
                time_limit=self.limit,
                stream=self.stream,
                callbacks=self.callbacks,
                tools=self.tools,
                sees_images=self.sees_images,
            ),
            self.mode,
        )

    def feed(self, *events: Event, after: float = 0) -> list[Action]:
        """Feed events, `after` seconds from now, and return what they led to."""
        self.now += after
        led: list[Action] = []
        for event in events:
            led += self.engine.handle(event, self.now)
        self.acts += led
        return led

    def start(self, *events: Event) -> "Play":
        self.feed(Started(), *events)
        return self

    # What it did

    def last[T](self, kind: type[T]) -> T:
        return self.all(kind)[-1]

    def all[T](self, kind: type[T]) -> list[T]:
        return [action for action in self.acts if isinstance(action, kind)]

    @property
    def body(self) -> dict[str, Any]:
        """The last upstream request."""
        return self.last(CallUpstream).body

    @property
    def said(self) -> str:
        return "".join(say.text for say in self.all(Say))

    @property
    def calls(self) -> list[ToolCall]:
        """The calls of the last ticket."""
        return self.last(OpenTicket).request.calls

    # The bridge's side

    def status(self, state: TicketState, outputs: Sequence[str] = (), **fields: Any) -> TicketReported:
        """A ticket's status; `outputs` are the results of its calls in order."""
        ticket = self.last(OpenTicket)
        results = [ToolResult(tool_call_id=c.id, output=o) for c, o in zip(ticket.request.calls, outputs, strict=False)]
        return TicketReported(TicketStatus(ticket_id=ticket.ticket_id, state=state, results=results, **fields))

    def finish(self) -> Finish:
        """Let the bridge record, and return the end."""
        self.feed(Recorded())
        assert self.engine.ended
        return self.last(Finish)

    def failure(self) -> ProviderError:
        """Let the bridge record if it is asked to, and return the error."""
        if self.acts and isinstance(self.acts[-1], Record):
            self.feed(Recorded())
        assert self.engine.ended
        return self.last(Fail).error
