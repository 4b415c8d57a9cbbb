"""The routes for who only watches: an operator, and commands on the bridge's own machine.

GET /operator/v1/status                        the figures at this moment, and which apps are served
GET /operator/v1/runs?state=running&limit=50   the newest runs, without what was said in them
GET /operator/v1/changes?after=CURSOR&wait=20  what happened since: a long poll of at most `wait` seconds; without
                                               `after` nothing but the cursor to begin with
"""

import time
from importlib.metadata import version
from typing import Literal

from flask import Blueprint, Response, request
from pydantic import BaseModel, Field

from bridge.api.bodies import checked_query, json_answer
from bridge.api.openapi.operation import operation
from bridge.api.plugin import MAX_WAIT_SECONDS
from bridge.config import Config
from bridge.runs.observing.observed_store import ExecutorFigures, Figures, StreamFigures
from bridge.store import clock
from bridge.store.wakeups import Wakeups
from bridge.store.watching import RunSummary, Seen, Watching

RunState = Literal["running", "suspended", "finished", "failed", "cancelled"]
MOST_RUNS = 500

_LOOK_SECONDS = 0.5


class WaitingTickets(BaseModel):
    """What waits, and how long the oldest ticket has waited."""

    open: int
    awaiting_approval: int
    oldest_seconds: float


class ClientFigures(BaseModel):
    """A client or executor with a token of its own. `kind` is client, mcp or executor; times are seconds since the
    epoch, None for never."""

    name: str
    kind: str
    used_at: float | None
    expires_at: float | None


class Status(BaseModel):
    """The figures at this moment. `runs` counts those that are kept, by state."""

    version: str
    up_seconds: float
    models: list[str]
    runs: dict[str, int]
    tickets: WaitingTickets
    executors: list[ExecutorFigures]
    dify_streams: list[StreamFigures]
    clients: list[ClientFigures]


class RunsQuery(BaseModel):
    """Which runs to list."""

    state: RunState | Literal["all"] = "all"
    limit: int = Field(default=50, ge=0, le=MOST_RUNS)


class RunList(BaseModel):
    """Runs without what was said in them, the newest first."""

    runs: list[RunSummary]


class ChangesQuery(BaseModel):
    """The cursor of an earlier answer, and how many seconds to wait for news."""

    after: str | None = Field(default=None, pattern=r"^[0-9]{1,18}-[0-9]{1,18}([.][0-9]{1,18})?$")
    wait: float = Field(default=0, ge=0, le=MAX_WAIT_SECONDS, allow_inf_nan=False)


class SeenEvent(BaseModel):
    """A step of a ticket or of one of its calls, and that call's tool. `at` is in seconds since the epoch."""

    id: int
    at: float
    run_id: str
    ticket_id: str
    call_id: str | None
    actor: str
    event: str
    before: str
    after: str
    tool: str | None


class Changes(BaseModel):
    """What happened since the cursor that was asked with, and the one to ask with next."""

    cursor: str
    runs: list[RunSummary]
    events: list[SeenEvent]


def watch_blueprint(config: Config, figures: Figures, watching: Watching, wakeups: Wakeups) -> Blueprint:
    """Return the blueprint for who only watches."""
    blueprint = Blueprint("watch", __name__, url_prefix="/operator/v1")
    began = clock.now()

    @blueprint.get("/status")
    @operation("Read the figures at this moment.", answer=Status)
    def status() -> Response:
        now = figures.read()
        return json_answer(
            Status(
                version=version("clawback"),
                up_seconds=round(clock.now() - began, 1),
                models=[app.model for app in config.apps],
                runs=now.runs,
                tickets=WaitingTickets(
                    open=now.waiting.tickets,
                    awaiting_approval=now.waiting.undecided,
                    oldest_seconds=round(now.oldest_seconds, 1),
                ),
                executors=now.executors,
                dify_streams=now.streams,
                clients=[
                    ClientFigures(
                        name=each.name, kind=each.kind or "client", used_at=each.used_at, expires_at=each.expires_at
                    )
                    for each in watching.clients()
                ],
            )
        )

    @blueprint.get("/runs")
    @operation("List the newest runs, without what was said in them.", query=RunsQuery, answer=RunList)
    def list_runs() -> Response:
        asked = checked_query(RunsQuery, request.args)
        return json_answer(RunList(runs=watching.runs([] if asked.state == "all" else [asked.state], asked.limit)))

    @blueprint.get("/changes")
    @operation("Wait for what happens next.", query=ChangesQuery, answer=Changes)
    def changes() -> Response:
        asked = checked_query(ChangesQuery, request.args)
        if asked.after is None:
            return json_answer(_changes(watching.newest_event(), watching.newest_change(), [], []))
        event_id, _, changed_at = asked.after.partition("-")
        return json_answer(_wait(watching, wakeups, int(event_id), float(changed_at), asked.wait))

    return blueprint


def _wait(watching: Watching, wakeups: Wakeups, event_id: int, changed_at: float, seconds: float) -> Changes:
    """Look until there is news: the store is looked at, as another bridge may write to it too."""
    end = time.monotonic() + seconds
    with wakeups.listen("changes") as stopping:
        while True:
            events, runs = watching.events_after(event_id), watching.changed_runs(changed_at)
            left = end - time.monotonic()
            if events or runs or left <= 0:
                break
            if stopping.wait(min(left, _LOOK_SECONDS)):
                break
    return _changes(
        events[-1].event.id if events else event_id, runs[-1].updated_at if runs else changed_at, events, runs
    )


def _changes(event_id: int, changed_at: float, events: list[Seen], runs: list[RunSummary]) -> Changes:
    return Changes(cursor=f"{event_id}-{changed_at!r}", runs=runs, events=[_event(seen) for seen in events])


def _event(seen: Seen) -> SeenEvent:
    # The detail is left out: it may hold arguments, where the configuration asks for that.
    told = {name: getattr(seen.event, name) for name in SeenEvent.model_fields if name != "tool"}
    return SeenEvent(**told, tool=seen.tool)
