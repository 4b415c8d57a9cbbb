"""What the bridge saw of the plugin lately, and where doctor asks for it."""

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, g, request
from pydantic import BaseModel, Field

from bridge.api.bodies import checked_query, json_answer
from bridge.api.openapi.operation import operation
from bridge.store import Store
from bridge.store.faults import StoreUnavailable
from bridge.store.rows import RunRow
from tools.marker import marker_digest

_KEPT = 200
_PATH = "/plugin/v1/"


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of the plugin. `found_by` is end_user, callback_key or marker, where it attached to a run."""

    at: float
    what: str
    address: str
    status: int
    run_id: str | None = None
    auxiliary: str | None = None
    dify_user: str | None = None
    end_user: str | None = None
    found_by: str | None = None
    reason: str | None = None
    agent: str = ""
    """How the plugin calls itself; one of a version before 0.2 does not."""


class Witness:
    """Remembers the plugin's last requests to attach, to be told a version, and all that were refused."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._visits: deque[Visit] = deque(maxlen=_KEPT)

    def visits(self, since: float) -> list[Visit]:
        """Return what was seen since then, oldest first."""
        return [visit for visit in self._visits if visit.at >= since]

    def see(self, response: Response) -> Response:
        """Look at a response on its way out."""
        what = request.path.removeprefix(_PATH)
        if request.path.startswith(_PATH) and (what in {"attach", "ping"} or response.status_code == 401):
            self._visits.append(self._visit(what, response))
        return response

    def _visit(self, what: str, response: Response) -> Visit:
        agent = request.headers.get("User-Agent", "")[:64]
        seen = Visit(time.time(), what, request.remote_addr or "", response.status_code, agent=agent)
        if what != "attach" or response.status_code != 200:
            return seen
        asked, answered = g.get("json_body") or {}, response.get_json(silent=True) or {}
        try:
            run = self._store.run(str(answered.get("run_id") or ""))
            found_by = self._found_by(asked, run) if run else None
        except StoreUnavailable:
            # The answer goes out all the same.
            return seen
        return Visit(
            seen.at,
            what,
            seen.address,
            seen.status,
            run_id=run.id if run else None,
            auxiliary=run.auxiliary if run else None,
            dify_user=run.dify_user if run else None,
            end_user=asked.get("user"),
            found_by=found_by,
            reason=answered.get("reason"),
            agent=agent,
        )

    def _found_by(self, asked: dict[str, Any], run: RunRow) -> str:
        user = str(asked.get("user") or "")
        if run.dify_user in {user, self._store.end_user(user)}:
            return "end_user"
        markers = self._store.markers(list(map(marker_digest, asked.get("markers") or ())))
        return "marker" if any(marker.run_id == run.id for marker in markers) else "callback_key"


class VisitsQuery(BaseModel):
    """From when on, in seconds since the epoch."""

    since: float = Field(default=0, allow_inf_nan=False)


class Visits(BaseModel):
    """What the plugin asked, oldest first."""

    visits: list[Visit]


def doctor_blueprint(witness: Witness) -> Blueprint:
    blueprint = Blueprint("doctor", __name__, url_prefix="/doctor/v1")

    @blueprint.get("/visits")
    @operation("List what the bridge saw of the plugin.", query=VisitsQuery, answer=Visits)
    def visits() -> Response:
        return json_answer(Visits(visits=witness.visits(checked_query(VisitsQuery, request.args).since)))

    return blueprint
