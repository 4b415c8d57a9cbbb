"""The routes for who only watches: an operator, and commands on the bridge's own machine.

GET /operator/v1/status                        the figures at this moment, and which apps are served
GET /operator/v1/runs?state=running&limit=50   the newest runs, without what was said in them
GET /operator/v1/changes?after=CURSOR&wait=20  what happened since: a long poll of at most `wait` seconds; without
                                               `after` nothing but the cursor to begin with
"""

import re
import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from flask import Blueprint, Response, jsonify, request

from bridge.auth import guard
from bridge.config import Config
from bridge.errors import InvalidRequest
from bridge.figures import Figures
from bridge.plugin_api import MAX_WAIT_SECONDS
from bridge.store.watching import RunSummary, Seen, Watching
from bridge.wakeups import Wakeups

RUN_STATES = ("running", "suspended", "finished", "failed", "cancelled")
MOST_RUNS = 500

_CURSOR = re.compile(r"^(\d+)-(\d+(?:\.\d+)?)$")
_LOOK_SECONDS = 0.5


def watch_blueprint(config: Config, figures: Figures, watching: Watching, wakeups: Wakeups) -> Blueprint:
    """Return the blueprint for who only watches."""
    blueprint = Blueprint("watch", __name__, url_prefix="/operator/v1")
    check = guard(config.tokens, "operator", local=True)
    began = time.time()

    @blueprint.before_request
    def _authorize() -> None:
        check(request)

    @blueprint.get("/status")
    def status() -> Response:
        now = figures.read()
        return jsonify(
            {
                "version": version("clawback"),
                "up_seconds": round(time.time() - began, 1),
                "models": [app.model for app in config.apps],
                "runs": now.runs,
                "tickets": {
                    "open": now.waiting.tickets,
                    "awaiting_approval": now.waiting.undecided,
                    "oldest_seconds": round(now.oldest_seconds, 1),
                },
                "executors": [asdict(each) for each in now.executors],
                "dify_streams": [asdict(each) for each in now.streams],
            }
        )

    @blueprint.get("/runs")
    def list_runs() -> Response:
        state = request.args.get("state", "all")
        if state not in {*RUN_STATES, "all"}:
            raise InvalidRequest(f"state must be all or one of {', '.join(RUN_STATES)}", param="state")
        limit = _number("limit", 50, MOST_RUNS)
        found = watching.runs([] if state == "all" else [state], int(limit))
        return jsonify({"runs": [asdict(run) for run in found]})

    @blueprint.get("/changes")
    def changes() -> Response:
        after = request.args.get("after")
        if after is None:
            return jsonify(_changes(watching.newest_event(), watching.newest_change(), [], []))
        found = _CURSOR.match(after)
        if found is None:
            raise InvalidRequest("after must be the cursor of an earlier answer", param="after")
        return jsonify(_wait(watching, wakeups, int(found[1]), float(found[2]), _number("wait", 0, MAX_WAIT_SECONDS)))

    return blueprint


def _number(name: str, default: float, most: float) -> float:
    try:
        value = float(request.args.get(name, default))
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise InvalidRequest(f"{name} must be a number from 0 to {most:g}", param=name)
    return value


def _wait(watching: Watching, wakeups: Wakeups, event_id: int, changed_at: float, seconds: float) -> dict[str, Any]:
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


def _changes(event_id: int, changed_at: float, events: list[Seen], runs: list[RunSummary]) -> dict[str, Any]:
    return {
        "cursor": f"{event_id}-{changed_at!r}",
        "runs": [asdict(run) for run in runs],
        "events": [_event(seen) for seen in events],
    }


def _event(seen: Seen) -> dict[str, Any]:
    # The detail may hold arguments, where the configuration asks for that.
    return {**{name: value for name, value in asdict(seen.event).items() if name != "detail"}, "tool": seen.tool}
