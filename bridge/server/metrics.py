"""GET /metrics: the bridge's figures as Prometheus reads them.

Counters and histograms count what this process did since it began. The gauges of runs, tickets and executors are read
from the store at each scrape, so that bridges which share one say the same.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from flask import Blueprint, Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric

from bridge.api.openapi.operation import operation
from bridge.runs.observing.observed_store import Figures, Snapshot
from bridge.runs.observing.observers import Observer
from bridge.store import clock
from bridge.store.rows import Move, RunRow, TicketRow
from tools.wire import Usage

_BYTE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WAIT_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 600, 1800, 3600, 21_600, 86_400)
_RUN_SECONDS = (0.5, 1, 2.5, 5, 15, 60, 300, 1200, 3600, 86_400)
_NO_ROUTE = "(none)"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class Metrics(Observer):
    """The figures of one bridge, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"namespace": "clawback", "registry": self.registry}
        self._runs_begun = Counter("runs_begun", "Runs that began.", ["model", "direction"], **own)
        self._runs_ended = Counter("runs_ended", "Runs that ended.", ["model", "direction", "outcome"], **own)
        self._run_seconds = Histogram(
            "run_seconds", "How long runs took in all.", ["model"], buckets=_RUN_SECONDS, **own
        )
        self._suspended = Counter("runs_suspended", "How often a run let go of its workflow.", **own)
        self._tickets = Counter("tickets_opened", "Tickets that were opened.", **own)
        self._ticket_seconds = Histogram(
            "ticket_wait_seconds", "How long tickets were open.", ["outcome"], buckets=_WAIT_SECONDS, **own
        )
        self._calls = Counter(
            "call_steps", "Steps of calls: allow, ask, approve, deny, claim, lose ...", ["step"], **own
        )
        self._tokens = Counter("upstream_tokens", "Tokens of upstream calls.", ["model", "kind"], **own)
        self._requests = Counter("http_requests", "Requests that were answered.", ["method", "route", "status"], **own)
        self._first_byte = Histogram(
            "http_first_byte_seconds",
            "How long until the first byte of a response's body.",
            ["route"],
            buckets=_BYTE_SECONDS,
            **own,
        )
        self._errors = Counter(
            "errors", "Errors, in responses to requests and of runs that failed.", ["where", "code"], **own
        )

    def run_began(self, run: RunRow) -> None:
        self._runs_begun.labels(_model(run), run.direction).inc()

    def run_moved(self, run_id: str, state: str) -> None:
        """Count those that let go."""
        if state == "suspended":
            self._suspended.inc()

    def run_ended(self, run: RunRow) -> None:
        self._runs_ended.labels(_model(run), run.direction, run.state).inc()
        self._run_seconds.labels(_model(run)).observe(max(0.0, clock.now() - run.created_at))

    def run_failed(self, run: RunRow, code: str) -> None:
        """Count the error."""
        self._errors.labels("run", code).inc()

    def ticket_opened(self, ticket: TicketRow) -> None:
        self._tickets.inc()

    def calls_moved(self, ticket: TicketRow, moves: Sequence[Move]) -> None:
        """Count each step."""
        for move in moves:
            self._calls.labels(str(move.event)).inc()

    def ticket_ended(self, ticket: TicketRow) -> None:
        """Take down how long it was open."""
        self._ticket_seconds.labels(str(ticket.state)).observe(max(0.0, clock.now() - ticket.created_at))

    def used_upstream(self, run: RunRow, usage: Usage) -> None:
        """Count the tokens."""
        self._tokens.labels(run.model, "prompt").inc(usage.prompt_tokens)
        self._tokens.labels(run.model, "completion").inc(usage.completion_tokens)

    def error(self, code: str) -> None:
        """Count a response that is an error."""
        self._errors.labels("response", code).inc()

    def answered(self, method: str, route: str, status: str, first_byte_seconds: float | None) -> None:
        """Count a response that was given, or given up."""
        self._requests.labels(method, route, status).inc()
        if first_byte_seconds is not None:
            self._first_byte.labels(route).observe(first_byte_seconds)


def _model(run: RunRow) -> str:
    return run.model or "(executors)"


class Gauges:
    """What the store and the places at Dify hold at the moment of a scrape."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Read them, as a collector of prometheus_client."""
        now = self._figures.read()
        yield _gauge("runs", "Runs that are kept, by state.", ["state"], [([s], n) for s, n in now.runs.items()])
        yield _gauge("runs_active", "Runs that are under way.", [], [([], now.runs.get("running", 0))])
        yield _gauge("runs_waiting", "Runs that are suspended.", [], [([], now.runs.get("suspended", 0))])
        yield _gauge("tickets_open", "Tickets that are open.", [], [([], now.waiting.tickets)])
        yield _gauge("calls_awaiting_approval", "Calls that wait for a person.", [], [([], now.waiting.undecided)])
        yield _gauge("oldest_ticket_seconds", "How long the oldest ticket has waited.", [], [([], now.oldest_seconds)])
        yield from _executors(now)
        yield from _streams(now)


def _executors(now: Snapshot) -> Iterator[Metric]:
    yield _gauge("executors", "Executors that are there.", [], [([], len(now.executors))])
    loads = [([each.name], each.calls) for each in now.executors]
    yield _gauge("executor_calls", "Calls that an executor holds.", ["executor"], loads)
    places = [([each.name], each.concurrency) for each in now.executors]
    yield _gauge("executor_calls_limit", "Calls that an executor takes at once.", ["executor"], places)


def _streams(now: Snapshot) -> Iterator[Metric]:
    for name, text, attribute in (
        ("dify_streams", "Runs that a Dify does for this bridge.", "used"),
        ("dify_streams_limit", "How many it does at once (limits.dify_streams).", "limit"),
        ("dify_streams_waiting", "Runs that wait for a place at it.", "waiting"),
    ):
        yield _gauge(name, text, ["dify"], [([each.dify], getattr(each, attribute)) for each in now.streams])


def _gauge(name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> Metric:
    family = GaugeMetricFamily(f"clawback_{name}", text, labels=labels)
    for names, value in values:
        family.add_metric(names, value)
    return family


def metrics_blueprint(metrics: Metrics, figures: Figures) -> Blueprint:
    blueprint = Blueprint("metrics", __name__)
    metrics.registry.register(Gauges(figures))

    @blueprint.get("/metrics")
    @operation("Read the figures as Prometheus does.", answer=str, media="text/plain")
    def show() -> Response:
        return Response(generate_latest(metrics.registry), content_type=CONTENT_TYPE_LATEST)

    return blueprint


def measure(app: Flask, metrics: Metrics) -> None:
    """Measure every response of `app`: its status, its route, when its first byte went out."""

    @app.before_request
    def _name_route() -> None:
        # The route's pattern, never the path: that holds ids.
        request.environ["clawback.route"] = request.url_rule.rule if request.url_rule else _NO_ROUTE

    @app.after_request
    def _count_error(response: Response) -> Response:
        if code := g.get("error_code"):
            metrics.error(code)
        return response

    app.wsgi_app = _Measured(app.wsgi_app, metrics)  # type: ignore[method-assign]


class _Measured:
    """WSGI middleware: it sees the first byte of a streamed body, which the application does not."""

    def __init__(self, application: Callable[..., Iterable[bytes]], metrics: Metrics) -> None:
        self._application = application
        self._metrics = metrics

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        began = time.monotonic()
        status = "500"

        def start(line: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            nonlocal status
            status = line.split(" ", 1)[0]
            return start_response(line, headers, *more)

        first: float | None = None
        body = self._application(environ, start)
        try:
            for piece in body:
                if piece and first is None:
                    first = time.monotonic() - began
                yield piece
        finally:
            close = getattr(body, "close", None)
            if close:
                close()
            method = str(environ["REQUEST_METHOD"])
            self._metrics.answered(
                method if method in _METHODS else "(other)",
                str(environ.get("clawback.route", _NO_ROUTE)),
                status,
                first,
            )
