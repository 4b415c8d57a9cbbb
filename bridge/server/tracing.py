"""OpenTelemetry traces of requests, runs and what these wait for; no content, ids and states alone.

request                       what a client asked of /v1, under the span that its `traceparent` names
└── run                       until it has its end, however many requests later
    ├── dify stream           one an attempt; Dify's own tracing knows the run by the same trace id
    ├── chat MODEL            one a model call, at the moment when the plugin reports it
    └── ticket                while it is open
        └── execute_tool NAME one a call of it, until its result is there
            └── call          while an executor holds it

Beside their own attributes they have those of OpenTelemetry's conventions for generative AI (`gen_ai.*`), by which
Langfuse, Phoenix and others show a turn as a tree: https://opentelemetry.io/docs/specs/semconv/gen-ai/

The SDK is an extra, and reads its own environment variables (OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_SCHEDULE_DELAY ...).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bridge.config import Traces, is_loopback
from bridge.runs import request_id
from bridge.runs.observing.observers import Observer
from bridge.store.rows import Move, RunRow, TicketRow
from tools.ticket_states import CallEvent, CallState
from tools.wire import Usage

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_PATH = "/v1/traces"
_TRACED = "/v1/"


def provider(traces: Traces) -> "TracerProvider":
    """Return what collects spans and sends them to `traces.endpoint`, from a thread of its own."""
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    endpoint = (traces.endpoint or "").rstrip("/")
    session = requests.Session()
    session.trust_env = not is_loopback(urlsplit(endpoint).hostname or "")
    exporter = OTLPSpanExporter(endpoint if endpoint.endswith(_PATH) else endpoint + _PATH, session=session)
    made = TracerProvider(resource=Resource.create({"service.name": traces.service_name}))
    made.add_span_processor(BatchSpanProcessor(exporter))
    return made


class Tracing(Observer):
    """The spans that are under way. One of a run that another process began is not known, and left out."""

    def __init__(self, made: "TracerProvider") -> None:
        self._provider = made
        self._tracer = made.get_tracer("clawback")
        self._runs: dict[str, Span] = {}
        self._usages: dict[str, Usage] = {}
        self._tickets: dict[str, Span] = {}
        self._tools: dict[str, Span] = {}
        self._calls: dict[str, Span] = {}

    def close(self) -> None:
        """Send what has ended."""
        self._provider.shutdown()

    def run_began(self, run: RunRow) -> None:
        """Begin its span."""
        attributes = {"clawback.run": run.id, "clawback.model": run.model, "clawback.direction": run.direction}
        if run.auxiliary:
            attributes["clawback.auxiliary"] = run.auxiliary
        attributes |= {**_of(run, "invoke_agent"), "gen_ai.agent.name": run.model}
        self._runs[run.id] = self._tracer.start_span("run", attributes=attributes)

    def run_moved(self, run_id: str, state: str) -> None:
        """Note that it is suspended, or runs again."""
        if span := self._runs.get(run_id):
            span.add_event("suspended" if state == "suspended" else "resumed")

    def run_ended(self, run: RunRow) -> None:
        """End its span."""
        if span := self._runs.pop(run.id, None):
            span.set_attributes({"clawback.state": run.state, "clawback.attempts": run.attempt})
            span.set_attributes(_tokens(self._usages.pop(run.id, Usage())))
            if run.conversation_id:
                span.set_attribute("gen_ai.conversation.id", run.conversation_id)
            _end(span, failed=run.state == "failed")

    def run_failed(self, run: RunRow, code: str) -> None:
        """The span has ended by now; what failed is in the log."""

    def trace_id(self, run_id: str) -> str | None:
        """Return the run's trace id, as W3C writes it."""
        span = self._runs.get(run_id)
        return f"{span.get_span_context().trace_id:032x}" if span else None

    def dify_stream(self, run: RunRow) -> Callable[[], None]:
        """Span it."""
        span = self._child("dify stream", self._runs.get(run.id), {"clawback.attempt": run.attempt})
        return span.end

    def used_upstream(self, run: RunRow, usage: Usage) -> None:
        """Span the call, which has ended by now, and count its tokens for the run."""
        if parent := self._runs.get(run.id):
            self._usages[run.id] = self._usages.get(run.id, Usage()) + usage
            self._child(f"chat {run.model}", parent, {**_of(run, "chat"), **_tokens(usage)}).end()

    def ticket_opened(self, ticket: TicketRow) -> None:
        """Begin its span, and those of its calls."""
        attributes = {"clawback.ticket": ticket.id, "clawback.round": ticket.round, "clawback.calls": len(ticket.calls)}
        span = self._tickets[ticket.id] = self._child("ticket", self._runs.get(ticket.run_id), attributes)
        for call in ticket.calls:
            tool = {"gen_ai.tool.name": call.name, "gen_ai.tool.call.id": call.id, "gen_ai.tool.type": "function"}
            named = {"gen_ai.operation.name": "execute_tool", **tool}
            self._tools[call.id] = self._child(f"execute_tool {call.name}", span, named)

    def calls_moved(self, ticket: TicketRow, moves: Sequence[Move]) -> None:
        """Span what an executor does, from its claim until it has done or lost it."""
        names = {call.id: call.name for call in ticket.calls}
        for move in moves:
            if move.event == CallEvent.CLAIM:
                attributes = {
                    "clawback.call": move.call_id,
                    "clawback.tool": names.get(move.call_id, ""),
                    "clawback.executor": move.actor.removeprefix("executor "),
                }
                self._calls[move.call_id] = self._child("call", self._tools.get(move.call_id), attributes)
            elif move.after != CallState.LEASED and (span := self._calls.pop(move.call_id, None)):
                span.set_attribute("clawback.step", str(move.event))
                _end(span, failed=move.event in {CallEvent.LOSE, CallEvent.EXPIRE})
            if move.after == CallState.RESOLVED and (tool := self._tools.pop(move.call_id, None)):
                tool.end()

    def ticket_ended(self, ticket: TicketRow) -> None:
        """End its span, and those of its calls."""
        for call in ticket.calls:
            if held := self._calls.pop(call.id, None):
                held.end()
            if tool := self._tools.pop(call.id, None):
                _end(tool, failed=ticket.state == "expired")
        if span := self._tickets.pop(ticket.id, None):
            span.set_attribute("clawback.state", ticket.state)
            _end(span, failed=ticket.state == "expired")

    def _child(self, name: str, parent: "Span | None", attributes: dict[str, Any]) -> "Span":
        from opentelemetry.trace import set_span_in_context

        return self._tracer.start_span(name, set_span_in_context(parent) if parent else None, attributes=attributes)

    def around(self, application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        """Return WSGI middleware that spans each request to /v1, until its body's end."""
        from opentelemetry import context
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, set_span_in_context

        def traced(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            if not str(environ.get("PATH_INFO", "")).startswith(_TRACED):
                yield from application(environ, start_response)
                return
            given = {name: environ[f"HTTP_{name.upper()}"] for name in _GIVEN if f"HTTP_{name.upper()}" in environ}
            method = str(environ["REQUEST_METHOD"])
            span = self._tracer.start_span(method, extract(given), kind=SpanKind.SERVER)

            def start(line: str, headers: list[tuple[str, str]], *more: Any) -> Any:
                status = int(line.split(" ", 1)[0])
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    _fail(span)
                return start_response(line, headers, *more)

            before = context.attach(set_span_in_context(span))
            body: Iterable[bytes] = ()
            try:
                body = application(environ, start)
                yield from body
            finally:
                if close := getattr(body, "close", None):
                    close()
                route = str(environ.get("clawback.route", ""))
                span.update_name(f"{method} {route}")
                span.set_attributes(
                    {"http.request.method": method, "http.route": route, "clawback.request_id": request_id.current()}
                )
                span.end()
                context.detach(before)

        return traced


def _of(run: RunRow, operation: str) -> dict[str, str]:
    return {"gen_ai.operation.name": operation, "gen_ai.provider.name": "dify", "gen_ai.request.model": run.model}


def _tokens(usage: Usage) -> dict[str, int]:
    return {"gen_ai.usage.input_tokens": usage.prompt_tokens, "gen_ai.usage.output_tokens": usage.completion_tokens}


_GIVEN = ("traceparent", "tracestate")


def _end(span: "Span", *, failed: bool) -> None:
    if failed:
        _fail(span)
    span.end()


def _fail(span: "Span") -> None:
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR)
